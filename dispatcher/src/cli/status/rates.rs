//! How many items of each queue end in a second, seen over the last few seconds.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::people::failure::Failure;
use crate::people::session::Session;
use crate::people::words;

/// Long enough for an even number, short enough to see a change.
const WINDOW: Duration = Duration::from_secs(10);

/// The ended items of what is open, of what was open at the last look, and of what came since and may have ended already.
const ENDED: &str = "\
    SELECT b.id, b.queue, b.succeeded + b.failed + b.cancelled AS ended, b.started_at, b.finished_at FROM pgbatch.batches b \
    WHERE b.id IN (SELECT o.id FROM pgbatch.batches o WHERE o.state IN ('waiting', 'pending', 'running') \
        UNION SELECT unnest($1::bigint[]) UNION SELECT n.id FROM pgbatch.batches n WHERE n.id > $2)";
const NEWEST: &str = "SELECT coalesce((SELECT b.id FROM pgbatch.batches b ORDER BY b.id DESC LIMIT 1), 0)";

/// The looks of the last seconds.
#[derive(Default)]
pub(super) struct Rates {
    /// Ended items of each open batch, at the last look.
    open: HashMap<i64, i64>,
    newest: Option<i64>,
    /// Items that ended since the first look, by queue.
    ended: HashMap<String, i64>,
    looks: VecDeque<(Instant, HashMap<String, i64>)>,
}

impl Rates {
    /// Looks, and returns items in a second by queue. At the first look it is the average of the running batches since
    /// they started.
    pub(super) async fn look(&mut self, session: &Session) -> Result<HashMap<String, f64>, Failure> {
        let newest = session.number(NEWEST, &[]).await?;
        let known: Vec<i64> = self.open.keys().copied().collect();
        let batches = session.rows(ENDED, &[&known, &self.newest.unwrap_or(newest)]).await?;
        let first = self.newest.replace(newest).is_none();
        self.note(&batches, first);
        self.looks.push_back((Instant::now(), self.ended.clone()));
        if first { Ok(averages(&batches, session.now().await?)) } else { Ok(self.over_the_window()) }
    }

    fn note(&mut self, batches: &[Value], first: bool) {
        let mut open = HashMap::new();
        for batch in batches {
            let (id, ended) = (words::number(batch, "id"), words::number(batch, "ended"));
            let before = self.open.get(&id).copied().unwrap_or(if first { ended } else { 0 });
            // Less than before: its failed items were retried.
            *self.ended.entry(words::text(batch, "queue")).or_default() += (ended - before).max(0);
            if batch["finished_at"].is_null() {
                open.insert(id, ended);
            }
        }
        self.open = open;
    }

    fn over_the_window(&mut self) -> HashMap<String, f64> {
        while self.looks.len() > 2 && self.looks.get(1).is_some_and(|(at, _)| at.elapsed() >= WINDOW) {
            self.looks.pop_front();
        }
        let (Some((from, before)), Some((to, after))) = (self.looks.front(), self.looks.back()) else {
            return HashMap::new();
        };
        let seconds = to.duration_since(*from).as_secs_f64().max(0.001);
        after
            .iter()
            .map(|(queue, ended)| (queue.clone(), per(*ended - before.get(queue).unwrap_or(&0), seconds)))
            .collect()
    }
}

fn averages(batches: &[Value], now: jiff::Timestamp) -> HashMap<String, f64> {
    let mut rates: HashMap<String, f64> = HashMap::new();
    for batch in batches.iter().filter(|batch| batch["finished_at"].is_null()) {
        if let Some(started) = words::time(batch, "started_at") {
            let seconds = now.duration_since(started).as_secs_f64().max(1.0);
            *rates.entry(words::text(batch, "queue")).or_default() +=
                per(words::number(batch, "ended"), seconds);
        }
    }
    rates
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn per(items: i64, seconds: f64) -> f64 {
    items as f64 / seconds
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn batch(id: i64, ended: i64, finished: bool) -> Value {
        json!({"id": id, "queue": "q", "ended": ended, "finished_at": finished.then_some("2026-01-01T00:00:00Z")})
    }

    #[test]
    fn what_ended_before_the_first_look_does_not_count() {
        let mut rates = Rates::default();
        rates.note(&[batch(1, 100, false)], true);
        assert_eq!(rates.ended["q"], 0);
        rates.note(&[batch(1, 103, false)], false);
        assert_eq!(rates.ended["q"], 3);
    }

    #[test]
    fn a_batch_that_came_and_went_between_two_looks_counts_and_a_retried_one_does_not_count_back() {
        let mut rates = Rates::default();
        rates.note(&[batch(1, 5, false)], true);
        rates.note(&[batch(1, 2, false), batch(2, 7, true)], false);
        assert_eq!(rates.ended["q"], 7);
        assert_eq!(rates.open.keys().collect::<Vec<_>>(), [&1]);
    }
}
