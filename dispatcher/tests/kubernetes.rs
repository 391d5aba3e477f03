//! The Kubernetes executor with a real cluster: PGBATCH_TEST_KUBECONFIG names its kubeconfig, PGBATCH_TEST_IMAGE an
//! image there with `sh` (default pgbatch/tool:dev). Without a cluster the tests say so and pass.
#![expect(clippy::unwrap_used, clippy::panic, reason = "what a test cannot go on without fails it")]

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Pod, ResourceQuota};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use pgbatch_core::run::RunSpec;
use pgbatch_core::snapshot::{Ending, JobPhase, JobView, RunId};
use pgbatch_dispatcher::executor::Executor;
use pgbatch_dispatcher::executor::kubernetes::{Kubernetes, KubernetesConfig};
use serde_json::{Value, json};

const INSTALLATION: &str = "5d1f0c36-0000-4000-8000-00000000test";
const LIMIT: Duration = Duration::from_secs(60);

/// A namespace of its own for each test, deleted when the test has passed.
struct Cluster {
    config: Config,
    client: Client,
    namespace: String,
}

impl Cluster {
    async fn new(test: &str) -> Option<Self> {
        let Some(path) = std::env::var_os("PGBATCH_TEST_KUBECONFIG") else {
            eprintln!("skipped: PGBATCH_TEST_KUBECONFIG is not set (see `make cluster`)");
            return None;
        };
        let kubeconfig = Kubeconfig::read_from(path).unwrap();
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
        let client = Client::try_from(config.clone()).unwrap();
        let namespace = format!("executor-{test}-{}", std::process::id());
        let object = serde_json::from_value(json!({"metadata": {"name": namespace}})).unwrap();
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces.create(&PostParams::default(), &object).await.unwrap();
        Some(Self { config, client, namespace })
    }

    /// A dispatcher's executor that has read the namespace.
    async fn open(&self) -> Kubernetes {
        let config =
            KubernetesConfig { namespace: Some(self.namespace.clone()), ..KubernetesConfig::default() };
        let executor = Kubernetes::connect_to(self.config.clone(), &config, INSTALLATION).unwrap();
        executor.watch_namespaces(&BTreeSet::new());
        let synced = async {
            while !executor.view().has_read(None) {
                executor.changed().await;
            }
        };
        tokio::time::timeout(LIMIT, synced).await.unwrap();
        executor
    }

    fn jobs(&self) -> Api<Job> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The pods in which something may still run.
    async fn live_pods(&self) -> usize {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let live = ListParams::default().fields("status.phase!=Succeeded,status.phase!=Failed");
        pods.list(&live).await.unwrap().items.len()
    }

    async fn done(self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces.delete(&self.namespace, &DeleteParams::background()).await.unwrap();
    }
}

fn spec(run: RunId, image: &str, script: &str) -> RunSpec {
    let container = json!({
        "name": "main", "image": image, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script],
    });
    let pod = json!({"containers": [container], "terminationGracePeriodSeconds": 3});
    serde_json::from_value(json!({
        "run": run, "queue": "q", "batch": 1, "namespace": null, "first_item": 1, "last_item": 1, "attempt": 1,
        "token": format!("token-{run}"), "items": [{"who": "it's $(me) $$"}], "items_per_run": 1,
        "job_template": {"spec": {"template": {"spec": pod}}},
    }))
    .unwrap()
}

fn shell(run: RunId, script: &str) -> RunSpec {
    let image = std::env::var("PGBATCH_TEST_IMAGE").unwrap_or_else(|_| "pgbatch/tool:dev".into());
    spec(run, &image, script)
}

async fn until(executor: &Kubernetes, run: RunId, what: &str, is: impl Fn(&JobView) -> bool) -> JobView {
    let seen = async {
        loop {
            if let Some(job) = executor.view().jobs.get(&run).filter(|job| is(job)) {
                return job.clone();
            }
            executor.changed().await;
        }
    };
    match tokio::time::timeout(LIMIT, seen).await {
        Ok(job) => job,
        Err(_) => panic!("run {run} never {what}: {:?}", executor.view().jobs.get(&run)),
    }
}

async fn ended(executor: &Kubernetes, run: RunId) -> Ending {
    let job = until(executor, run, "ended", |job| matches!(job.phase, JobPhase::Ended(_))).await;
    match job.phase {
        JobPhase::Ended(ending) => ending,
        other => panic!("{other:?}"),
    }
}

