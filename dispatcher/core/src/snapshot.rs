//! All that the planner may see: PostgreSQL's side as `pgbatch.observe()` returns it, the executor's side, and the time.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::state::RunState;

/// The number of a run; its Job is named `<queue>-<run id>`.
pub type RunId = i64;
/// The number of a batch.
pub type BatchId = i64;

/// PostgreSQL's side of the world, read in one statement.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreView {
    /// The database's clock when it was read.
    pub now: Timestamp,
    /// The queues that have an open batch or a live run, and those that the caller asked for.
    pub queues: Vec<Queue>,
    /// Every run that has not ended.
    pub live: Vec<LiveRun>,
    /// The earliest `not_before` of the waiting batches, if any lies ahead.
    pub next_not_before: Option<Timestamp>,
    /// The namespaces that queues name; runs of other queues go to the dispatcher's own.
    pub namespaces: BTreeSet<String>,
    /// When the next ended batch is to be deleted (`retain`), if one is kept.
    pub prune_at: Option<Timestamp>,
    /// Changes when a trigger of `watch_kafka()` is made, changed or dropped; none = there is none.
    #[serde(default)]
    pub kafka: Option<String>,
}

/// A cap on the live runs of several queues together: `create_limit()`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Its name.
    pub name: String,
    /// At most this many live runs of all queues that name it.
    pub max_parallel: u32,
    /// How many there are, those of queues without open work included.
    pub live: u32,
}

/// A queue that has something to do, and the head of its work.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Where its Jobs go; none = the dispatcher's own namespace.
    pub namespace: Option<String>,
    /// Paused queues start nothing; their live runs go on.
    pub paused: bool,
    /// Higher goes first between queues.
    pub priority: i32,
    /// At most this many live runs.
    pub max_parallel: u32,
    /// The cap that it shares with other queues, if it names one.
    pub limit: Option<Limit>,
    /// Items handed to one run.
    pub items_per_run: u32,
    /// At most this many live runs share one `key`; none = no limit.
    pub max_per_key: Option<u32>,
    /// At most this many starts in `max_starts_per_ms`; none = no limit.
    pub max_starts: Option<u32>,
    /// The interval of `max_starts`, in milliseconds.
    pub max_starts_per_ms: i64,
    /// The starts inside the last interval, oldest first; empty where `max_starts` is not set.
    pub recent_starts: Vec<Timestamp>,
    /// A run is stopped so long after its first container started, in milliseconds.
    pub run_timeout_ms: Option<i64>,
    /// First retry after about this, in milliseconds.
    pub retry_backoff_ms: i64,
    /// No retry later than this, in milliseconds.
    pub retry_backoff_max_ms: i64,
    /// Succeeded Jobs left to look at.
    pub keep_succeeded: u32,
    /// Failed Jobs left to look at.
    pub keep_failed: u32,
    /// The first open batches that have items never claimed: by batch priority, highest first, then by id.
    pub fresh: Vec<FreshBatch>,
    /// The first retries that are due and the next one; with `max_per_key`, the first of each key, due or not. By due time.
    pub retries: Vec<Retry>,
}

/// A batch with items that no run has had yet.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreshBatch {
    /// The batch.
    pub batch: BatchId,
    /// Higher goes first inside the queue.
    pub priority: i32,
    /// At most `max_per_key` live runs of the queue share one.
    pub key: Option<String>,
    /// The first item never claimed.
    pub next_item: u32,
    /// The number of items of the batch.
    pub items: u32,
}

/// Items whose last run failed and that wait for the next attempt.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// The batch.
    pub batch: BatchId,
    /// The batch's priority.
    pub priority: i32,
    /// The batch's key.
    pub key: Option<String>,
    /// First item of the range.
    pub first_item: u32,
    /// Last item of the range, inclusive.
    pub last_item: u32,
    /// The number that the next attempt will have.
    pub attempt: u32,
    /// Not before this.
    pub due_at: Timestamp,
}

