//! What the API server knows of a run's pod while it is there: when it was scheduled, its image pulled and its containers started, what was
//! said of it, and the end of its log. Asked for when somebody looks at an item, and where that is wanted: a log may have what
//! not everybody who looks may read.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::AsyncReadExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{ListParams, LogParams};
use kube::{Api, Client};
use maud::{Markup, html};
use serde_json::Value;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::executor::kubernetes::{KubernetesConfig, open_client};
use crate::people::pod::{default_container, newest};
use crate::people::words;
use crate::store::with_causes;

/// A page does not wait longer for the API server.
const WAIT_MAX: Duration = Duration::from_secs(2);
const LINES: i64 = 100;
const BYTES: u16 = 60_000;
/// What the pod's conditions tell better.
const TOLD: [&str; 3] = ["Scheduled", "Created", "Started"];

/// Where pods are.
#[derive(Clone)]
pub(super) struct Pods {
    config: Arc<KubernetesConfig>,
    /// Opened by the first look.
    client: Arc<OnceCell<(Client, String)>>,
}

/// What was seen of a run's pod.
#[derive(Debug, Default)]
pub(super) struct PodLook {
    /// What happened to it, and when.
    pub(super) moments: Vec<(Timestamp, String)>,
    log: Option<Log>,
    /// Why there is no more.
    problem: Option<String>,
}

#[derive(Debug)]
struct Log {
    pod: String,
    container: String,
    text: String,
}

impl fmt::Debug for Pods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pods").finish_non_exhaustive()
    }
}

impl Pods {
    pub(super) fn new(config: KubernetesConfig) -> Self {
        Self { config: Arc::new(config), client: Arc::default() }
    }

    /// Looks at the pod of a run, as the view `runs` has it.
    pub(super) async fn look(&self, run: &Value) -> PodLook {
        match timeout(WAIT_MAX, self.seen(run)).await {
            Ok(Ok(look)) => look,
            Ok(Err(problem)) => PodLook { problem: Some(problem), ..PodLook::default() },
            Err(_) => {
                let problem = format!("the API server did not answer within {} s", WAIT_MAX.as_secs());
                PodLook { problem: Some(problem), ..PodLook::default() }
            }
        }
    }

    async fn seen(&self, run: &Value) -> Result<PodLook, String> {
        let open = || open_client(&self.config);
        let (client, own) = self.client.get_or_try_init(open).await.map_err(|error| with_causes(&error))?;
        let namespace = run["namespace"].as_str().unwrap_or(own);
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let Some(pod) = newest(&pods, run).await.map_err(|error| with_causes(&error))? else {
            return Ok(PodLook::default());
        };
        let events: Api<Event> = Api::namespaced(client.clone(), namespace);
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let about = ListParams::default().fields(&format!("involvedObject.uid={uid}"));
        let (said, log) = tokio::join!(events.list(&about), log(&pods, &pod));
        let mut problems = Vec::new();
        let said = said.map_err(|error| problems.push(format!("no Events: {}", with_causes(&error))));
        let log = log.map_err(|problem| problems.push(problem)).ok().flatten();
        let mut moments = moments(&pod);
        moments.extend(said.iter().flat_map(|list| &list.items).filter_map(moment));
        Ok(PodLook { moments, log, problem: Some(problems.join("; ")).filter(|words| !words.is_empty()) })
    }
}

/// The end of it; none = its container has not started, or is gone.
async fn log(pods: &Api<Pod>, pod: &Pod) -> Result<Option<Log>, String> {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let container = default_container(pod);
    let parameters =
        LogParams { container: container.clone(), tail_lines: Some(LINES), ..LogParams::default() };
    let mut bytes = Vec::new();
    match pods.log_stream(&name, &parameters).await {
        Ok(stream) => {
            let read = Box::pin(stream).take(BYTES.into()).read_to_end(&mut bytes).await;
            read.map_err(|error| format!("the log broke off: {error}"))?;
        }
        // 400: its container has not started; 404: it has gone since.
        Err(kube::Error::Api(status)) if [400, 404].contains(&status.code) => return Ok(None),
        Err(error) => return Err(format!("no log: {}", with_causes(&error))),
    }
    let text = String::from_utf8_lossy(&bytes);
    // As in a terminal, it cannot play with what is around it.
    let plain = |c: &char| matches!(c, '\n' | '\t') || !c.is_control();
    Ok(Some(Log {
        pod: name,
        container: container.unwrap_or_default(),
        text: text.chars().filter(plain).collect(),
    }))
}