async fn running(executor: &Kubernetes, run: RunId) -> JobView {
    until(executor, run, "ran", |job| job.phase == JobPhase::Running).await
}

#[tokio::test]
async fn fates_and_their_words() {
    let Some(cluster) = Cluster::new("fates").await else { return };
    let executor = cluster.open().await;
    executor.start(shell(1, r#"printf '{"who":"%s"}' "$PGBATCH_ARG_WHO" > /dev/termination-log; sleep 1"#));
    executor.start(shell(2, "echo no such table >&2; exit 3"));
    executor.start(shell(3, "kill -9 $$$$"));
    let started_at = running(&executor, 1).await.started_at;
    assert!(started_at.is_some());
    let ending = ended(&executor, 1).await;
    let words = (ending.succeeded, ending.exit_code, ending.message.as_deref());
    assert_eq!(words, (true, Some(0), Some(r#"{"who":"it's $(me) $$"}"#)));
    assert!(ending.finished_at > started_at);
    let ending = ended(&executor, 2).await;
    let words = (ending.succeeded, ending.exit_code, ending.reason.as_deref(), ending.message.as_deref());
    assert_eq!(words, (false, Some(3), Some("Error"), Some("no such table")));
    // A first process may not kill itself with -9: it goes on and ends well; any other code is that of the signal.
    assert!(matches!(ended(&executor, 3).await.exit_code, Some(0 | 137)));

    // The next dispatcher reads the same from the cluster.
    drop(executor);
    let next = cluster.open().await;
    assert_eq!(ended(&next, 1).await.message.as_deref(), Some(r#"{"who":"it's $(me) $$"}"#));
    assert_eq!(ended(&next, 2).await.exit_code, Some(3));

    next.remove(1);
    assert!(next.view().jobs[&1].stopping);
    let removed = async {
        while next.view().jobs.contains_key(&1) || cluster.jobs().get_opt("q-1").await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, removed).await.unwrap();
    cluster.done().await;
}

#[tokio::test]
async fn a_run_is_ready_by_the_conditions_of_its_pod_where_its_queue_names_some() {
    let Some(cluster) = Cluster::new("ready").await else { return };
    let executor = cluster.open().await;
    let asked = |run, conditions: &[&str]| RunSpec {
        pending_pod_conditions: Some(conditions.iter().map(ToString::to_string).collect()),
        ..shell(run, "sleep 3")
    };
    executor.start(asked(1, &["Ready", "PodScheduled"]));
    executor.start(asked(2, &["Ready", "example.com/Warm"]));
    executor.start(shell(3, "sleep 3"));
    until(&executor, 1, "was ready", |job| job.is_ready == Some(true)).await;
    assert_eq!(running(&executor, 2).await.is_ready, Some(false));
    assert_eq!(running(&executor, 3).await.is_ready, None);
    assert!(ended(&executor, 1).await.succeeded);
    cluster.done().await;
}

#[tokio::test]
async fn a_name_is_taken_by_ourselves_or_by_others() {
    let Some(cluster) = Cluster::new("taken").await else { return };
    let (one, two) = (cluster.open().await, cluster.open().await);
    one.start(shell(1, "sleep 2"));
    two.start(shell(1, "sleep 2"));
    assert!(ended(&one, 1).await.succeeded && ended(&two, 1).await.succeeded);
    assert_eq!(cluster.jobs().list(&ListParams::default()).await.unwrap().items.len(), 1);

    // A later start of the same run finds the end that is there.
    two.start(shell(1, "sleep 2"));
    assert!(ended(&two, 1).await.succeeded);

    let mut foreign = shell(1, "true");
    foreign.token = "another".into();
    let three = cluster.open().await;
    three.start(foreign);
    until(
        &three,
        1,
        "was refused",
        |job| matches!(&job.phase, JobPhase::Ended(e) if e.reason.as_deref() == Some("JobNameTaken")),
    )
    .await;
    three.stop(1);
    three.forget(1);
    // By the time of a later run's end, the stop has done what it does.
    three.start(shell(2, "true"));
    ended(&three, 2).await;
    assert!(cluster.jobs().get_opt("q-1").await.unwrap().is_some(), "another's Job is left alone");
    cluster.done().await;
}

#[tokio::test]
async fn a_stop_and_a_deletion_by_hand() {
    let Some(cluster) = Cluster::new("stop").await else { return };
    let executor = cluster.open().await;
    // A program that takes its time to end: the run is over when the pod is.
    let stubborn = "trap 'sleep 1; exit 0' TERM; while :; do sleep 0.1; done";
    executor.start(shell(1, stubborn));
    executor.start(shell(2, stubborn));
    running(&executor, 1).await;
    running(&executor, 2).await;
    executor.stop(1);
    assert!(executor.view().jobs[&1].stopping);
    until(&executor, 1, "was gone", |job| job.phase == JobPhase::Gone).await;
    assert_eq!(cluster.live_pods().await, 1, "only the other run's pod is left");

    cluster.jobs().delete("q-2", &DeleteParams::background()).await.unwrap();
    until(&executor, 2, "was gone", |job| job.phase == JobPhase::Gone).await;
    assert_eq!(cluster.live_pods().await, 0);
    executor.forget(1);
    executor.forget(2);
    assert!(executor.view().jobs.is_empty());
    cluster.done().await;
}

#[tokio::test]
async fn an_unknown_image_stays_pending() {
    let Some(cluster) = Cluster::new("image").await else { return };
    let executor = cluster.open().await;
    executor.start(spec(1, "localhost:1/no/such:image", "true"));
    until(&executor, 1, "was there", |job| job.phase == JobPhase::Pending).await;
    let tried = async {
        let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        loop {
            let list = pods.list(&ListParams::default()).await.unwrap();
            let state = serde_json::to_value(list.items.first().and_then(|pod| pod.status.as_ref())).unwrap();
            if state.to_string().contains("ErrImagePull") || state.to_string().contains("ImagePullBackOff") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(LIMIT, tried).await.unwrap();
    assert_eq!(executor.view().jobs[&1].phase, JobPhase::Pending);
    executor.stop(1);
    until(&executor, 1, "was gone", |job| job.phase == JobPhase::Gone).await;
    cluster.done().await;
}

#[tokio::test]
async fn what_is_refused_for_now_and_what_for_good() {
    let Some(cluster) = Cluster::new("refused").await else { return };
    let executor = cluster.open().await;
    let quotas: Api<ResourceQuota> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let quota = json!({"metadata": {"name": "none"}, "spec": {"hard": {"count/jobs.batch": "0"}}});
    quotas.create(&PostParams::default(), &serde_json::from_value(quota).unwrap()).await.unwrap();
    // The quota counts once its controller has seen it; until then a dry run succeeds.
    let enforced = async {
        loop {
            let status = quotas.get("none").await.unwrap().status;
            if status.and_then(|status| status.hard).is_some_and(|hard| !hard.is_empty()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, enforced).await.unwrap();
    executor.start(shell(1, "true"));
    until(&executor, 1, "was refused", |job| matches!(job.phase, JobPhase::Refused { .. })).await;
    executor.stop(1);
    until(&executor, 1, "was gone", |job| job.phase == JobPhase::Gone).await;

    let mut invalid = shell(2, "true");
    let pod = |spec: &mut RunSpec| -> Option<Value> {
        spec.job_template
            .as_mut()?
            .pointer_mut("/spec/template/spec")?
            .as_object_mut()?
            .insert("dnsPolicy".into(), "Sometimes".into())
    };
    pod(&mut invalid);
    executor.start(invalid);
    let ending = ended(&executor, 2).await;
    assert_eq!(ending.reason.as_deref(), Some("JobRejected"));
    assert!(ending.message.unwrap().contains("dnsPolicy"));

    let mut elsewhere = shell(3, "true");
    elsewhere.namespace = Some("no-such-namespace-here".into());
    executor.start(elsewhere);
    until(&executor, 3, "was refused", |job| matches!(job.phase, JobPhase::Refused { .. })).await;
    cluster.done().await;
}

#[tokio::test]
async fn without_an_api_server_starts_are_tried_again() {
    let config = Config::new("http://127.0.0.1:1".parse().unwrap());
    let settings = KubernetesConfig { namespace: Some("default".into()), ..KubernetesConfig::default() };
    let executor = Kubernetes::connect_to(config, &settings, INSTALLATION).unwrap();
    assert!(!executor.watch_namespaces(&BTreeSet::new()));
    executor.start(shell(1, "true"));
    until(&executor, 1, "was refused", |job| matches!(job.phase, JobPhase::Refused { .. })).await;
    assert!(!executor.view().has_read(None));
}
