//! The store in memory: what sql/install/ does, in the same words. One call is one transaction.

mod claim;
mod finish;
mod observe;
mod work;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use pgbatch_core::snapshot::{BatchId, RunId, Waiting};
use pgbatch_core::state::{BatchState, ItemState, RunState};
use serde_json::Value;

pub(crate) use self::work::Options;
use crate::bugs::Bug;

/// The schema `pgbatch`.
pub(crate) struct Tables {
    pub(crate) bug: Option<Bug>,
    /// Of the transaction.
    pub(crate) now: Timestamp,
    pub(crate) epoch: i64,
    pub(crate) queues: BTreeMap<String, QueueRow>,
    pub(crate) limits: BTreeMap<String, u32>,
    pub(crate) batches: BTreeMap<BatchId, BatchRow>,
    pub(crate) runs: BTreeMap<RunId, RunRow>,
    pub(crate) retries: Vec<RetryRow>,
    pub(crate) reports: BTreeMap<(RunId, u32), Report>,
    /// Rows that somebody's open transaction has locked.
    pub(crate) locked_batches: BTreeSet<BatchId>,
    pub(crate) locked_runs: BTreeSet<RunId>,
    /// What the transaction did, for the laws.
    pub(crate) changes: Vec<Change>,
    /// Whether the transaction rings the doorbell.
    pub(crate) ring: bool,
    next_batch: BatchId,
    next_run: RunId,
    /// The epoch of the last look, and the next run's number then: the setting `pgbatch.seen`.
    looked: Option<(i64, RunId)>,
}

/// What a transaction did.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// A run took items.
    Claimed { run: RunId, epoch: i64 },
    /// A run is in another state.
    Run { run: RunId, from: RunState, to: RunState, disrupted: bool },
    /// A run said something about an item.
    Reported { run: RunId, item: u32 },
    /// A batch is in another state.
    Batch { batch: BatchId, from: BatchState, to: BatchState },
    /// Failed items of a batch get further attempts.
    Retried { batch: BatchId, items: Vec<u32> },
    /// A batch is deleted.
    Pruned { batch: BatchId },
}

/// `pgbatch.queue`.
#[derive(Debug, Clone)]
pub(crate) struct QueueRow {
    pub(crate) name: String,
    pub(crate) job_template: Value,
    pub(crate) namespace: Option<String>,
    pub(crate) paused: bool,
    pub(crate) priority: i32,
    pub(crate) max_parallel: u32,
    pub(crate) limit: Option<String>,
    pub(crate) items_per_run: u32,
    pub(crate) max_attempts: u32,
    pub(crate) retry_backoff_ms: i64,
    pub(crate) retry_backoff_max_ms: i64,
    pub(crate) run_timeout_ms: Option<i64>,
    pub(crate) max_per_key: Option<u32>,
    pub(crate) max_starts: Option<u32>,
    pub(crate) max_starts_per_ms: i64,
    pub(crate) keep_succeeded: u32,
    pub(crate) keep_failed: u32,
    pub(crate) retain_ms: i64,
}

/// `pgbatch.batch`.
#[derive(Debug, Clone)]
pub(crate) struct BatchRow {
    pub(crate) id: BatchId,
    pub(crate) queue: String,
    pub(crate) state: BatchState,
    pub(crate) items: u32,
    pub(crate) has_fresh: bool,
    pub(crate) priority: i32,
    pub(crate) max_attempts: u32,
    pub(crate) key: Option<String>,
    pub(crate) unique_key: Option<String>,
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) after: Vec<BatchId>,
    pub(crate) cancel: bool,
    pub(crate) expires_at: Option<Timestamp>,
    /// Succeeded, failed, cancelled; once it has ended.
    pub(crate) counts: Option<(u32, u32, u32)>,
}

