//! What happened of late, for people who look at a page: how the runs of the last hour ended, what woke the loop, whether the API server
//! turns requests away. In memory, of this process, while it leads: whoever shows it says since when.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::QUEUES_MAX;
use crate::clock;

/// So many minutes are kept.
pub(crate) const MINUTES: usize = 60;

/// What ended in a minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) well: u32,
    pub(crate) badly: u32,
}

/// While this dispatcher leads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lead {
    pub(crate) since: Timestamp,
    /// `shared_memory` or `notify`.
    pub(crate) doorbell: &'static str,
    /// What woke the loop last, and when.
    pub(crate) woken: Option<(&'static str, Timestamp)>,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    lead: Option<Lead>,
    /// Of the queues that had something lately.
    ends: BTreeMap<String, Minutes>,
    throttled: Minutes,
}

impl Recent {
    pub(super) fn lead_taken(&self, doorbell: &'static str) {
        self.state().lead = Some(Lead { since: clock::now(), doorbell, woken: None });
    }

    /// Another one may lead meanwhile: what is known would have holes.
    pub(super) fn lead_lost(&self) {
        let mut state = self.state();
        state.lead = None;
        state.ends.clear();
    }

    pub(super) fn woken(&self, by: &'static str) {
        if let Some(lead) = &mut self.state().lead {
            lead.woken = Some((by, clock::now()));
        }
    }

    pub(super) fn run_ended(&self, queue: &str, is_well: bool) {
        let minute = minute();
        let ends = &mut self.state().ends;
        if !ends.contains_key(queue) {
            if ends.len() >= QUEUES_MAX {
                ends.retain(|_, minutes| minutes.is_recent(minute));
            }
            if ends.len() >= QUEUES_MAX {
                return;
            }
        }
        let now = ends.entry(queue.to_owned()).or_default().at(minute);
        let count = if is_well { &mut now.well } else { &mut now.badly };
        *count = count.saturating_add(1);
    }

    pub(super) fn throttled(&self) {
        let mut state = self.state();
        let count = &mut state.throttled.at(minute()).badly;
        *count = count.saturating_add(1);
    }

    /// The lead, if this one has it.
    pub(crate) fn lead(&self) -> Option<Lead> {
        self.state().lead
    }

    /// What ended of a queue in each of the last [`MINUTES`], the oldest first; nothing where nothing did.
    pub(crate) fn ends(&self, queue: &str) -> Option<[Ended; MINUTES]> {
        let minute = minute();
        self.state()
            .ends
            .get_mut(queue)
            .filter(|minutes| minutes.is_recent(minute))
            .map(|found| found.until(minute))
    }

    /// How often the API server has turned a request away in the last so many minutes.
    pub(crate) fn throttled_within(&self, minutes: usize) -> u32 {
        let all = self.state().throttled.until(minute());
        all.iter().rev().take(minutes).map(|ended| ended.badly).sum()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which minute it is.
fn minute() -> i64 {
    clock::now().as_second().div_euclid(60)
}

/// A ring of counts.
#[derive(Debug)]
struct Minutes {
    counts: [Ended; MINUTES],
    /// The last one that is counted.
    last: i64,
}

impl Default for Minutes {
    fn default() -> Self {
        Self { counts: [Ended::default(); MINUTES], last: i64::MIN }
    }
}

impl Minutes {
    fn is_recent(&self, minute: i64) -> bool {
        minute.saturating_sub(self.last) < count(MINUTES)
    }

    /// The count of a minute, which is not before the last one.
    fn at(&mut self, minute: i64) -> &mut Ended {
        // All of it, at most.
        for passed in self.last.max(minute - count(MINUTES)) + 1..=minute {
            self.counts[place(passed)] = Ended::default();
        }
        self.last = self.last.max(minute);
        &mut self.counts[place(minute)]
    }

    fn until(&mut self, minute: i64) -> [Ended; MINUTES] {
        self.at(minute);
        let mut counts = self.counts;
        counts.rotate_left(place(minute + 1));
        counts
    }
}

fn count(minutes: usize) -> i64 {
    i64::try_from(minutes).unwrap_or(i64::MAX)
}

/// In the ring.
fn place(minute: i64) -> usize {
    usize::try_from(minute.rem_euclid(count(MINUTES))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// The last minutes of a queue: how many ended well and badly.
    fn last(recent: &Recent, minutes: usize) -> Vec<(u32, u32)> {
        let ends = recent.ends("q").unwrap();
        ends[MINUTES - minutes..].iter().map(|ended| (ended.well, ended.badly)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn each_minute_counts_what_ended_in_it_and_is_forgotten_after_an_hour() {
        let recent = Recent::default();
        assert_eq!(recent.ends("q"), None);
        recent.run_ended("q", true);
        recent.run_ended("q", false);
        advance(MINUTE).await;
        recent.run_ended("q", true);
        recent.run_ended("other", false);
        assert_eq!(last(&recent, 3), [(0, 0), (1, 1), (1, 0)]);
        advance(3 * MINUTE).await;
        assert_eq!(last(&recent, 5), [(1, 1), (1, 0), (0, 0), (0, 0), (0, 0)]);
        advance(55 * MINUTE).await;
        recent.run_ended("q", true);
        assert_eq!(recent.ends("q").unwrap()[0], Ended { well: 1, badly: 1 }, "59 minutes ago");
        advance(MINUTE).await;
        assert_eq!(recent.ends("q").unwrap()[0], Ended { well: 1, badly: 0 }, "that was an hour ago");
        assert_eq!(last(&recent, 1), [(0, 0)], "in its place in the ring");
        assert_eq!(recent.ends("other").map(|ends| ends[0].badly), Some(1));
        advance(60 * MINUTE).await;
        assert_eq!(recent.ends("q"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn it_keeps_so_many_queues_and_forgets_those_that_had_nothing_for_an_hour() {
        let recent = Recent::default();
        for queue in 0..QUEUES_MAX {
            recent.run_ended(&format!("q{queue}"), true);
        }
        recent.run_ended("more", true);
        assert_eq!(recent.ends("more"), None);
        advance(59 * MINUTE).await;
        recent.run_ended("q7", true);
        advance(MINUTE).await;
        recent.run_ended("more", true);
        assert!(recent.ends("more").is_some() && recent.ends("q7").is_some());
        assert_eq!(recent.state().ends.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_counted_ends_with_the_lead() {
        let recent = Recent::default();
        recent.woken("commit");
        assert!(recent.lead().is_none(), "it stands by");
        recent.lead_taken("notify");
        recent.run_ended("q", true);
        recent.woken("commit");
        assert_eq!(recent.lead().and_then(|lead| lead.woken).map(|(by, _)| by), Some("commit"));
        recent.lead_lost();
        recent.lead_taken("notify");
        assert_eq!(recent.ends("q"), None);
        assert!(recent.lead().is_some_and(|lead| lead.woken.is_none()));
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_were_turned_away_are_counted_for_some_minutes() {
        let recent = Recent::default();
        recent.throttled();
        advance(9 * MINUTE).await;
        recent.throttled();
        assert_eq!(recent.throttled_within(10), 2);
        advance(MINUTE).await;
        assert_eq!(recent.throttled_within(10), 1);
    }
}
