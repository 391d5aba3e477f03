//! Where runs run. Executors are told what to do and answer at once; what came of it shows in [`Executor::view`].
//!
//! A new executor is a new file and one arm in each match below.

pub mod kubernetes;
mod message;
pub mod process;
pub mod process_shim;
mod refusal;
mod signal;

use std::collections::BTreeSet;

use pgbatch_core::notice::Notice;
use pgbatch_core::run::RunSpec;
use pgbatch_core::snapshot::{ExecutorView, RunId};

use self::kubernetes::{Kubernetes, KubernetesConfig, KubernetesError};
use self::process::{Process, ProcessConfig, ProcessError};

/// Which executor, and its settings.
#[derive(Debug)]
pub enum ExecutorConfig {
    /// Each run is a Kubernetes Job.
    Kubernetes(KubernetesConfig),
    /// Each run is a local process.
    Process(ProcessConfig),
}

/// Why an executor cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// Kubernetes.
    #[error(transparent)]
    Kubernetes(#[from] KubernetesError),
    /// Local processes.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// Where runs run. Told what to do, it answers at once.
pub trait Executor: Send + Sync {
    /// One word for the log.
    fn kind(&self) -> &'static str;

    /// Another session with PostgreSQL begins. Others may have led since the last one, and what came of theirs may not
    /// have been seen: a run of theirs that is not in the view must not count as gone.
    fn begin_session(&mut self) {}

    /// Starts a run. Returns at once; idempotent by the run's name, so a second start finds the first one's Job.
    fn start(&self, spec: RunSpec);

    /// Stops a run, politely first. Returns at once; the run has ended when its view says so.
    fn stop(&self, run: RunId);

    /// Whether anybody is told anything by [`Executor::tell`]: what nobody reads need not be asked for.
    fn has_audience(&self) -> bool {
        false
    }

    /// Tells those who look at the run's Job. Best effort; returns at once.
    fn tell(&self, _run: RunId, _notice: &Notice) {}

    /// The run's outcome is recorded: what is left of it in memory only is dropped.
    fn forget(&self, run: RunId);

    /// Removes an ended Job (or the files of a process). Returns at once.
    fn remove(&self, run: RunId);

    /// Watches these namespaces too, besides the dispatcher's own and those watched already. Says whether all of
    /// them had been read before: a view taken earlier tells nothing about Jobs in the others.
    fn watch_namespaces(&self, namespaces: &BTreeSet<String>) -> bool;

    /// Which namespace has not been read yet, and why, in words; none = all have been.
    fn unsynced(&self) -> Option<String> {
        None
    }

    /// What is known of every run's Job.
    fn view(&self) -> ExecutorView;

    /// Ends when the view may have changed since the last call. A change between two calls is not lost.
    fn changed(&self) -> impl Future<Output = ()> + Send;
}

/// Where executors come from.
pub trait Executors: Send + Sync {
    /// What is made.
    type Executor: Executor;

    /// Sets up the executor for the runs of one database: `installation` is that database's id.
    ///
    /// # Errors
    /// No cluster is configured, or the folder of local processes cannot be used.
    fn open(&self, installation: &str) -> impl Future<Output = Result<Self::Executor, ExecutorError>> + Send;
}

/// One of the executors.
#[derive(Debug)]
pub enum AnyExecutor {
    /// Each run is a Kubernetes Job.
    Kubernetes(Kubernetes),
    /// Each run is a local process.
    Process(Process),
}

impl Executors for ExecutorConfig {
    type Executor = AnyExecutor;

    async fn open(&self, installation: &str) -> Result<AnyExecutor, ExecutorError> {
        Ok(match self {
            Self::Kubernetes(config) => {
                AnyExecutor::Kubernetes(Kubernetes::connect(config, installation).await?)
            }
            Self::Process(config) => AnyExecutor::Process(Process::open(config, installation)?),
        })
    }
}

impl Executor for AnyExecutor {
    fn kind(&self) -> &'static str {
        match self {
            Self::Kubernetes(executor) => executor.kind(),
            Self::Process(_) => "process",
        }
    }

    fn begin_session(&mut self) {
        match self {
            Self::Kubernetes(executor) => executor.begin_session(),
            // Local processes are seen at once.
            Self::Process(_) => {}
        }
    }

    fn start(&self, spec: RunSpec) {
        match self {
            Self::Kubernetes(executor) => executor.start(spec),
            Self::Process(executor) => executor.start(spec),
        }
    }

    fn stop(&self, run: RunId) {
        match self {
            Self::Kubernetes(executor) => executor.stop(run),
            Self::Process(executor) => executor.stop(run),
        }
    }

    fn has_audience(&self) -> bool {
        match self {
            Self::Kubernetes(executor) => executor.has_audience(),
            Self::Process(_) => false,
        }
    }

    fn tell(&self, run: RunId, notice: &Notice) {
        match self {
            Self::Kubernetes(executor) => executor.tell(run, notice),
            Self::Process(_) => {}
        }
    }

    fn forget(&self, run: RunId) {
        match self {
            Self::Kubernetes(executor) => executor.forget(run),
            Self::Process(executor) => executor.forget(run),
        }
    }

    fn remove(&self, run: RunId) {
        match self {
            Self::Kubernetes(executor) => executor.remove(run),
            Self::Process(executor) => executor.remove(run),
        }
    }

    fn watch_namespaces(&self, namespaces: &BTreeSet<String>) -> bool {
        match self {
            Self::Kubernetes(executor) => executor.watch_namespaces(namespaces),
            Self::Process(_) => true,
        }
    }

    fn unsynced(&self) -> Option<String> {
        match self {
            Self::Kubernetes(executor) => executor.unsynced(),
            Self::Process(_) => None,
        }
    }

    fn view(&self) -> ExecutorView {
        match self {
            Self::Kubernetes(executor) => executor.view(),
            Self::Process(executor) => executor.view(),
        }
    }

    async fn changed(&self) {
        match self {
            Self::Kubernetes(executor) => executor.changed().await,
            Self::Process(executor) => executor.changed().await,
        }
    }
}