/// `pgbatch.run`.
#[derive(Debug, Clone)]
pub(crate) struct RunRow {
    pub(crate) id: RunId,
    pub(crate) queue: String,
    pub(crate) batch: BatchId,
    pub(crate) first_item: u32,
    pub(crate) last_item: u32,
    pub(crate) attempt: u32,
    pub(crate) max_attempt: u32,
    pub(crate) disruptions: u32,
    pub(crate) token: String,
    pub(crate) namespace: Option<String>,
    pub(crate) state: RunState,
    pub(crate) created_at: Timestamp,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) waiting: Option<Waiting>,
    pub(crate) succeeded: u32,
    pub(crate) failed: u32,
}

impl RunRow {
    pub(crate) fn is_live(&self) -> bool {
        !self.state.is_final()
    }

    pub(crate) fn has(&self, item: u32) -> bool {
        (self.first_item..=self.last_item).contains(&item)
    }
}

/// `pgbatch.retry`.
#[derive(Debug, Clone)]
pub(crate) struct RetryRow {
    pub(crate) batch: BatchId,
    pub(crate) queue: String,
    pub(crate) first_item: u32,
    pub(crate) last_item: u32,
    pub(crate) attempt: u32,
    pub(crate) max_attempt: u32,
    pub(crate) disruptions: u32,
    /// None: never, the batch is cancelled.
    pub(crate) due_at: Option<Timestamp>,
}

/// `pgbatch.report`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) succeeded: bool,
    pub(crate) retry: bool,
}

/// A call that raised an ERROR.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refused(pub(crate) String);

impl Tables {
    pub(crate) fn new(bug: Option<Bug>) -> Self {
        Self {
            bug,
            now: Timestamp::UNIX_EPOCH,
            epoch: 0,
            queues: BTreeMap::new(),
            limits: BTreeMap::new(),
            batches: BTreeMap::new(),
            runs: BTreeMap::new(),
            retries: Vec::new(),
            reports: BTreeMap::new(),
            locked_batches: BTreeSet::new(),
            locked_runs: BTreeSet::new(),
            changes: Vec::new(),
            ring: false,
            next_batch: 1,
            next_run: 1,
            looked: None,
        }
    }

    /// `pgbatch.check_epoch`.
    pub(crate) fn check_epoch(&self, epoch: i64) -> Result<(), Refused> {
        if epoch == self.epoch || self.bug == Some(Bug::ClaimWithoutFence) {
            return Ok(());
        }
        Err(Refused(format!(
            "the dispatcher of epoch {epoch} does not lead, that of epoch {} does",
            self.epoch
        )))
    }

    pub(crate) fn live_runs(&self) -> impl Iterator<Item = &RunRow> {
        self.runs.values().filter(|run| run.is_live())
    }

    /// The latest run that had the item.
    pub(crate) fn run_of_item(&self, batch: BatchId, item: u32) -> Option<&RunRow> {
        self.runs.values().filter(|run| run.batch == batch && run.has(item)).max_by_key(|run| run.attempt)
    }

    /// The state of an item as the view `items` has it.
    pub(crate) fn item_state(&self, batch: BatchId, item: u32) -> ItemState {
        let cancel = self.batches.get(&batch).is_some_and(|b| b.cancel);
        let Some(run) = self.run_of_item(batch, item) else {
            return if cancel { ItemState::Cancelled } else { ItemState::Pending };
        };
        let report = self.reports.get(&(run.id, item));
        let waits =
            self.retries.iter().any(|r| r.batch == batch && (r.first_item..=r.last_item).contains(&item));
        match (report, run.state) {
            (Some(report), _) if report.succeeded => ItemState::Succeeded,
            (_, RunState::Starting | RunState::Running) => ItemState::Running,
            (None, RunState::Succeeded) => ItemState::Succeeded,
            _ if waits && cancel => ItemState::Cancelled,
            _ if waits => ItemState::Retrying,
            (None, RunState::Cancelled) => ItemState::Cancelled,
            _ => ItemState::Failed,
        }
    }

    pub(crate) fn set_batch_state(&mut self, batch: BatchId, to: BatchState) {
        if let Some(row) = self.batches.get_mut(&batch)
            && row.state != to
        {
            self.changes.push(Change::Batch { batch, from: row.state, to });
            row.state = to;
        }
    }
}
