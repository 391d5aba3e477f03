//! The Kubernetes executor before an API server that answers what a test wants to hear: answers that a real one gives
//! only when it is overloaded, or has forgotten.
#![expect(clippy::unwrap_used, clippy::panic, reason = "what a test cannot go on without fails it")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::{Method, Uri};
use axum::response::{IntoResponse, Response};
use jiff::SignedDuration;
use kube::Config;
use pgbatch_core::run::RunSpec;
use pgbatch_core::snapshot::JobPhase;
use pgbatch_dispatcher::executor::Executor;
use pgbatch_dispatcher::executor::kubernetes::{Kubernetes, KubernetesConfig};
use serde_json::json;
use tokio::net::TcpListener;

const LIMIT: Duration = Duration::from_secs(60);

/// An executor whose API server answers with `answer`.
async fn before(answer: impl Fn(Method, Uri) -> Response + Clone + Send + Sync + 'static) -> Kubernetes {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = Router::new().fallback(async move |method: Method, uri: Uri| answer(method, uri));
    tokio::spawn(async move { axum::serve(listener, server).await });
    let settings = KubernetesConfig { namespace: Some("shop".into()), ..KubernetesConfig::default() };
    let executor = Kubernetes::connect_to(Config::new(url.parse().unwrap()), &settings, "an-id").unwrap();
    executor.watch_namespaces(&BTreeSet::new());
    executor
}

async fn until<T>(what: &str, mut is: impl AsyncFnMut() -> Option<T>) -> T {
    let seen = async {
        loop {
            if let Some(found) = is().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, seen).await.unwrap_or_else(|_| panic!("waited for {what}"))
}

fn spec(run: i64) -> RunSpec {
    let pod = json!({"containers": [{"name": "main", "image": "x"}]});
    serde_json::from_value(json!({
        "run": run, "queue": "q", "batch": 1, "namespace": null, "first_item": 1, "last_item": 1, "attempt": 1,
        "token": "t", "items": [{}], "items_per_run": 1,
        "job_template": {"spec": {"template": {"spec": pod}}},
    }))
    .unwrap()
}

fn list(kind: &str) -> Response {
    axum::Json(json!({"kind": kind, "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": []}))
        .into_response()
}

#[tokio::test]
async fn an_api_server_that_asks_to_be_left_alone_is_left_alone_for_as_long() {
    // As the real one does it when all its seats are taken: text, and the time in the header only.
    let executor = before(|_, _| {
        (axum::http::StatusCode::TOO_MANY_REQUESTS, [("Retry-After", "600")], "Too many requests\n")
            .into_response()
    })
    .await;
    executor.start(spec(1));
    let refused = until("a refusal", async || match executor.view().jobs.remove(&1)? {
        job if matches!(job.phase, JobPhase::Refused { .. }) => Some(job),
        _ => None,
    })
    .await;
    let JobPhase::Refused { again_at } = refused.phase else { unreachable!() };
    // Of itself it would try again within a second.
    let pause = again_at.duration_since(jiff::Timestamp::now());
    assert!(pause > SignedDuration::from_secs(500), "{pause}");
    let why = refused.waiting.unwrap();
    assert_eq!((why.reason.as_str(), why.message.as_str()), ("TooManyRequests", "Too many requests"));
}

#[tokio::test]
async fn a_watch_from_a_moment_that_is_forgotten_begins_anew() {
    let lists = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&lists);
    let executor = before(move |_, uri| {
        let is_watch = uri.query().is_some_and(|query| query.contains("watch="));
        match (uri.path().contains("jobs"), is_watch) {
            (true, false) => {
                *counted.lock().unwrap() += 1;
                list("JobList")
            }
            (false, false) => list("PodList"),
            (true, true) => {
                let gone = json!({"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"});
                (axum::http::StatusCode::GONE, axum::Json(gone)).into_response()
            }
            (false, true) => axum::body::Body::from_stream(futures_util::stream::pending::<
                Result<Vec<u8>, std::io::Error>,
            >())
            .into_response(),
        }
    })
    .await;
    until("another list", async || (*lists.lock().unwrap() > 1).then_some(())).await;
    // Between two lists nothing may be wrong for a moment.
    let told = "the watch of namespace shop is interrupted";
    until("the interruption", async || {
        executor.unsynced().filter(|words| words.contains(told) && words.contains("too old"))
    })
    .await;
}

#[tokio::test]
async fn a_watch_that_goes_on_without_an_event_is_known_to_go_on() {
    let answers = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&answers);
    let executor = before(move |_, uri| {
        let is_watch = uri.query().is_some_and(|query| query.contains("watch="));
        let is_jobs = uri.path().contains("jobs");
        if !is_watch {
            return list(if is_jobs { "JobList" } else { "PodList" });
        }
        let mut answers = counted.lock().unwrap();
        *answers += usize::from(is_jobs);
        if is_jobs && *answers == 1 {
            return (axum::http::StatusCode::INTERNAL_SERVER_ERROR, "no etcd").into_response();
        }
        axum::body::Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>())
            .into_response()
    })
    .await;
    let words =
        until("the interruption", async || executor.unsynced().filter(|words| words.contains("no etcd")))
            .await;
    assert!(words.starts_with("the watch of namespace shop is interrupted"), "{words}");
    until("the watch to go on", async || executor.unsynced().is_none().then_some(())).await;
    assert_eq!(*answers.lock().unwrap(), 2);
}
