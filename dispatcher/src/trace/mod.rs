//! OpenTelemetry traces: whoever enqueues inside a trace sees in it what became of the batch, down to the program in the pod.
//!
//! ```text
//!   SET LOCAL pgbatch.traceparent ─> batch ─> claim: TRACEPARENT of the run's containers
//!                                         └─> end:   the run's spans ─> exporter.rs ─> a collector (OTLP)
//! ```
//! Off without an endpoint: then nothing is asked and nothing is kept. Nothing is sampled here: a batch without a trace has none.
//! All that is told is read of PostgreSQL when the run has ended, but for the moment at which its Job was there, so a dispatcher that
//! takes over tells the same with less detail. One set per process, like the log.

mod client;
mod context;
mod exporter;
mod run_trace;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use jiff::Timestamp;
use pgbatch_core::run::RunSpec;
use pgbatch_core::snapshot::RunId;

use self::exporter::Exporter;
pub use self::exporter::ExporterError;
pub use self::run_trace::RunTrace;
use crate::clock;

static TRACES: OnceLock<Traces> = OnceLock::new();

/// Those of this process; none = nobody wants any.
pub(crate) fn traces() -> Option<&'static Traces> {
    TRACES.get()
}

/// Sends traces to this endpoint from now on. Waits for no answer.
///
/// # Errors
/// The endpoint is none.
pub(crate) fn begin(endpoint: &str) -> Result<(), ExporterError> {
    let exporter = Exporter::begin(endpoint)?;
    // Asked for twice, the first stays.
    TRACES.get_or_init(|| Traces { exporter, created: Mutex::default() });
    Ok(())
}

/// Waits a moment for what is not sent yet.
pub(crate) async fn flush() {
    if let Some(traces) = traces() {
        traces.exporter.flush().await;
    }
}

/// What is traced.
pub(crate) struct Traces {
    exporter: Exporter,
    /// When the Jobs of live runs were there, as far as this dispatcher has seen them come.
    created: Mutex<BTreeMap<RunId, Timestamp>>,
}

impl Traces {
    /// A run's Job is there.
    pub(crate) fn created(&self, run: RunId) {
        self.created_at().insert(run, clock::now());
    }

    /// What a session has seen does not outlive it.
    pub(crate) fn forget(&self) {
        self.created_at().clear();
    }

    /// The containers of these runs go on in the traces of their batches.
    pub(crate) fn go_on(specs: &mut [RunSpec], traces: &[RunTrace]) {
        let contexts: BTreeMap<RunId, String> =
            traces.iter().filter_map(|trace| Some((trace.run, trace.context()?))).collect();
        for spec in specs {
            spec.traceparent = contexts.get(&spec.run).cloned();
        }
    }

    /// The ends of these runs are recorded, but of those whose rows others keep locked. `own`: the dispatcher's own namespace.
    pub(crate) fn ended(&self, ended: &[RunTrace], own: &str) {
        let mut created = self.created_at();
        for run in ended.iter().filter(|run| run.finished_at.is_some()) {
            self.exporter.export(run.spans(created.remove(&run.run), own));
        }
    }

    fn created_at(&self) -> MutexGuard<'_, BTreeMap<RunId, Timestamp>> {
        self.created.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
