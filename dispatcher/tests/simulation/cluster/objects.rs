//! The objects as Kubernetes writes them.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus};
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    Pod, PodCondition, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::{JobRow, Key, Phase, PodRow};

impl JobRow {
    /// The row of a Job that is created; none where it is no Job of a run.
    pub(crate) fn of(job: &Job, namespace: &str, uid: String) -> Option<Self> {
        let spec = job.spec.as_ref()?;
        let env = spec.template.spec.as_ref()?.containers.first()?.env.as_ref()?;
        let value = |name: &str| {
            env.iter().find(|v| v.name == name).and_then(|v| v.value.as_deref()).map(str::to_owned)
        };
        let number = |name: &str| value(name)?.parse::<u32>().ok();
        let first = number("PGBATCH_FIRST_ITEM_NO").or_else(|| number("PGBATCH_ITEM_NO"))?;
        let last = number("PGBATCH_LAST_ITEM_NO").or_else(|| number("PGBATCH_ITEM_NO"))?;
        let mut object = job.clone();
        object.metadata.uid = Some(uid.clone());
        object.metadata.namespace = Some(namespace.to_owned());
        Some(Self {
            run: value("PGBATCH_RUN_ID")?.parse().ok()?,
            batch: value("PGBATCH_BATCH_ID")?.parse().ok()?,
            items: (first, last),
            token: value("PGBATCH_RUN_TOKEN")?,
            uid,
            ignores_disruptions: spec.pod_failure_policy.as_ref().is_some_and(|p| !p.rules.is_empty()),
            stillborn: false,
            object: Arc::new(object),
        })
    }

    /// It ended.
    pub(crate) fn end(&mut self, succeeded: bool, at: Timestamp) {
        let (kind, reason) = match succeeded {
            true => ("Complete", "CompletionsReached"),
            false => ("Failed", "BackoffLimitExceeded"),
        };
        let condition = JobCondition {
            type_: kind.to_owned(),
            status: "True".to_owned(),
            reason: Some(reason.to_owned()),
            last_transition_time: Some(Time(at)),
            ..JobCondition::default()
        };
        let completion_time = succeeded.then_some(Time(at));
        let status = JobStatus { conditions: Some(vec![condition]), completion_time, ..JobStatus::default() };
        Arc::make_mut(&mut self.object).status = Some(status);
    }

    pub(crate) fn is_deleting(&self) -> bool {
        self.object.metadata.deletion_timestamp.is_some()
    }

    pub(crate) fn begin_deleting(&mut self, at: Timestamp) {
        Arc::make_mut(&mut self.object).metadata.deletion_timestamp = Some(Time(at));
    }
}

impl PodRow {
    /// The pod as its watches see it.
    pub(crate) fn object(&self, (namespace, name): &Key) -> Pod {
        let disrupted = PodCondition {
            type_: "DisruptionTarget".to_owned(),
            status: "True".to_owned(),
            ..PodCondition::default()
        };
        let phase = match self.phase {
            Phase::Pending => "Pending",
            Phase::Running => "Running",
            Phase::Succeeded => "Succeeded",
            Phase::Failed => "Failed",
        };
        let status = PodStatus {
            phase: Some(phase.to_owned()),
            reason: self.reason.clone(),
            conditions: self.disrupted.then_some(vec![disrupted]),
            container_statuses: Some(vec![self.container()]),
            ..PodStatus::default()
        };
        Pod {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(namespace.clone()),
                uid: Some(format!("{name}-uid")),
                labels: Some(self.labels.clone()),
                deletion_timestamp: self.deleting.then_some(Time(Timestamp::UNIX_EPOCH)),
                ..ObjectMeta::default()
            },
            spec: None,
            status: Some(status),
        }
    }

    fn container(&self) -> ContainerStatus {
        let waiting = || {
            let (reason, message) = match &self.waiting {
                Some(waiting) => (waiting.reason.clone(), Some(waiting.message.clone())),
                None => ("ContainerCreating".to_owned(), None),
            };
            ContainerStateWaiting { reason: Some(reason), message }
        };
        let state = match (&self.ended, self.started_at) {
            (Some(ended), started_at) => ContainerState {
                terminated: Some(ContainerStateTerminated {
                    exit_code: ended.exit_code,
                    started_at: started_at.map(Time),
                    finished_at: Some(Time(ended.at)),
                    reason: Some(if ended.exit_code == 0 { "Completed" } else { "Error" }.to_owned()),
                    message: ended.message.clone(),
                    ..ContainerStateTerminated::default()
                }),
                ..ContainerState::default()
            },
            (None, Some(at)) => ContainerState {
                running: Some(ContainerStateRunning { started_at: Some(Time(at)) }),
                ..ContainerState::default()
            },
            (None, None) => ContainerState { waiting: Some(waiting()), ..ContainerState::default() },
        };
        ContainerStatus { name: "main".to_owned(), state: Some(state), ..ContainerStatus::default() }
    }
}
