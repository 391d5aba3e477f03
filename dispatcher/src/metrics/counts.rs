//! What PostgreSQL alone knows: items by state, and what became of the triggers. Read for a scrape, see `web/scrape.rs`.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Labels, Metrics, count, seconds};
use crate::store::{Counts, QueueCounts, TriggerCounts};
use crate::trigger::kafka::KAFKA;
use crate::trigger::scaled_job::SCALED_JOB;

/// Not more often, however many scrape: a reading takes milliseconds of the loop's time.
const READ_PERIOD: Duration = Duration::from_secs(1);

/// Where it takes longer, as with a thousand running batches of a thousand runs each, it may have this part of the time.
const SHARE: u32 = 20;

/// Whether what was read last still holds.
#[derive(Debug, Default)]
pub(super) struct Freshness(Mutex<Reading>);

#[derive(Debug, Default)]
struct Reading {
    is_outdated: bool,
    not_before: Option<Instant>,
}

impl Freshness {
    /// Something has changed in PostgreSQL, as far as is known.
    pub(super) fn lose(&self) {
        self.reading().is_outdated = true;
    }

    /// Whether it is to be read now. Whoever is told so does it: what changes from now on outdates it again.
    fn renew(&self) -> bool {
        let (mut reading, now) = (self.reading(), Instant::now());
        let is_due = reading.is_outdated && reading.not_before.is_none_or(|at| now >= at);
        if is_due {
            *reading = Reading { is_outdated: false, not_before: Some(now + READ_PERIOD) };
        }
        is_due
    }

    /// It took so long.
    fn rest(&self, took: Duration) {
        self.reading().not_before = Some(Instant::now() + READ_PERIOD.max(took * SHARE));
    }

    fn reading(&self) -> MutexGuard<'_, Reading> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Metrics {
    /// Whether [`Metrics::counted`] is to be called, or [`Metrics::not_counted`].
    pub(crate) fn count(&self) -> bool {
        self.freshness.renew()
    }

    /// What PostgreSQL has counted, and how long it took.
    pub(crate) fn counted(&self, counts: &Counts, took: Duration) {
        self.freshness.rest(took);
        let (mut items, mut oldest) = (BTreeMap::new(), BTreeMap::new());
        for queue in &counts.queues {
            for (state, number) in states(queue) {
                *items.entry(self.queue_and("state", &queue.name, state)).or_insert(0) += count(number);
            }
            if let Some(at) = queue.oldest_pending {
                // Several queues may share a label.
                let at = seconds(at);
                oldest
                    .entry(self.queue(&queue.name))
                    .and_modify(|first: &mut f64| *first = first.min(at))
                    .or_insert(at);
            }
        }
        self.items.replace(items);
        self.oldest_pending.replace(oldest);
        let all = counts.triggers.iter();
        // Whether a topic or a ScaledJob is watched, the dispatcher knows before PostgreSQL does.
        let errors = all.clone().filter(|t| t.kind != KAFKA).map(|t| (labels(t), i64::from(t.is_in_error)));
        let is_known_here = |[(_, kind), _]: &Labels<2>| matches!(kind.as_str(), KAFKA | SCALED_JOB);
        self.trigger_error.replace_but(is_known_here, errors.collect());
        self.trigger_value.replace(all.clone().filter_map(|t| Some((labels(t), t.value?))).collect());
        self.trigger_last_fired
            .replace(all.filter_map(|t| Some((labels(t), seconds(t.fired_at?)))).collect());
    }

    /// It could not be read: the next one tries again.
    pub(crate) fn not_counted(&self) {
        self.freshness.lose();
    }

    /// It does not lead any more.
    pub(super) fn forget_counts(&self) {
        self.items.clear();
        self.oldest_pending.clear();
        self.trigger_value.clear();
        self.trigger_last_fired.clear();
    }
}

fn states(queue: &QueueCounts) -> [(&'static str, i64); 4] {
    let QueueCounts { name: _, pending, running, retrying, failed, oldest_pending: _ } = *queue;
    [("pending", pending), ("running", running), ("retrying", retrying), ("failed", failed)]
}

fn labels(trigger: &TriggerCounts) -> Labels<2> {
    [("kind", trigger.kind.clone()), ("trigger", trigger.name.clone())]
}
