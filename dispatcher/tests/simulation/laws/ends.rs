//! What the end of a run means for its items.

use jiff::{SignedDuration, Timestamp};
use pgbatch_core::snapshot::RunId;
use pgbatch_core::state::{ItemState, RunState};

use super::{Law, Laws};
use crate::store::{RunRow, Tables};
use crate::world::World;

/// So many disruptions of an item burn no attempt.
const DISRUPTIONS_MAX: u32 = 10;

impl Laws {
    pub(super) fn note_report(&mut self, tables: &Tables, run: RunId, item: u32) {
        let Some(row) = tables.runs.get(&run) else { return };
        if let Some(report) = tables.reports.get(&(run, item)) {
            let life = self.life(row.batch, item);
            life.hopeless = !report.succeeded && !report.retry;
            life.succeeded_by = report.succeeded.then_some(run);
        }
    }

    /// A run ended, and its outcome is written.
    pub(super) fn judge_end(&mut self, world: &World, tables: &Tables, run: RunId, disrupted: bool) {
        let Some(row) = tables.runs.get(&run) else { return };
        let Some(batch) = tables.batches.get(&row.batch) else { return };
        let timeout = tables.queues.get(&row.queue).and_then(|queue| queue.run_timeout_ms);
        let deadline = row.started_at.zip(timeout).map(|(at, ms)| at + SignedDuration::from_millis(ms));
        let in_time = |ended: &Timestamp| deadline.is_none_or(|deadline| *ended < deadline);
        let evicted = match row.state {
            RunState::Failed => self.evicted.contains_key(&run),
            RunState::TimedOut => self.evicted.get(&run).is_some_and(in_time),
            _ => false,
        };
        let touched = self.touched.contains(&run);
        if disrupted && !touched {
            let words = format!("run {run} counts as disrupted, but no pod of it was");
            world.violate(Law::Evictions, words);
        }
        for item in row.first_item..=row.last_item {
            let report = tables.reports.get(&(run, item));
            let life = self.life(row.batch, item);
            match (report.map(|r| r.succeeded), row.state) {
                (None, RunState::Succeeded) => life.succeeded_by = Some(run),
                (Some(true), _) | (None, RunState::Cancelled) => {}
                (None, _) if (disrupted || evicted) && life.disrupted < DISRUPTIONS_MAX => {
                    life.disrupted += 1
                }
                _ => life.burnt += 1,
            }
            let spent = life.burnt >= batch.max_attempts || life.hopeless || batch.cancel;
            let failed = tables.item_state(row.batch, item) == ItemState::Failed;
            if failed && !spent {
                let words = format!(
                    "item {item} of batch {} failed after {} of {} attempts and {} disruptions",
                    row.batch, life.burnt, batch.max_attempts, life.disrupted
                );
                world.violate(Law::Evictions, words);
            }
        }
        judge_fate(world, tables, row);
    }

    /// The Job of a run failed because its pods were evicted, and they still say so. Where the run had another Job, that
    /// may have failed by itself.
    pub(crate) fn note_evicted(&mut self, run: RunId, ended_at: Timestamp) {
        if self.jobs.get(&run).is_some_and(|jobs| jobs.created == 1 && jobs.taken == 0) {
            self.evicted.insert(run, ended_at);
        }
    }

    /// The dispatcher deletes the Job of a run, and with it the pods that say so. Where its watches were behind it may
    /// not know that the Job had ended, and stop it for its time limit: then an eviction does burn an attempt.
    pub(crate) fn note_deleted(&mut self, run: RunId) {
        self.evicted.remove(&run);
    }

    /// A pod of a run was evicted, drained or lost with its node.
    pub(crate) fn note_touched(&mut self, run: RunId) {
        self.touched.insert(run);
    }
}

/// Each item of a run that ended is final, or waits for its retry once.
fn judge_fate(world: &World, tables: &Tables, run: &RunRow) {
    for item in run.first_item..=run.last_item {
        let waits = tables
            .retries
            .iter()
            .filter(|r| r.batch == run.batch && (r.first_item..=r.last_item).contains(&item));
        if waits.count() > 1 {
            let words = format!("item {item} of batch {} waits for two retries", run.batch);
            world.violate(Law::OneAtATime, words);
        }
    }
}
