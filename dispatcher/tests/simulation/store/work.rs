//! What people and runs call: enqueue, cancel, retry, report.

use jiff::{SignedDuration, Timestamp};
use pgbatch_core::snapshot::{BatchId, RunId};
use pgbatch_core::state::{BatchState, ItemState};

use super::{BatchRow, Change, QueueRow, Refused, Report, RetryRow, Tables};

/// The options of `pgbatch.enqueue_batch`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub(crate) priority: i32,
    pub(crate) key: Option<String>,
    pub(crate) unique_key: Option<String>,
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) after: Vec<BatchId>,
    pub(crate) max_attempts: Option<u32>,
}

impl Tables {
    /// `pgbatch.enqueue_batch`: the batch, and whether it is new.
    pub(crate) fn enqueue(&mut self, queue: &str, items: u32, options: Options) -> Option<(BatchId, bool)> {
        let max_attempts = self.queues.get(queue)?.max_attempts;
        let Options { priority, key, unique_key, not_before, after, max_attempts: own } = options;
        let open = |b: &&BatchRow| !b.state.is_final() && b.queue == queue && b.unique_key == unique_key;
        if unique_key.is_some()
            && let Some(batch) = self.batches.values().find(open)
        {
            return Some((batch.id, false));
        }
        let waits = not_before.is_some_and(|at| at > self.now) || !after.is_empty();
        let id = self.next_batch;
        self.next_batch += 1;
        let row = BatchRow {
            id,
            queue: queue.to_owned(),
            state: if waits { BatchState::Waiting } else { BatchState::Pending },
            items,
            has_fresh: items > 0,
            priority,
            max_attempts: own.unwrap_or(max_attempts),
            key,
            unique_key,
            not_before,
            after,
            cancel: false,
            expires_at: None,
            counts: None,
        };
        self.batches.insert(id, row);
        self.ring = true;
        Some((id, true))
    }

    /// `pgbatch.cancel_batch`; false: another transaction has it locked.
    pub(crate) fn cancel_batch(&mut self, id: BatchId) -> bool {
        if self.locked_batches.contains(&id) {
            return false;
        }
        if self.batches.get(&id).is_some_and(|b| !b.state.is_final()) {
            self.mark_cancelled(id);
            self.close_batches(&[id]);
            self.ring = true;
        }
        true
    }

    /// `pgbatch.mark_cancelled`.
    pub(super) fn mark_cancelled(&mut self, id: BatchId) {
        if let Some(batch) = self.batches.get_mut(&id) {
            batch.cancel = true;
        }
        for retry in self.retries.iter_mut().filter(|retry| retry.batch == id) {
            retry.due_at = None;
        }
    }

    /// `pgbatch.retry_batch`: the number of items that are retried.
    pub(crate) fn retry_batch(&mut self, id: BatchId) -> Result<u64, Refused> {
        let batch = self.batches.get(&id).cloned().ok_or_else(|| Refused("unknown batch".to_owned()))?;
        if batch.cancel || self.locked_batches.contains(&id) {
            return Err(Refused("cancelled, or locked".to_owned()));
        }
        let open = |b: &BatchRow| !b.state.is_final() && b.queue == batch.queue && b.id != id;
        let taken = batch.unique_key.is_some()
            && self.batches.values().any(|b| open(b) && b.unique_key == batch.unique_key);
        if batch.state.is_final() && taken {
            return Err(Refused("another open batch has its unique key".to_owned()));
        }
        let per_run = self.queues.get(&batch.queue).map_or(1, |q| q.items_per_run);
        let failed: Vec<u32> =
            (1..=batch.items).filter(|item| self.item_state(id, *item) == ItemState::Failed).collect();
        for item in &failed {
            self.retry_item(&batch, *item, per_run);
        }
        if !failed.is_empty() {
            if batch.state.is_final() {
                self.set_batch_state(id, BatchState::Running);
                if let Some(row) = self.batches.get_mut(&id) {
                    (row.counts, row.expires_at) = (None, None);
                }
            }
            self.changes.push(Change::Retried { batch: id, items: failed.clone() });
        }
        self.ring = true;
        Ok(failed.len() as u64)
    }

    /// Adds one item to the last retry row if it continues it, else makes one.
    fn retry_item(&mut self, batch: &BatchRow, item: u32, per_run: u32) {
        let Some(run) = self.run_of_item(batch.id, item) else { return };
        let (run, attempt) = (run.id, run.attempt);
        if let Some(run) = self.runs.get_mut(&run) {
            // It is not failed any more, so the run that failed it must not count it.
            run.failed -= 1;
        }
        let due_at = Some(self.now);
        if let Some(last) = self.retries.last_mut()
            && (last.batch, last.last_item + 1, last.attempt) == (batch.id, item, attempt + 1)
            && last.due_at == due_at
            && item - last.first_item < per_run
        {
            last.last_item = item;
            return;
        }
        self.retries.push(RetryRow {
            batch: batch.id,
            queue: batch.queue.clone(),
            first_item: item,
            last_item: item,
            attempt: attempt + 1,
            max_attempt: attempt + batch.max_attempts,
            disruptions: 0,
            due_at,
        });
    }

    /// `pgbatch.complete_item` and `pgbatch.fail_item`.
    pub(crate) fn report(
        &mut self,
        run: RunId,
        token: &str,
        item: u32,
        report: Report,
    ) -> Result<(), Refused> {
        let row = self.runs.get(&run).filter(|row| row.token == token && row.is_live());
        if row.is_none_or(|row| !row.has(item)) {
            return Err(Refused(format!("run {run} is over or the token is wrong")));
        }
        match self.reports.get(&(run, item)) {
            Some(known) if known.succeeded != report.succeeded => {
                Err(Refused(format!("item {item} of run {run} was already reported otherwise")))
            }
            Some(_) => Ok(()),
            None => {
                self.reports.insert((run, item), report);
                self.changes.push(Change::Reported { run, item });
                Ok(())
            }
        }
    }

    /// `pgbatch.alter_queue`, `pause_queue`, `resume_queue`.
    pub(crate) fn alter_queue(&mut self, queue: &str, alter: impl FnOnce(&mut QueueRow)) {
        if let Some(row) = self.queues.get_mut(queue) {
            alter(row);
        }
        self.ring = true;
    }

    /// `pgbatch.prune`.
    pub(crate) fn prune(&mut self, epoch: i64) -> Result<(), Refused> {
        self.check_epoch(epoch)?;
        let now = self.now;
        let is_expired = |b: &&BatchRow| b.expires_at.is_some_and(|at| at <= now);
        let expired: Vec<BatchId> = self.batches.values().filter(is_expired).map(|b| b.id).collect();
        for id in expired.into_iter().filter(|id| !self.locked_batches.contains(id)).collect::<Vec<_>>() {
            let wanted =
                self.batches.values().any(|b| b.state == BatchState::Waiting && b.after.contains(&id));
            if wanted {
                if let Some(batch) = self.batches.get_mut(&id) {
                    batch.expires_at = Some(now + SignedDuration::from_hours(1));
                }
                continue;
            }
            self.changes.push(Change::Pruned { batch: id });
            self.batches.remove(&id);
            let gone: Vec<RunId> = self.runs.values().filter(|r| r.batch == id).map(|r| r.id).collect();
            self.reports.retain(|(run, _), _| !gone.contains(run));
            self.runs.retain(|_, run| run.batch != id);
            self.retries.retain(|retry| retry.batch != id);
        }
        Ok(())
    }
}
