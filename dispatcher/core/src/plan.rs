//! What to do next: `plan(&Snapshot) -> Plan`. Total: it cannot fail and cannot wait.
//!
//! The plan leaves no choice to those who carry it out. What is held back is named with its reason, and every
//! reason that passes by itself arms `wake_at`: between two plans nothing polls.

mod claims;
mod history;
mod live;
mod permits;

use jiff::Timestamp;
use serde::Serialize;

use crate::notice::StopReason;
use crate::snapshot::{BatchId, Ending, JobPhase, RunId, Snapshot, Waiting};
use crate::state::RunState;

pub use permits::{Permit, permits};

/// One pass over [`Plan::claims`] takes no more than this, so that the first Jobs of a large batch start while the
/// rest is still being claimed; the loop comes back at once.
pub const CLAIMS_MAX: usize = 256;

/// No more Jobs than this wait for their creation at once; the rest stays where it is, in PostgreSQL. What was claimed
/// for more is sent too late to be sure that it is still ours to send, and has to be asked for again; and work of a higher
/// priority that comes meanwhile would wait behind it.
pub const STARTS_MAX: usize = 512;

/// After so many replaced pods a run is stopped: its node pool cannot hold it. The run that comes after it starts with
/// a backoff, and PostgreSQL bounds how many such runs there are.
pub const DISRUPTIONS_MAX: u32 = 10;

/// Everything to do now, in the order in which it is done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Runs that ended: record them.
    pub ends: Vec<End>,
    /// Runs whose first container started: record it.
    pub running: Vec<Started>,
    /// Runs that do not start, or start at last: record why, or that it is over.
    pub notes: Vec<Note>,
    /// Runs that count as pending no longer, or again, by the conditions of their pods: record it.
    pub ready: Vec<Ready>,
    /// Jobs to stop: cancelled, over their time, or disrupted too often.
    pub stops: Vec<Stop>,
    /// Jobs that go on though PostgreSQL holds no live run for them: ask it again, and stop those that are over.
    pub strays: Vec<RunId>,
    /// Claimed runs without a Job: create it (again; the name makes it idempotent).
    pub starts: Vec<RunId>,
    /// Items to claim and start.
    pub claims: Vec<Claim>,
    /// Ended Jobs beyond the history limits.
    pub removals: Vec<RunId>,
    /// Whether ended batches are old enough to be deleted: one small step.
    pub prune: bool,
    /// Who waits, and why.
    pub held: Vec<Held>,
    /// The next moment at which this plan would be another one, if nothing else happens.
    pub wake_at: Option<Timestamp>,
}

/// A range of items to claim: an element of what `pgbatch.claim()` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claim {
    /// The batch.
    pub batch: BatchId,
    /// First item of the range.
    pub first_item: u32,
    /// Last item of the range, inclusive.
    pub last_item: u32,
    /// Which attempt this is, from 1.
    pub attempt: u32,
}

/// A run whose first container started: an element of what `pgbatch.start_runs()` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Started {
    /// The run.
    pub run: RunId,
    /// When, by the node's clock.
    pub started_at: Timestamp,
}

/// Why a run does not start: an element of what `pgbatch.note_runs()` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The run.
    pub run: RunId,
    /// None: nothing is in its way any more.
    pub waiting: Option<Waiting>,
}

/// Whether a pod of a run has the conditions by which its queue counts pending runs: an element of what
/// `pgbatch.ready_runs()` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ready {
    /// The run.
    pub run: RunId,
    /// False: it counts as pending.
    pub is_ready: bool,
}

/// A Job to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    /// The run.
    pub run: RunId,
    /// Why.
    pub why: StopReason,
}

/// The end of a run, to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The run.
    pub run: RunId,
    /// Its final state.
    pub state: RunState,
    /// When its first container started, if one did.
    pub started_at: Option<Timestamp>,
    /// How the Job ended, as far as is known.
    pub ending: Ending,
    /// The window in which a retry falls, in milliseconds (see [`crate::retry`]).
    pub retry_window_ms: i64,
}