/// A run that PostgreSQL holds as not ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveRun {
    /// Its number.
    pub run: RunId,
    /// Its queue.
    pub queue: String,
    /// Where its Job lives; none = the dispatcher's own namespace.
    pub namespace: Option<String>,
    /// Its batch.
    pub batch: BatchId,
    /// The batch's key.
    pub key: Option<String>,
    /// Which attempt at its items this is, from 1.
    pub attempt: u32,
    /// `starting` or `running`.
    pub state: RunState,
    /// When its first container started.
    pub started_at: Option<Timestamp>,
    /// The batch is to be cancelled.
    pub cancel: bool,
    /// What is recorded of why it does not start, while it is `starting`.
    pub waiting: Option<Waiting>,
    /// What is recorded of whether a pod of it has the conditions by which its queue counts pending runs.
    #[serde(default)]
    pub is_ready: bool,
}

/// Why a run does not start, for as long as it does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiting {
    /// One word: `Unschedulable`, `ImagePullBackOff`, `QuotaExceeded`, `Refused`.
    pub reason: String,
    /// The scheduler's, the kubelet's or the API server's words.
    pub message: String,
}

/// What the executor knows of one run's Job (or process).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobView {
    /// The run it belongs to.
    pub run: RunId,
    /// Its queue, from the label.
    pub queue: String,
    /// How far it is.
    pub phase: JobPhase,
    /// When its first container started.
    pub started_at: Option<Timestamp>,
    /// A stop was asked for and is under way.
    pub stopping: bool,
    /// Why it does not start, as far as somebody has said.
    pub waiting: Option<Waiting>,
    /// How many of its pods were evicted, drained or preempted and have been replaced.
    pub disruptions: u32,
    /// Whether a pod of it has the conditions by which its queue counts pending runs; none = nobody asks, or has none.
    pub is_ready: Option<bool>,
}

/// How far a Job is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobPhase {
    /// The create request is under way, or answered and not yet seen by the watch.
    Creating,
    /// The last create request failed in a way that may pass; not again before this.
    Refused {
        /// Not again before this.
        again_at: Timestamp,
    },
    /// It exists, no container runs yet.
    Pending,
    /// A container runs, or has run and the fate is not decided.
    Running,
    /// It ended.
    Ended(Ending),
    /// It was there and is gone without an end that was seen.
    Gone,
}

/// How a Job ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ending {
    /// Whether every container ended with 0.
    pub succeeded: bool,
    /// When.
    pub finished_at: Option<Timestamp>,
    /// The exit code of the container that decided it; 128 + n for signal n.
    pub exit_code: Option<i32>,
    /// One word: `OOMKilled`, `Error`, `BackoffLimitExceeded`, `JobRejected`.
    pub reason: Option<String>,
    /// The termination message, or what the API server said.
    pub message: Option<String>,
    /// It was evicted, drained or preempted: not the program's fault, so no attempt is burnt.
    pub disrupted: bool,
}

/// The executor's side of the world.
#[derive(Debug, Clone, Default)]
pub struct ExecutorView {
    /// Whether it knows which namespaces there are.
    pub synced: bool,
    /// The namespaces whose first full list is not there yet: in these a missing Job means nothing.
    pub unread: BTreeSet<String>,
    /// Those of them about which the executor has not been told anything: nobody knows whether a Job could be there at all.
    pub unheard: BTreeSet<String>,
    /// The namespace of queues that name none.
    pub namespace: String,
    /// Every Job known, by run.
    pub jobs: BTreeMap<RunId, JobView>,
}

impl ExecutorView {
    /// Whether every Job of a queue with this namespace (none: it names none) is known.
    #[must_use]
    pub fn has_read(&self, namespace: Option<&str>) -> bool {
        self.synced && !self.unread.contains(namespace.unwrap_or(&self.namespace))
    }

    /// Whether the first answer about that namespace is there: new Jobs can be made, which need not wait for the list of the
    /// old ones.
    #[must_use]
    pub fn has_heard(&self, namespace: Option<&str>) -> bool {
        self.synced && !self.unheard.contains(namespace.unwrap_or(&self.namespace))
    }
}

/// All that [`crate::plan::plan`] may see.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// PostgreSQL's side; its `now` is the time of the plan.
    pub store: StoreView,
    /// The executor's side.
    pub executor: ExecutorView,
    /// The dispatcher's own clock, for what the executor timed by it.
    pub local_now: Timestamp,
}
