//! Where runs run. Executors are told what to do and answer at once; what came of it shows in [`Executor::view`].
//!
//! A new executor is a new file and one arm in each match below.

pub mod kubernetes;
mod message;
pub mod process;
pub mod process_shim;
mod refusal;

use std::collections::BTreeSet;

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

/// Where runs run.
#[derive(Debug)]
pub enum Executor {
    /// Each run is a Kubernetes Job.
    Kubernetes(Kubernetes),
    /// Each run is a local process.
    Process(Process),
}

impl Executor {
    /// Sets up the executor for the runs of one database: `installation` is that database's id.
    ///
    /// # Errors
    /// No cluster is configured, or the folder of local processes cannot be used.
    pub async fn new(config: &ExecutorConfig, installation: &str) -> Result<Self, ExecutorError> {
        Ok(match config {
            ExecutorConfig::Kubernetes(config) => {
                Self::Kubernetes(Kubernetes::connect(config, installation).await?)
            }
            ExecutorConfig::Process(config) => Self::Process(Process::open(config, installation)?),
        })
    }

    /// One word for the log.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Kubernetes(_) => "kubernetes",
            Self::Process(_) => "process",
        }
    }

    /// Starts a run. Returns at once; idempotent by the run's name, so a second start finds the first one's Job.
    pub fn start(&self, spec: RunSpec) {
        match self {
            Self::Kubernetes(executor) => executor.start(spec),
            Self::Process(executor) => executor.start(spec),
        }
    }

    /// Stops a run, politely first. Returns at once; the run has ended when its view says so.
    pub fn stop(&self, run: RunId) {
        match self {
            Self::Kubernetes(executor) => executor.stop(run),
            Self::Process(executor) => executor.stop(run),
        }
    }

    /// The run's outcome is recorded: what is left of it in memory only is dropped.
    pub fn forget(&self, run: RunId) {
        match self {
            Self::Kubernetes(executor) => executor.forget(run),
            Self::Process(executor) => executor.forget(run),
        }
    }

    /// Removes an ended Job (or the files of a process). Returns at once.
    pub fn remove(&self, run: RunId) {
        match self {
            Self::Kubernetes(executor) => executor.remove(run),
            Self::Process(executor) => executor.remove(run),
        }
    }

    /// Watches these namespaces too, besides the dispatcher's own and those watched already. Says whether all of
    /// them had been read before: a view taken earlier tells nothing about Jobs in the others.
    pub fn watch_namespaces(&self, namespaces: &BTreeSet<String>) -> bool {
        match self {
            Self::Kubernetes(executor) => executor.watch_namespaces(namespaces),
            Self::Process(_) => true,
        }
    }

    /// What is known of every run's Job.
    #[must_use]
    pub fn view(&self) -> ExecutorView {
        match self {
            Self::Kubernetes(executor) => executor.view(),
            Self::Process(executor) => executor.view(),
        }
    }

    /// Ends when the view may have changed since the last call. A change between two calls is not lost.
    pub async fn changed(&self) {
        match self {
            Self::Kubernetes(executor) => executor.changed().await,
            Self::Process(executor) => executor.changed().await,
        }
    }
}
