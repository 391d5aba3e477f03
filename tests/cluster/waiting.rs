//! Why a run does not start is readable while it does not, in the words of whoever is in its way.

use serde_json::{Value, json};

use e2e::wait::until;

use crate::on_cluster::{OnCluster, Shape};
use crate::{SOON, Tested};

const WAITING: &str = "SELECT reason, message FROM pgbatch.runs WHERE batch_id = $1 AND state = 'starting'";
const EXPLAINED: &str = "SELECT string_agg(words, E'\\n') FROM pgbatch.explain_item($1, 1)";

impl OnCluster {
    /// Waits until the run of a batch has this reason, and these words, also in what `explain_item` says.
    pub(crate) async fn until_waiting(&self, batch: i64, reason: &str, words: &str) -> Tested {
        until(&format!("{reason}: {words}"), SOON, async || {
            let row = self.world.client.query_opt(WAITING, &[&batch]).await.ok()??;
            let (now, message): (Option<String>, Option<String>) = (row.get(0), row.get(1));
            (now? == reason && message?.contains(words)).then_some(())
        })
        .await;
        let explained: String = self.world.client.query_one(EXPLAINED, &[&batch]).await?.get(0);
        assert!(explained.contains(reason) && explained.contains(words), "{explained}");
        Ok(())
    }

    /// A quota of this namespace, in force.
    async fn quota(&self, hard: Value) -> Tested {
        let namespace = &self.namespace.name;
        self.cluster.apply(&json!({"apiVersion": "v1", "kind": "ResourceQuota",
            "metadata": {"name": "none", "namespace": namespace}, "spec": {"hard": hard}}))?;
        until("the quota to be in force", SOON, async || {
            let quotas = self.cluster.list(namespace, "resourcequotas").ok()?;
            (quotas[0]["status"]["hard"] == hard).then_some(())
        })
        .await;
        Ok(())
    }
}

#[tokio::test]
async fn the_schedulers_and_the_kubelets_words() -> Tested {
    let on = OnCluster::new("no-start").await?;
    let golden = json!({"nodeSelector": {"disk": "golden"}});
    on.queue("nowhere", "exit 0", Shape { pod: golden, ..Shape::default() }).await?;
    let image = json!({"image": "pgbatch/nowhere:1", "imagePullPolicy": "IfNotPresent"});
    on.queue("unknown", "exit 0", Shape { container: image, ..Shape::default() }).await?;
    let _dispatcher = on.dispatcher()?;
    let (nowhere, unknown) =
        (on.enqueue("nowhere", json!({})).await?, on.enqueue("unknown", json!({})).await?);
    on.until_waiting(nowhere, "Unschedulable", "didn't match Pod's node affinity/selector").await?;
    on.until_waiting(unknown, "ImagePullBackOff", "pgbatch/nowhere:1").await?;

    let node = on.cluster.kubectl(&["get", "nodes", "--output", "name"])?;
    on.cluster.kubectl(&["label", node.trim(), "disk=golden"])?;
    on.until_state(nowhere, "succeeded", SOON).await;
    on.cluster.kubectl(&["label", node.trim(), "disk-"])?;
    Ok(())
}

#[tokio::test]
async fn a_quota_and_an_admission_in_the_api_servers_words() -> Tested {
    let on = OnCluster::new("refused").await?;
    let namespace = on.namespace.name.as_str();
    on.shell_queue("refused", "exit 0", "").await?;
    let _dispatcher = on.dispatcher()?;

    on.quota(json!({"pods": "0"})).await?;
    let pods = on.enqueue("refused", json!({})).await?;
    on.until_waiting(pods, "QuotaExceeded", "exceeded quota: none, requested: pods=1").await?;

    on.quota(json!({"count/jobs.batch": "0"})).await?;
    let jobs = on.enqueue("refused", json!({})).await?;
    on.until_waiting(jobs, "QuotaExceeded", "requested: count/jobs.batch=1").await?;

    on.cluster.kubectl(&["delete", "resourcequota", "none", "--namespace", namespace])?;
    for batch in [pods, jobs] {
        on.until_state(batch, "succeeded", SOON).await;
    }

    let level = "pod-security.kubernetes.io/enforce=restricted";
    on.cluster.kubectl(&["label", "namespace", namespace, level])?;
    let admission = on.enqueue("refused", json!({})).await?;
    on.until_waiting(admission, "FailedCreate", "violates PodSecurity").await?;
    on.world.client.execute("SELECT pgbatch.cancel_batch($1)", &[&admission]).await?;
    on.until_state(admission, "cancelled", SOON).await;
    Ok(())
}
