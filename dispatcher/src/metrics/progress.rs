//! How far the runs are that this session has claimed, to time their steps. What an earlier session claimed is not timed.

use std::collections::BTreeMap;

use pgbatch_core::run::RunSpec;
use pgbatch_core::snapshot::{ExecutorView, JobPhase, RunId};
use tokio::time::Instant;

use super::Metrics;
use crate::trace::traces;

/// The runs that have been claimed and do not run yet.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    runs: BTreeMap<RunId, Step>,
}

#[derive(Debug)]
struct Step {
    queue: String,
    claimed: Instant,
    created: Option<Instant>,
    /// Somebody wants to know when its Job was there.
    is_traced: bool,
}

impl Progress {
    /// A run was claimed, and its Job is about to be created.
    pub(crate) fn claim(&mut self, spec: &RunSpec, metrics: &Metrics) {
        metrics.run_claimed(spec);
        let is_traced = spec.traceparent.is_some();
        let step = Step { queue: spec.queue.clone(), claimed: Instant::now(), created: None, is_traced };
        self.runs.insert(spec.run, step);
    }

    /// Times what has come of them.
    pub(crate) fn see(&mut self, view: &ExecutorView, metrics: &Metrics) {
        let now = Instant::now();
        self.runs.retain(|run, step| {
            let Some(job) = view.jobs.get(run) else { return false };
            let is_running = match job.phase {
                JobPhase::Creating | JobPhase::Refused { .. } => return true,
                JobPhase::Pending => false,
                JobPhase::Running => true,
                // Between two looks it has gone all the way; or it never was, or never ran.
                JobPhase::Ended(_) | JobPhase::Gone if job.started_at.is_some() => true,
                JobPhase::Ended(_) | JobPhase::Gone => return false,
            };
            let created = *step.created.get_or_insert_with(|| {
                metrics.run_created(now - step.claimed);
                if let Some(traces) = traces().filter(|_| step.is_traced) {
                    traces.created(*run);
                }
                now
            });
            if is_running {
                metrics.run_running(&step.queue, now - created);
            }
            !is_running
        });
    }
}
