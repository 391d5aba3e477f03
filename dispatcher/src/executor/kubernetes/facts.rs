//! What is kept of Jobs and pods: the few fields that decide, not the objects.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition};
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Event, Pod, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use pgbatch_core::environment::RUN_TOKEN;
use pgbatch_core::name::{BATCH, PENDING_POD_CONDITIONS, parse_job_name, queue_of, run_of};
use pgbatch_core::scaling::{self, is_pending};
use pgbatch_core::snapshot::{RunId, Waiting};

/// The kubelet alternates between `ErrImagePull` and this word; it is one reason.
pub(super) const IMAGE_PULL: &str = "ImagePullBackOff";

/// What the API server says when a namespace has no room for a Job or a pod.
pub(super) const QUOTA: &str = "exceeded quota";

/// A Job of ours.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct JobFacts {
    pub(super) run: RunId,
    pub(super) queue: String,
    pub(super) batch: Option<String>,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    /// What its containers present to the database.
    pub(super) token: Option<String>,
    /// It is being deleted.
    pub(super) deleting: bool,
    /// One pod that succeeds is all that it wants.
    pub(super) single: bool,
    /// Its fate, once no pod of it is left.
    pub(super) terminal: Option<Terminal>,
}

/// The Job's condition `Complete` or `Failed`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Terminal {
    pub(super) succeeded: bool,
    pub(super) finished_at: Option<Timestamp>,
    pub(super) reason: Option<String>,
    pub(super) message: Option<String>,
}

impl Terminal {
    /// The fate of a Job that vanished, by its only pod, which succeeded.
    pub(super) fn of_done(pod: &PodFacts) -> Self {
        Self { succeeded: true, finished_at: pod.finished_at(), reason: None, message: None }
    }
}

/// A pod of a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct PodFacts {
    pub(super) run: RunId,
    pub(super) queue: String,
    pub(super) batch: Option<String>,
    pub(super) namespace: String,
    pub(super) name: String,
    /// It may still run something.
    pub(super) live: bool,
    /// It succeeded before anybody wanted it deleted: its program was not told to stop.
    pub(super) done: bool,
    /// Evicted, drained or preempted.
    pub(super) disrupted: bool,
    /// The kubelet's words about the pod as a whole.
    pub(super) reason: Option<String>,
    pub(super) message: Option<String>,
    /// App containers first, then init containers.
    pub(super) containers: Vec<ContainerFacts>,
    /// Why it does not start.
    pub(super) waiting: Option<Waiting>,
    /// Whether it has the conditions by which its queue counts pending runs; none = there are none.
    pub(super) ready: Option<bool>,
}

/// A container that runs or has run.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct ContainerFacts {
    pub(super) name: String,
    pub(super) started_at: Option<Timestamp>,
    pub(super) ended: Option<ContainerEnd>,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct ContainerEnd {
    pub(super) finished_at: Option<Timestamp>,
    /// 128 + n for signal n.
    pub(super) exit_code: i32,
    pub(super) reason: Option<String>,
    pub(super) message: Option<String>,
}

/// The Job controller's complaint that it cannot create a pod: nothing in the Job's own status says it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BlockedFacts {
    pub(super) run: RunId,
    /// Of the Job.
    pub(super) uid: String,
    pub(super) why: Waiting,
}

impl BlockedFacts {
    /// The events that are worth watching: few, and only when something is wrong.
    pub(super) const FIELDS: &str = "reason=FailedCreate,involvedObject.kind=Job";

    /// None where it is not about a Job with a run's name. Whether it is ours, its uid tells.
    pub(super) fn of(event: &Event) -> Option<Self> {
        let (_queue, run) = parse_job_name(event.involved_object.name.as_deref()?)?;
        let message = event.message.clone()?;
        let reason = if message.contains(QUOTA) { "QuotaExceeded" } else { "FailedCreate" };
        let uid = event.involved_object.uid.clone()?;
        Some(Self { run, uid, why: Waiting { reason: reason.to_owned(), message } })
    }
}

