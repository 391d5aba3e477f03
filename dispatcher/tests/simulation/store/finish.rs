//! `pgbatch.finish_runs`, `end_runs`, `close_batches`.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use pgbatch_core::run::Outcome;
use pgbatch_core::snapshot::{BatchId, RunId};
use pgbatch_core::state::{BatchState, RunState};
use pgbatch_dispatcher::store::ClosedBatch;

use super::{Change, Refused, RetryRow, Tables};
use crate::bugs::Bug;

/// A node pool that evicts for ever must not keep an item for ever.
pub(crate) const DISRUPTIONS_MAX: u32 = 10;

/// What becomes of an item when its run has ended.
#[derive(PartialEq, Eq)]
enum Fate {
    Succeeded,
    Failed,
    Cancelled,
    /// With this many disruptions more.
    Retrying(u32),
}

impl Tables {
    /// `pgbatch.finish_runs`.
    pub(crate) fn finish_runs(
        &mut self,
        epoch: i64,
        outcomes: &[Outcome],
    ) -> Result<Vec<ClosedBatch>, Refused> {
        self.check_epoch(epoch)?;
        let twice = self.bug == Some(Bug::FinishTwice);
        let is_live = |tables: &Self, run: RunId| {
            let row = tables.runs.get(&run)?;
            let free = !tables.locked_batches.contains(&row.batch) && !tables.locked_runs.contains(&run);
            ((row.is_live() || twice) && free).then_some(row.batch)
        };
        let mut batches = BTreeSet::new();
        for outcome in outcomes {
            if let Some(batch) = is_live(self, outcome.run) {
                batches.insert(batch);
                self.end_run(outcome);
            }
        }
        Ok(self.close_batches(&Vec::from_iter(batches)))
    }

    /// `pgbatch.end_runs`, for one.
    fn end_run(&mut self, outcome: &Outcome) {
        let Some(run) = self.runs.get(&outcome.run).cloned() else { return };
        let (mut succeeded, mut failed) = (0, 0);
        for item in run.first_item..=run.last_item {
            match self.fate(outcome, item) {
                Fate::Succeeded => succeeded += 1,
                Fate::Failed => failed += 1,
                Fate::Cancelled => {}
                Fate::Retrying(given) => self.add_retry(outcome, item, given),
            }
        }
        let Some(row) = self.runs.get_mut(&outcome.run) else { return };
        row.started_at = row.started_at.or(outcome.started_at);
        (row.state, row.succeeded, row.failed, row.waiting) = (outcome.state, succeeded, failed, None);
        let (from, to, disrupted) = (run.state, outcome.state, outcome.disrupted);
        self.changes.push(Change::Run { run: run.id, from, to, disrupted });
    }

    fn fate(&self, outcome: &Outcome, item: u32) -> Fate {
        let Some(run) = self.runs.get(&outcome.run) else { return Fate::Failed };
        let report = self.reports.get(&(run.id, item));
        let cancel = self.batches.get(&run.batch).is_some_and(|b| b.cancel);
        let counts = self.bug == Some(Bug::EvictionCounted);
        let given =
            u32::from(outcome.disrupted && report.is_none() && run.disruptions < DISRUPTIONS_MAX && !counts);
        match (report.map(|r| r.succeeded), outcome.state) {
            (Some(true), _) | (None, RunState::Succeeded) => Fate::Succeeded,
            (None, RunState::Cancelled) => Fate::Cancelled,
            _ if report.is_none_or(|r| r.retry) && run.attempt < run.max_attempt + given && !cancel => {
                Fate::Retrying(given)
            }
            _ => Fate::Failed,
        }
    }

    fn add_retry(&mut self, outcome: &Outcome, item: u32, given: u32) {
        let Some(run) = self.runs.get(&outcome.run) else { return };
        let (attempt, disruptions) = (run.attempt + 1, run.disruptions + given);
        if let Some(last) = self.retries.last_mut()
            && (last.batch, last.last_item + 1, last.attempt) == (run.batch, item, attempt)
            && last.disruptions == disruptions
            && last.first_item >= run.first_item
        {
            last.last_item = item;
            return;
        }
        self.retries.push(RetryRow {
            batch: run.batch,
            queue: run.queue.clone(),
            first_item: item,
            last_item: item,
            attempt,
            max_attempt: run.max_attempt + given,
            disruptions,
            due_at: Some(self.now + SignedDuration::from_millis(outcome.retry_in_ms)),
        });
    }

    /// `pgbatch.close_batches`.
    pub(super) fn close_batches(&mut self, ids: &[BatchId]) -> Vec<ClosedBatch> {
        let mut closed = Vec::new();
        for id in ids {
            let Some(batch) = self.batches.get(id) else { continue };
            let live = self.live_runs().any(|run| run.batch == *id);
            let left = batch.state == BatchState::Waiting
                || batch.has_fresh
                || self.retries.iter().any(|retry| retry.batch == *id);
            if batch.state.is_final() || live || (left && !batch.cancel) {
                continue;
            }
            let of_batch = || self.runs.values().filter(|run| run.batch == *id);
            let succeeded: u32 = of_batch().map(|run| run.succeeded).sum();
            let failed: u32 = of_batch().map(|run| run.failed).sum();
            let state = match batch.cancel {
                true => BatchState::Cancelled,
                false if succeeded < batch.items => BatchState::Failed,
                false => BatchState::Succeeded,
            };
            let queue = batch.queue.clone();
            // Not a saturating subtraction: wrong counts must show.
            let counts = (succeeded, failed, batch.items.wrapping_sub(succeeded).wrapping_sub(failed));
            let retain = self.queues.get(&queue).map_or(0, |q| q.retain_ms.max(q.max_starts_per_ms));
            let expires_at = self.now + SignedDuration::from_millis(retain);
            self.set_batch_state(*id, state);
            if let Some(row) = self.batches.get_mut(id) {
                (row.counts, row.expires_at) = (Some(counts), Some(expires_at));
            }
            closed.push(ClosedBatch { id: *id, queue, label: None, state });
        }
        closed
    }
}
