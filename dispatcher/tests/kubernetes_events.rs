//! The Events of the Kubernetes executor, before an API server that has a Job, and takes Events, refuses them or falls silent.
#![expect(clippy::unwrap_used, clippy::panic, reason = "what a test cannot go on without fails it")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use kube::Config;
use pgbatch_core::notice::{NextAttempt, Notice, StopReason};
use pgbatch_core::snapshot::JobPhase;
use pgbatch_dispatcher::executor::Executor;
use pgbatch_dispatcher::executor::kubernetes::{Kubernetes, KubernetesConfig};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const LIMIT: Duration = Duration::from_secs(60);

/// What the API server does with an Event.
#[derive(Clone, Copy)]
enum Events {
    Take,
    Refuse,
    Leave,
}

#[derive(Clone)]
struct Server {
    events: Events,
    told: Arc<Mutex<Vec<Value>>>,
}

impl Server {
    async fn answer(self, uri: Uri, body: String) -> Response {
        let is_watch = uri.query().is_some_and(|query| query.contains("watch="));
        if is_watch {
            return Body::from_stream(stream::pending::<Result<Vec<u8>, std::io::Error>>()).into_response();
        }
        match uri.path() {
            "/api/v1/namespaces/shop/events" => {
                self.told.lock().unwrap().push(serde_json::from_str(&body).unwrap());
                match self.events {
                    Events::Take => StatusCode::CREATED.into_response(),
                    Events::Refuse => status(403, "Forbidden"),
                    Events::Leave => std::future::pending().await,
                }
            }
            "/apis/batch/v1/namespaces/shop/jobs" => list("JobList", &job()),
            "/api/v1/namespaces/shop/pods" => list("PodList", &pod()),
            other => panic!("{other}"),
        }
    }
}

fn status(code: u16, reason: &str) -> Response {
    let body = json!({"kind": "Status", "code": code, "reason": reason, "message": "no"});
    (StatusCode::from_u16(code).unwrap(), axum::Json(body)).into_response()
}

fn list(kind: &str, item: &Value) -> Response {
    axum::Json(
        json!({"kind": kind, "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": [item]}),
    )
    .into_response()
}

fn metadata(name: &str) -> Value {
    let labels = json!({"app.kubernetes.io/managed-by": "pgbatch", "pgbatch.io/queue": "q", "pgbatch.io/run": "1",
        "pgbatch.io/batch": "12", "pgbatch.io/installation": "an-id"});
    json!({"name": name, "namespace": "shop", "uid": format!("uid-of-{name}"), "labels": labels})
}

fn job() -> Value {
    json!({"metadata": metadata("q-1"), "spec": {"template": {"spec": {"containers": []}}}})
}

/// For which there is no node.
fn pod() -> Value {
    let scheduled = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/1 nodes are available"});
    json!({"metadata": metadata("q-1-abc"), "status": {"phase": "Pending", "conditions": [scheduled]}})
}

/// An executor that has seen the Job, and what its API server is told.
async fn before(events: Events) -> (Kubernetes, Arc<Mutex<Vec<Value>>>) {
    let server = Server { events, told: Arc::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = async |State(server): State<Server>, uri: Uri, body: String| server.answer(uri, body).await;
    let router = Router::new().fallback(answer).with_state(server.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let settings = KubernetesConfig { namespace: Some("shop".into()), ..KubernetesConfig::default() };
    let executor = Kubernetes::connect_to(Config::new(url.parse().unwrap()), &settings, "an-id").unwrap();
    executor.watch_namespaces(&BTreeSet::new());
    until("the Job and its pod", || {
        executor
            .view()
            .jobs
            .get(&1)
            .is_some_and(|job| job.phase == JobPhase::Pending && job.waiting.is_some())
    })
    .await;
    (executor, server.told)
}

async fn until(what: &str, is: impl Fn() -> bool) {
    let seen = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, seen).await.unwrap_or_else(|_| panic!("waited for {what}"));
}

fn failed() -> Notice {
    let next = NextAttempt { run: 1, batch: 12, attempt: 3, max_attempts: 3, failed: 1, due_at: None };
    Notice::Failed { next, why: "Error, exit code 3, no such table".into() }
}

#[tokio::test]
async fn why_a_run_does_not_start_and_what_becomes_of_it_is_told_on_its_job() {
    let (executor, told) = before(Events::Take).await;
    executor.tell(1, &failed());
    executor.tell(2, &failed());
    executor.tell(1, &Notice::Stopped(StopReason::Cancelled));
    until("three Events", || told.lock().unwrap().len() == 3).await;
    let told = told.lock().unwrap().clone();
    let words: Vec<[&str; 4]> = told
        .iter()
        .map(|event| {
            ["/metadata/name", "/type", "/reason", "/message"]
                .map(|at| event.pointer(at).unwrap().as_str().unwrap())
        })
        .collect();
    assert_eq!(
        words,
        [
            [
                "q-1.runnotstartingunschedulable",
                "Warning",
                "RunNotStarting",
                "Unschedulable: 0/1 nodes are available"
            ],
            [
                "q-1.runfailed",
                "Warning",
                "RunFailed",
                "attempt 3 of 3 failed (Error, exit code 3, no such table); 1 of its items failed for good, \
                 pgbatch.retry_batch(12) tries them again"
            ],
            ["q-1.runstopped", "Normal", "RunStopped", "stopped, as its batch was cancelled"],
        ]
    );
    for event in &told {
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "name": "q-1", "namespace": "shop", "uid": "uid-of-q-1"});
        assert_eq!(event["involvedObject"], job);
    }
}

#[tokio::test]
async fn a_refused_event_is_not_tried_again_and_the_next_one_is() {
    let (executor, told) = before(Events::Refuse).await;
    executor.tell(1, &failed());
    until("two Events", || told.lock().unwrap().len() == 2).await;
    let reasons: Vec<Value> = told.lock().unwrap().iter().map(|event| event["reason"].clone()).collect();
    assert_eq!(reasons, ["RunNotStarting", "RunFailed"]);
}

#[tokio::test]
async fn an_api_server_that_leaves_events_unanswered_holds_nobody_up() {
    let (executor, told) = before(Events::Leave).await;
    for _ in 0..10_000 {
        executor.tell(1, &failed());
    }
    executor.stop(1);
    until("the Job to be stopped", || executor.view().jobs[&1].stopping).await;
    until("an Event to be on its way", || !told.lock().unwrap().is_empty()).await;
    assert_eq!(told.lock().unwrap().len(), 1, "one at a time");
}
