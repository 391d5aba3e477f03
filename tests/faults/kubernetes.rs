//! Parts of the cluster stop, and come back. All of it happens to a cluster that nobody else uses.

use std::io;
use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::postgres::{Options, Server};
use e2e::wait::until;
use serde_json::Value;

use crate::Tested;
use crate::batch::{LONG, Trial};
use crate::history::Allowed;

/// A trial on the cluster that is there to be broken, and its PostgreSQL.
pub(crate) async fn trial(
    name: &str,
    fault: &'static str,
) -> Result<(Server, Trial), Box<dyn std::error::Error>> {
    let server = Server::start(&Options::default())?;
    let database = server.database().await?;
    let trial = Trial::new(name, fault, &Cluster::to_be_broken()?, database).await?;
    Ok((server, trial))
}

/// Components that are stopped; they are started again when this goes, also when the test has failed.
struct Stopped<'a> {
    cluster: &'a Cluster,
    components: &'a [&'a str],
}

impl<'a> Stopped<'a> {
    /// Stops them in this order; they are started in the reverse one.
    fn new(cluster: &'a Cluster, components: &'a [&'a str]) -> io::Result<Self> {
        let stopped = Self { cluster, components };
        components.iter().try_for_each(|component| cluster.component("stop", component))?;
        Ok(stopped)
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        for component in self.components.iter().rev() {
            if let Err(error) = self.cluster.component("start", component) {
                eprintln!("{error}");
            }
        }
    }
}

/// The pods that have not ended, as the API server knows them.
fn live_pods(trial: &Trial) -> Option<Vec<Value>> {
    let mut pods = trial.cluster.list(&trial.namespace.name, "pods").ok()?;
    pods.retain(|pod| !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")));
    Some(pods)
}

#[tokio::test]
async fn the_api_server_and_etcd_stopped_for_a_minute_lose_nothing() -> Tested {
    let (_server, mut trial) = trial("etcd", "API server and etcd: stopped for a minute").await?;
    let _dispatcher = trial.dispatcher()?;
    trial.enqueue().await?;
    for percent in [20, 60] {
        trial.until_done(percent).await;
        let _stopped = Stopped::new(&trial.cluster, &["kube-apiserver", "etcd"])?;
        // The minute is the fault.
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    trial.judge(2, Allowed::default()).await
}

#[tokio::test]
async fn the_controller_manager_stopped_until_nothing_moves_loses_nothing() -> Tested {
    let (_server, mut trial) =
        trial("manager", "kube-controller-manager: stopped until nothing moves").await?;
    let _dispatcher = trial.dispatcher()?;
    trial.enqueue().await?;
    for percent in [20, 40, 60] {
        trial.until_done(percent).await;
        let _stopped = Stopped::new(&trial.cluster, &["kube-controller-manager"])?;
        // Pods end and no Job does, Jobs are created and get no pods.
        until("no pod to live", LONG, async || live_pods(&trial)?.is_empty().then_some(())).await;
        let waiting = "SELECT count(*) >= 10 FROM pgbatch.runs WHERE batch_id = $1 AND finished_at IS NULL";
        trial.until_true("runs to wait for the controller", waiting).await;
    }
    trial.judge(3, Allowed::default()).await
}

#[tokio::test]
async fn the_scheduler_stopped_until_nothing_moves_loses_nothing() -> Tested {
    let (_server, mut trial) = trial("scheduler", "kube-scheduler: stopped until nothing moves").await?;
    let _dispatcher = trial.dispatcher()?;
    trial.enqueue().await?;
    for percent in [20, 40, 60] {
        trial.until_done(percent).await;
        let _stopped = Stopped::new(&trial.cluster, &["kube-scheduler"])?;
        let waiting = "SELECT count(*) >= 10 AND bool_and(state = 'starting') FROM pgbatch.runs \
                       WHERE batch_id = $1 AND finished_at IS NULL";
        trial.until_true("all runs to wait for the scheduler", waiting).await;
    }
    trial.judge(3, Allowed::default()).await
}

/// Waits until the only node counts as lost, with stock settings after 50 s, and marks it as lost: a controller that has
/// no node left at all does that to none, as it rather takes itself for cut off.
async fn lose_node(cluster: &Cluster) -> io::Result<()> {
    let lost = "jsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}";
    until("the node to be lost", LONG, async || {
        let ready = cluster.kubectl(&["get", "nodes", "--output", lost]).ok()?;
        (ready == "Unknown").then_some(())
    })
    .await;
    let taint = ["taint", "nodes", "--all", "--overwrite", "node.kubernetes.io/unreachable=:NoExecute"];
    cluster.kubectl(&taint).map(drop)
}

/// The node's pods are deleted after 300 s more. Until the kubelet is back, nobody knows whether they still run: so there
/// is no other pod, and no other run of their items.
#[tokio::test]
async fn a_kubelet_stopped_until_its_node_is_lost_doubles_nothing() -> Tested {
    let (_server, mut trial) = trial("kubelet", "kubelet: stopped until the node is lost").await?;
    let _dispatcher = trial.dispatcher()?;
    trial.enqueue().await?;
    trial.until_done(30).await;
    {
        let _stopped = Stopped::new(&trial.cluster, &["kubelet"])?;
        lose_node(&trial.cluster).await?;
        until("the pods to be given up", LONG, async || {
            let pods = live_pods(&trial)?;
            let given_up = pods.iter().all(|pod| pod["metadata"]["deletionTimestamp"].is_string());
            (given_up && !pods.is_empty()).then_some(())
        })
        .await;
    }
    trial.judge(1, Allowed { replaced_pods: true, ..Allowed::default() }).await
}
