//! The cluster in memory: Jobs and pods as the API server has them, and the log that its watches read.

mod controller;
mod kubelet;
mod objects;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use pgbatch_core::snapshot::{BatchId, RunId, Waiting};

pub(crate) use self::controller::{Cascade, control, delete_job};
pub(crate) use self::trouble::make_trouble;
use crate::signal::Signal;

/// Namespace and name.
pub(crate) type Key = (String, String);

/// What the API server knows.
#[derive(Default)]
pub(crate) struct Cluster {
    pub(crate) jobs: BTreeMap<Key, JobRow>,
    pub(crate) pods: BTreeMap<Key, PodRow>,
    /// Everything that watches tell, in order; the resource version is the place in it.
    pub(crate) log: Vec<Logged>,
    pub(crate) gone_namespaces: BTreeSet<String>,
    next_uid: u64,
}

/// A Job.
pub(crate) struct JobRow {
    pub(crate) run: RunId,
    pub(crate) batch: BatchId,
    pub(crate) items: (u32, u32),
    pub(crate) token: String,
    pub(crate) uid: String,
    /// Whether evicted pods are replaced.
    pub(crate) ignores_disruptions: bool,
    /// See [`crate::laws::Laws::note_job`].
    pub(crate) stillborn: bool,
    pub(crate) object: Arc<Job>,
}

/// A pod.
#[derive(Clone)]
pub(crate) struct PodRow {
    pub(crate) job_uid: String,
    pub(crate) run: RunId,
    /// As its Job, which may be gone when it starts.
    pub(crate) stillborn: bool,
    pub(crate) phase: Phase,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) ended: Option<ContainerEnd>,
    pub(crate) reason: Option<String>,
    pub(crate) disrupted: bool,
    pub(crate) deleting: bool,
    pub(crate) waiting: Option<Waiting>,
    /// What is to be done to it.
    pub(crate) kill: Arc<Signal<Option<Kill>>>,
}

/// `status.phase`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
}

/// How its container ended.
#[derive(Debug, Clone)]
pub(crate) struct ContainerEnd {
    pub(crate) at: Timestamp,
    pub(crate) exit_code: i32,
    pub(crate) message: Option<String>,
}

/// Why a pod is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kill {
    /// Deleted: its Job was, or somebody did it.
    Delete,
    /// Evicted by the kubelet: it stays, and says so.
    Evict,
    /// Evicted through the API, or preempted: it says so, and is deleted.
    Drain,
    /// Its node is lost, and it with it; that is noticed later.
    LoseNode,
}

/// What a watch tells.
#[derive(Clone)]
pub(crate) enum Logged {
    Job { namespace: String, deleted: bool, job: Arc<Job> },
    Pod { namespace: String, deleted: bool, pod: Arc<Pod> },
}

impl PodRow {
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }
}

impl Cluster {
    pub(crate) fn uid(&mut self) -> String {
        self.next_uid += 1;
        format!("uid-{}", self.next_uid)
    }

    pub(crate) fn log_job(&mut self, key: &Key, job: &Arc<Job>, deleted: bool) {
        self.log.push(Logged::Job { namespace: key.0.clone(), deleted, job: job.clone() });
    }

    /// Changes a pod, and tells its watches.
    pub(crate) fn edit_pod(&mut self, key: &Key, change: impl FnOnce(&mut PodRow)) {
        let Some(row) = self.pods.get_mut(key) else { return };
        change(row);
        let pod = Arc::new(row.object(key));
        self.log.push(Logged::Pod { namespace: key.0.clone(), deleted: false, pod });
    }

    pub(crate) fn remove_pod(&mut self, key: &Key) {
        if let Some(row) = self.pods.remove(key) {
            let pod = Arc::new(row.object(key));
            self.log.push(Logged::Pod { namespace: key.0.clone(), deleted: true, pod });
        }
    }

    pub(crate) fn pods_of(&self, uid: &str) -> Vec<Key> {
        self.pods.iter().filter(|(_, pod)| pod.job_uid == uid).map(|(key, _)| key.clone()).collect()
    }
}
