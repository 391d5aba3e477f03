//! What passes between the store and an executor for one run: what to start, and what came of it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::item::Item;
use crate::snapshot::{BatchId, RunId};
use crate::state::RunState;

/// A claimed run, with all that its Job needs: a row of `pgbatch.claim()` and `pgbatch.run_specs()`.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSpec {
    /// Its number.
    pub run: RunId,
    /// Its queue.
    pub queue: String,
    /// Its batch.
    pub batch: BatchId,
    /// Where its Job goes; none = the dispatcher's own namespace.
    pub namespace: Option<String>,
    /// First item of the range.
    pub first_item: u32,
    /// Last item of the range, inclusive.
    pub last_item: u32,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// What fences the run's own writes. Goes into the environment of its containers and nowhere else.
    pub token: String,
    /// The items, in order.
    pub items: Vec<Item>,
    /// The queue's `JobTemplateSpec`; none for a queue of SQL.
    pub job_template: Option<Value>,
    /// As whom the run of a queue of SQL logs in; none = by the dispatcher's own choice.
    #[serde(default)]
    pub sql_role: Option<String>,
    /// `options.pending_pod_conditions` of its queue: what its pods are looked at for.
    #[serde(default)]
    pub pending_pod_conditions: Option<Vec<String>>,
    /// Several items a run: then `PGBATCH_ITEMS` is set, even for a single one.
    pub items_per_run: u32,
    /// How long its items had waited when it was claimed, in milliseconds; none where that is not known, or where it is not
    /// their first run.
    #[serde(default)]
    pub waited_ms: Option<i64>,
    /// The trace that its programs go on in (W3C Trace Context): from `pgbatch.run_traces()`, where traces are wanted.
    #[serde(skip)]
    pub traceparent: Option<String>,
}

// The token must not reach a log.
impl std::fmt::Debug for RunSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunSpec")
            .field("run", &self.run)
            .field("queue", &self.queue)
            .field("batch", &self.batch)
            .field("items", &(self.first_item..=self.last_item))
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// The end of a run, as `pgbatch.finish_runs()` takes it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Which run.
    pub run: RunId,
    /// A final state.
    pub state: RunState,
    /// When its first container started, if one did.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The exit code of the container that decided it.
    pub exit_code: Option<i32>,
    /// One word for machines and tables.
    pub reason: Option<String>,
    /// Words for people.
    pub message: Option<String>,
    /// What a succeeded run's termination message said, where it was JSON.
    pub result: Option<Value>,
    /// If items are retried: so long from now, in milliseconds.
    pub retry_in_ms: i64,
    /// It was evicted, drained or preempted: its items get one more attempt than the queue allows, so that none is
    /// burnt. SQL bounds how often.
    pub disrupted: bool,
}
