//! What is not the program's fault burns no attempt: an evicted or preempted pod, and the time that a pod waits.

use e2e::wait::until;
use serde_json::{Value, json};

use crate::on_cluster::{OnCluster, Shape};
use crate::{RUNNING_RUNS, SOON, Tested};

/// Each pod says its name, and waits to be let go.
const PATIENT: &str = "echo $HOSTNAME >>/record/pods; until [ -e /record/go ]; do sleep 0.1; done";
const ONE_ATTEMPT: &str = ", max_attempts => 1";
/// A device of which the node has one.
const SEAT: &str = "pgbatch.io/seat";

impl OnCluster {
    /// Waits until a pod runs that is not this one.
    async fn until_other_pod(&self, pod: &str) -> String {
        let other = || self.running_pods().into_iter().find(|name| name != pod);
        until(&format!("a pod to run other than {pod:?}"), SOON, async || other()).await
    }

    /// The batch succeeded in one attempt at its item, one run and one Job; two pods had a part in it.
    async fn check_one_attempt(&self, batch: i64) -> Tested {
        self.until_state(batch, "succeeded", SOON).await;
        let runs = self.runs(batch, "state, attempt").await?;
        assert_eq!(runs.len(), 1);
        assert_eq!((runs[0].get::<_, &str>(0), runs[0].get::<_, i32>(1)), ("succeeded", 1));
        let pods = std::fs::read_to_string(self.record("pods"))?;
        assert_eq!(pods.lines().count(), 2, "{pods}");
        Ok(())
    }

    fn patch_node(&self, seats: Value) -> Result<String, std::io::Error> {
        let node = self.cluster.kubectl(&["get", "nodes", "--output", "name"])?;
        let patch = json!({"status": {"capacity": {SEAT: seats}, "allocatable": {SEAT: seats}}});
        let patch =
            ["patch", node.trim(), "--subresource=status", "--type=merge", "--patch", &patch.to_string()];
        self.cluster.kubectl(&patch)
    }
}

#[tokio::test]
async fn an_evicted_pod_is_replaced_and_no_attempt_is_burnt() -> Tested {
    let on = OnCluster::new("evicted").await?;
    on.shell_queue("patient", PATIENT, ONE_ATTEMPT).await?;
    let _dispatcher = on.dispatcher()?;
    let batch = on.enqueue("patient", json!({})).await?;
    let pod = on.until_other_pod("").await;
    on.cluster.evict(&on.namespace.name, &pod)?;
    on.until_other_pod(&pod).await;
    on.let_go()?;
    on.check_one_attempt(batch).await
}

#[tokio::test]
async fn a_preempted_pod_is_replaced_and_no_attempt_is_burnt() -> Tested {
    let on = OnCluster::new("preempted").await?;
    let class = format!("urgent-{}", on.namespace.name);
    on.cluster.apply(&json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
        "metadata": {"name": class}, "value": 1000}))?;
    on.patch_node(json!("1"))?;
    let container = json!({"resources": {"limits": {SEAT: "1"}}});
    let shape = Shape { container: container.clone(), options: ONE_ATTEMPT, ..Shape::default() };
    on.queue("patient", PATIENT, shape).await?;
    let pod = json!({"priorityClassName": class});
    let urgent = "until [ -e /record/served ]; do sleep 0.1; done";
    on.queue("urgent", urgent, Shape { pod, container, ..Shape::default() }).await?;
    let _dispatcher = on.dispatcher()?;

    let patient = on.enqueue("patient", json!({})).await?;
    let pod = on.until_other_pod("").await;
    let urgent = on.enqueue("urgent", json!({})).await?;
    on.until_other_pod(&pod).await;
    on.let_go()?;
    std::fs::write(on.record("served"), "")?;
    on.until_state(urgent, "succeeded", SOON).await;
    on.check_one_attempt(patient).await?;
    on.patch_node(Value::Null)?;
    on.cluster.kubectl(&["delete", "priorityclass", &class])?;
    Ok(())
}

#[tokio::test]
async fn run_timeout_is_counted_from_the_first_running_container() -> Tested {
    let on = OnCluster::new("timeout").await?;
    let pod = json!({"nodeSelector": {"pgbatch.io/late": &on.namespace.name}});
    let options = ", max_attempts => 1, run_timeout => '5 s'";
    on.queue("late", "exec sleep $PGBATCH_ARG_SECONDS", Shape { pod, options, ..Shape::default() }).await?;
    let _dispatcher = on.dispatcher()?;
    let short = on.enqueue("late", json!({"seconds": 0})).await?;
    let long = on.enqueue("late", json!({"seconds": 1000})).await?;
    // Pending for longer than the timeout.
    let old = "SELECT count(*) FROM pgbatch.runs WHERE batch_id = $1 AND state = 'starting' \
               AND created_at < clock_timestamp() - interval '7 s'";
    for batch in [short, long] {
        on.until_count("the run to have waited for long", old, batch, 1, SOON).await;
    }
    let node = on.cluster.kubectl(&["get", "nodes", "--output", "name"])?;
    on.cluster.kubectl(&["label", node.trim(), &format!("pgbatch.io/late={}", on.namespace.name)])?;
    on.until_state(short, "succeeded", SOON).await;
    on.until_count("the other to run", RUNNING_RUNS, long, 1, SOON).await;
    on.until_state(long, "failed", SOON).await;
    let run = &on.runs(long, "state, reason, finished_at - started_at >= interval '5 s'").await?[0];
    assert_eq!((run.get(0), run.get(1), run.get(2)), ("timed_out", "RunTimeout", true));
    on.cluster.kubectl(&["label", node.trim(), "pgbatch.io/late-"])?;
    Ok(())
}