/// Work that could start but does not, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The queue.
    pub queue: String,
    /// Why.
    pub reason: Reason,
}

/// Why work is held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// `pause_queue` was called.
    Paused,
    /// The executor has not heard of the queue's namespace yet.
    ExecutorNotReady,
    /// As many Jobs as may be are being created, of this and of other queues.
    StartsUnderWay,
    /// As many live runs as the queue may have.
    AtMaxParallel {
        /// The limit.
        max_parallel: u32,
    },
    /// As many live runs as all queues with this limit may have together.
    AtLimit {
        /// Its name.
        limit: String,
        /// The limit.
        max_parallel: u32,
    },
    /// As many live runs with this key as the queue may have.
    AtMaxPerKey {
        /// The key.
        key: String,
        /// The limit.
        max_per_key: u32,
    },
    /// As many starts as the queue may have in its interval.
    AtMaxStarts {
        /// When the next one may be.
        until: Timestamp,
    },
    /// A retry is not due yet.
    RetryDue {
        /// When it is.
        at: Timestamp,
    },
    /// The API server refused the Job for now.
    Refused {
        /// The run.
        run: RunId,
        /// When it is tried again.
        until: Timestamp,
    },
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Paused => write!(f, "the queue is paused"),
            Self::ExecutorNotReady => write!(f, "the executor has no answer yet about the namespace"),
            Self::StartsUnderWay => write!(f, "earlier Jobs are still being created"),
            Self::AtMaxParallel { max_parallel } => write!(f, "at max_parallel ({max_parallel})"),
            Self::AtLimit { limit, max_parallel } => {
                write!(f, "limit {limit:?} is at max_parallel ({max_parallel})")
            }
            Self::AtMaxPerKey { key, max_per_key } => {
                write!(f, "key {key:?} is at max_per_key ({max_per_key})")
            }
            Self::AtMaxStarts { until } => write!(f, "at max_starts until {until}"),
            Self::RetryDue { at } => write!(f, "retry due at {at}"),
            Self::Refused { run, until } => {
                write!(f, "the Job of run {run} was refused, next try at {until}")
            }
        }
    }
}

impl Plan {
    /// Whether there is something to do now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self {
            ends,
            running,
            notes,
            ready,
            stops,
            strays,
            starts,
            claims,
            removals,
            prune,
            held: _,
            wake_at: _,
        } = self;
        ends.is_empty()
            && running.is_empty()
            && notes.is_empty()
            && ready.is_empty()
            && stops.is_empty()
            && strays.is_empty()
            && starts.is_empty()
            && claims.is_empty()
            && removals.is_empty()
            && !prune
    }

    fn wake_no_later_than(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |known| known.min(at)));
    }

    fn hold(&mut self, queue: &str, reason: Reason) {
        self.held.push(Held { queue: queue.to_owned(), reason });
    }
}

/// Decides what to do now. Pure: the time is `seen.store.now`.
#[must_use]
pub fn plan(seen: &Snapshot) -> Plan {
    let mut plan = Plan::default();
    if let Some(at) = seen.store.next_not_before {
        plan.wake_no_later_than(at);
    }
    match seen.store.prune_at {
        Some(at) if at <= seen.store.now => plan.prune = true,
        Some(at) => plan.wake_no_later_than(at),
        None => {}
    }
    let mut starts = starts_left(seen);
    live::plan_live_runs(seen, &mut plan);
    plan.starts.truncate(starts);
    starts -= plan.starts.len();
    live::plan_strays(seen, &mut plan);
    claims::plan_claims(seen, starts, &mut plan);
    history::plan_removals(seen, &mut plan);
    plan
}

/// How many Jobs may be created now. None while more than half of [`STARTS_MAX`] wait: a pass is for many.
fn starts_left(seen: &Snapshot) -> usize {
    let creating = seen.executor.jobs.values().filter(|job| job.phase == JobPhase::Creating).count();
    if creating > STARTS_MAX / 2 { 0 } else { STARTS_MAX - creating }
}

#[cfg(test)]
mod tests;