impl JobFacts {
    /// None where it is no Job of a run.
    pub(super) fn of(job: &Job) -> Option<Self> {
        let labels = job.metadata.labels.as_ref()?;
        Some(Self {
            run: run_of(labels)?,
            queue: queue_of(labels)?.to_owned(),
            batch: labels.get(BATCH).cloned(),
            namespace: job.metadata.namespace.clone()?,
            name: job.metadata.name.clone()?,
            uid: job.metadata.uid.clone()?,
            token: token(job),
            deleting: job.metadata.deletion_timestamp.is_some(),
            single: job.spec.as_ref().is_some_and(|spec| spec.completions == Some(1)),
            terminal: terminal(job),
        })
    }
}

/// The token in the environment of the Job's first container: the same in all.
pub(super) fn token(job: &Job) -> Option<String> {
    let containers = &job.spec.as_ref()?.template.spec.as_ref()?.containers;
    let env = containers.first()?.env.as_ref()?;
    env.iter().find(|variable| variable.name == RUN_TOKEN)?.value.clone()
}

/// Not `SuccessCriteriaMet` or `FailureTarget`: those come while pods are still ending.
fn terminal(job: &Job) -> Option<Terminal> {
    let status = job.status.as_ref()?;
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let complete = true_condition(conditions, "Complete");
    let condition = complete.or_else(|| true_condition(conditions, "Failed"))?;
    // Only a Job that completed has a completionTime.
    let finished_at = status.completion_time.as_ref().or(condition.last_transition_time.as_ref());
    Some(Terminal {
        succeeded: complete.is_some(),
        finished_at: time(finished_at),
        reason: condition.reason.clone(),
        message: condition.message.clone(),
    })
}

fn true_condition<'a>(conditions: &'a [JobCondition], kind: &str) -> Option<&'a JobCondition> {
    conditions.iter().find(|condition| condition.status == "True" && condition.type_ == kind)
}

fn time(time: Option<&Time>) -> Option<Timestamp> {
    time.map(|time| time.0)
}

impl PodFacts {
    /// None where it is no pod of a run.
    pub(super) fn of(pod: &Pod) -> Option<Self> {
        let ObjectMeta { labels, name, namespace, annotations, .. } = &pod.metadata;
        let labels: &BTreeMap<String, String> = labels.as_ref()?;
        let status = pod.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref());
        let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        Some(Self {
            run: run_of(labels)?,
            queue: queue_of(labels)?.to_owned(),
            batch: labels.get(BATCH).cloned(),
            namespace: namespace.clone()?,
            name: name.clone()?,
            live: !matches!(phase, Some("Succeeded" | "Failed")),
            done: phase == Some("Succeeded") && pod.metadata.deletion_timestamp.is_none(),
            disrupted: conditions.iter().any(|c| c.type_ == "DisruptionTarget" && c.status == "True"),
            reason: status.and_then(|status| status.reason.clone()),
            message: status.and_then(|status| status.message.clone()),
            containers: status.map(containers).unwrap_or_default(),
            waiting: status.and_then(|status| waiting(status, conditions)),
            ready: annotations
                .as_ref()
                .and_then(|annotations| annotations.get(PENDING_POD_CONDITIONS))
                .map(|wanted| has_all(conditions, phase, wanted)),
        })
    }

    /// When its first container started.
    pub(super) fn started_at(&self) -> Option<Timestamp> {
        self.containers.iter().filter_map(|container| container.started_at).min()
    }

    /// When its last container ended.
    pub(super) fn finished_at(&self) -> Option<Timestamp> {
        self.containers.iter().filter_map(|container| container.ended.as_ref()?.finished_at).max()
    }

    /// Whether it says how it ended: well, or badly.
    pub(super) fn tells(&self, succeeded: bool) -> bool {
        let mut ends = self.containers.iter().filter_map(|container| container.ended.as_ref());
        if succeeded {
            ends.next().is_some()
        } else {
            self.reason.is_some() || ends.any(|e| e.exit_code != 0)
        }
    }
}

/// Whether a pod has all the conditions that [`PENDING_POD_CONDITIONS`] names.
fn has_all(conditions: &[PodCondition], phase: Option<&str>, wanted: &str) -> bool {
    let is_true = conditions.iter().filter(|condition| condition.status == "True");
    let true_conditions: Vec<&str> = is_true.map(|condition| condition.type_.as_str()).collect();
    let pod = scaling::Pod { phase: phase.unwrap_or_default(), true_conditions: &true_conditions };
    !is_pending(&[pod], &Vec::from_iter(wanted.split(',')))
}