/// What the pod's own status tells.
fn moments(pod: &Pod) -> Vec<(Timestamp, String)> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("a node");
    let mut moments = Vec::new();
    moments.extend(pod.metadata.creation_timestamp.as_ref().map(|at| (at.0, format!("pod {name} created"))));
    let Some(status) = &pod.status else { return moments };
    for condition in status.conditions.iter().flatten().filter(|condition| condition.status == "True") {
        let words = match condition.type_.as_str() {
            "PodScheduled" => format!("scheduled to {node}"),
            "PodReadyToStartContainers" => "its network is ready".to_owned(),
            _ => continue,
        };
        moments.extend(condition.last_transition_time.as_ref().map(|at| (at.0, words)));
    }
    let statuses =
        status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    for container in statuses {
        let Some(state) = &container.state else { continue };
        let (running, ended) = (state.running.as_ref(), state.terminated.as_ref());
        let started =
            running.and_then(|r| r.started_at.as_ref()).or(ended.and_then(|t| t.started_at.as_ref()));
        moments.extend(started.map(|at| (at.0, format!("container {} started", container.name))));
        if let Some(ended) = ended {
            let words = format!("container {} ended with {}", container.name, ended.exit_code);
            moments.extend(ended.finished_at.as_ref().map(|at| (at.0, words)));
        }
    }
    moments
}

/// What somebody said of it: the kubelet, that it has pulled the image; the scheduler, that there is no room.
fn moment(event: &Event) -> Option<(Timestamp, String)> {
    let reason = event.reason.as_deref().filter(|reason| !TOLD.contains(reason))?;
    let at =
        event.event_time.as_ref().map(|at| at.0).or_else(|| event.first_timestamp.as_ref().map(|at| at.0))?;
    let often =
        event.count.filter(|count| *count > 1).map(|count| format!(" ({count} times)")).unwrap_or_default();
    let message = words::clean(event.message.as_deref().unwrap_or_default());
    Some((at, format!("{reason}{often}: {message}")))
}

/// The log, and what is not known.
pub(super) fn shown(look: &PodLook) -> Markup {
    html! {
        @if let Some(Log { pod, container, text }) = &look.log {
            h2 { "Log" }
            @if text.is_empty() {
                p { "Nothing has been written yet by " (container) " of pod " (pod) "." }
            } @else {
                pre.log tabindex="0" role="region" aria-label="Log" { (text) }
                p.muted { "The last " (LINES) " lines at most of container " (container) " of pod " (pod) "." }
            }
        }
        @if let Some(problem) = &look.problem { p.problem { "Of its pod not all is known: " (problem) } }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::serde_json::{from_value, json};

    use super::*;

    #[test]
    fn a_pods_way_is_told_from_its_status() {
        let pod: Pod = from_value(json!({
            "metadata": {"name": "claps-7-x", "creationTimestamp": "2026-01-01T00:00:01Z"},
            "spec": {"nodeName": "n1", "containers": []},
            "status": {
                "conditions": [
                    {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:02Z"},
                    {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:05Z"},
                    {"type": "PodReadyToStartContainers", "status": "False", "lastTransitionTime": "2026-01-01T00:00:01Z"}],
                "containerStatuses": [{"name": "main", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state":
                    {"terminated": {"exitCode": 3, "startedAt": "2026-01-01T00:00:04Z", "finishedAt": "2026-01-01T00:00:09Z"}}}]}}))
        .unwrap();
        let told: Vec<String> =
            moments(&pod).into_iter().map(|(at, words)| format!("{at} {words}")).collect();
        assert_eq!(
            told,
            [
                "2026-01-01T00:00:01Z pod claps-7-x created",
                "2026-01-01T00:00:02Z scheduled to n1",
                "2026-01-01T00:00:04Z container main started",
                "2026-01-01T00:00:09Z container main ended with 3"
            ]
        );
    }

    #[test]
    fn what_is_said_of_a_pod_is_told_unless_its_status_has_it() {
        let said = |reason: &str, count: i32| {
            let event: Event =
                from_value(json!({"metadata": {}, "involvedObject": {}, "reason": reason, "count": count,
                "message": "Pulled image\n\"busybox\" in 3s", "firstTimestamp": "2026-01-01T00:00:03Z"}))
                .unwrap();
            moment(&event).map(|(_, words)| words)
        };
        assert_eq!(said("Pulled", 1).as_deref(), Some("Pulled: Pulled image \"busybox\" in 3s"));
        assert!(said("BackOff", 4).is_some_and(|words| words.starts_with("BackOff (4 times): ")));
        assert_eq!(said("Scheduled", 1), None);
    }

    #[test]
    fn a_log_is_text() {
        let log = Log { pod: "p".into(), container: "c".into(), text: "<script>".into() };
        let shown = shown(&PodLook { log: Some(log), ..PodLook::default() }).into_string();
        assert!(shown.contains("&lt;script&gt;") && !shown.contains("<script>"), "{shown}");
    }
}
