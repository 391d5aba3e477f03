//! The Events that the dispatcher writes on the Jobs of its runs, for `kubectl describe job` and `kubectl events`.
//!
//! Best effort: one is sent after the other, besides the requests that runs depend on; as many may wait, and what is more is
//! dropped. None is tried again. The name is made of what is told, so that a dispatcher that takes over tells nothing twice.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use pgbatch_core::name::MANAGER;
use pgbatch_core::notice::Notice;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::job_api::JobApi;
use super::mirror::Target;
use super::refusal::words;
use super::requests::{limited, outcome};
use crate::clock;
use crate::metrics::metrics;

/// So many wait at most.
const WAITING_MAX: usize = 256;
/// An API server that is slower has other things to do.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// Takes Events and never waits.
#[derive(Debug)]
pub(super) struct Events(mpsc::Sender<Event>);

/// Those that are to be sent.
pub(super) type Waiting = mpsc::Receiver<Event>;

impl Events {
    pub(super) fn new() -> (Self, Waiting) {
        let (sender, waiting) = mpsc::channel(WAITING_MAX);
        (Self(sender), waiting)
    }

    /// Tells it of a Job, if that has been seen: nobody looks at one that is not there.
    pub(super) fn tell(&self, job: Target, notice: &Notice) {
        let Some(event) = event(job, notice) else { return };
        if self.0.try_send(event).is_err() {
            metrics().kubernetes_event("dropped");
        }
    }
}

/// Sends them, for ever.
pub(super) async fn send<A: JobApi>(api: Arc<A>, mut waiting: Waiting) {
    let mut in_vain = false;
    while let Some(event) = waiting.recv().await {
        let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
        let answer = match limited(REQUEST_MAX, api.create_event(namespace, &event)).await {
            // By this dispatcher or by the one before.
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            answer => answer,
        };
        metrics().kubernetes_event(outcome(&answer));
        match answer {
            Ok(()) => in_vain = false,
            Err(error) => {
                let error = words(&error);
                if in_vain {
                    debug!(namespace, error, "still no Event");
                } else {
                    warn!(namespace, error, "an Event is lost, nothing else; needed is create on events");
                }
                in_vain = true;
            }
        }
    }
}

fn event(job: Target, notice: &Notice) -> Option<Event> {
    let Target { namespace, name, uid, .. } = job;
    let now = Some(Time(clock::now()));
    Some(Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{}", notice.key())),
            namespace: Some(namespace.clone()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("batch/v1".to_owned()),
            kind: Some("Job".to_owned()),
            name: Some(name),
            namespace: Some(namespace),
            uid: Some(uid?),
            ..ObjectReference::default()
        },
        type_: Some(if notice.is_warning() { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(notice.reason().to_owned()),
        message: Some(notice.words()),
        source: Some(EventSource { component: Some(MANAGER.to_owned()), host: None }),
        reporting_component: Some(MANAGER.to_owned()),
        count: Some(1),
        first_timestamp: now.clone(),
        last_timestamp: now,
        ..Event::default()
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pgbatch_core::notice::StopReason;

    use super::*;

    fn job(uid: Option<&str>) -> Target {
        let uid = uid.map(str::to_owned);
        Target { run: 7, namespace: "shop".into(), name: "claps-7".into(), uid, token: Some("secret".into()) }
    }

    #[test]
    fn more_than_may_wait_are_dropped_and_counted() {
        let (events, waiting) = Events::new();
        for _ in 0..WAITING_MAX + 3 {
            events.tell(job(Some("u1")), &Notice::Stopped(StopReason::Cancelled));
        }
        assert_eq!(waiting.len(), WAITING_MAX);
        let dropped = "pgbatch_kubernetes_events_total{outcome=\"dropped\"} 3";
        let rendered = metrics().render(Duration::ZERO);
        assert!(rendered.contains(dropped), "{rendered}");
    }

    #[test]
    fn it_is_about_a_job_that_was_seen() {
        let notice = Notice::Stopped(StopReason::RunTimeout);
        assert_eq!(event(job(None), &notice), None);
        let told = event(job(Some("u1")), &notice).unwrap();
        assert_eq!(told.metadata.name.as_deref(), Some("claps-7.runstopped"));
        assert_eq!(told.involved_object.uid.as_deref(), Some("u1"));
        assert!(!serde_json::to_string(&told).unwrap().contains("secret"));
    }
}