fn statuses(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    let app = status.container_statuses.iter().flatten();
    app.chain(status.init_container_statuses.iter().flatten())
}

fn containers(status: &PodStatus) -> Vec<ContainerFacts> {
    statuses(status)
        .filter_map(|container| {
            let ContainerState { running, terminated, .. } = container.state.as_ref()?;
            let started_at = match (running, terminated) {
                (Some(running), _) => time(running.started_at.as_ref()),
                (None, Some(terminated)) => time(terminated.started_at.as_ref()),
                (None, None) => return None,
            };
            let ended = terminated.as_ref().map(|terminated| ContainerEnd {
                finished_at: time(terminated.finished_at.as_ref()),
                exit_code: match (terminated.exit_code, terminated.signal) {
                    (0, Some(signal)) if signal > 0 => 128 + signal,
                    (code, _) => code,
                },
                reason: terminated.reason.clone(),
                message: terminated.message.clone(),
            });
            // A container that could not be started has the zero time.
            let started_at = started_at.filter(|at| *at > Timestamp::UNIX_EPOCH);
            Some(ContainerFacts { name: container.name.clone(), started_at, ended })
        })
        .collect()
}

fn waiting(status: &PodStatus, conditions: &[PodCondition]) -> Option<Waiting> {
    let container = statuses(status)
        .filter_map(|container| container.state.as_ref()?.waiting.as_ref())
        // On its way: nothing to tell.
        .find(|w| !matches!(w.reason.as_deref(), None | Some("ContainerCreating" | "PodInitializing")))
        .map(|w| (w.reason.clone(), w.message.clone()));
    let unscheduled = || {
        let condition = conditions.iter().find(|c| c.type_ == "PodScheduled" && c.status == "False")?;
        Some((condition.reason.clone(), condition.message.clone()))
    };
    let (reason, message) = container.or_else(unscheduled)?;
    let reason = reason.map(|word| if word == "ErrImagePull" { IMAGE_PULL.to_owned() } else { word })?;
    Some(Waiting { reason, message: message.unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(name: &str, message: &str) -> Option<BlockedFacts> {
        let object = json!({"kind": "Job", "name": name, "uid": "u"});
        let event =
            json!({"metadata": {}, "involvedObject": object, "reason": "FailedCreate", "message": message});
        BlockedFacts::of(&serde_json::from_value(event).ok()?)
    }

    #[test]
    fn a_pod_is_ready_by_all_the_conditions_of_its_annotation_and_not_asked_without() {
        let ready = |annotations: serde_json::Value, conditions: &[(&str, &str)]| {
            let conditions: Vec<_> =
                conditions.iter().map(|(kind, status)| json!({"type": kind, "status": status})).collect();
            let pod = json!({"metadata": {"name": "p", "namespace": "n", "annotations": annotations,
                "labels": {"pgbatch.io/run": "7", "pgbatch.io/queue": "q"}}, "status": {"phase": "Running", "conditions": conditions}});
            PodFacts::of(&serde_json::from_value(pod).unwrap()).unwrap().ready
        };
        let asked = json!({PENDING_POD_CONDITIONS: "Ready,PodScheduled"});
        assert_eq!(ready(json!({}), &[("Ready", "True")]), None);
        assert_eq!(ready(asked.clone(), &[("Ready", "False"), ("PodScheduled", "True")]), Some(false));
        assert_eq!(ready(asked.clone(), &[("Ready", "True")]), Some(false));
        assert_eq!(ready(asked, &[("Ready", "True"), ("PodScheduled", "True")]), Some(true));
    }

    #[test]
    fn the_job_controllers_complaint_names_the_run_and_the_quota() {
        let quota = event("claps-7", "Error creating: pods \"x\" is forbidden: exceeded quota: small");
        assert_eq!(quota.map(|b| (b.run, b.why.reason)), Some((7, "QuotaExceeded".to_owned())));
        let admission = event("claps-7", "Error creating: admission webhook \"w\" denied the request: no");
        assert_eq!(admission.map(|b| b.why.reason).as_deref(), Some("FailedCreate"));
        assert_eq!(event("nightly", "Error creating: it is not a run's"), None);
    }
}
