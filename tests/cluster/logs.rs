//! `pgbatch logs`: the pod's own log while there is a pod, and afterwards what was kept.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use e2e::dispatcher::Dispatcher;
use e2e::postgres::OWNER;
use e2e::wait::until;
use serde_json::json;

use crate::on_cluster::OnCluster;
use crate::{RUNNING_RUNS, SOON, Tested};

impl OnCluster {
    fn logs(&self, item: &str, flags: &[&str]) -> Command {
        let mut command = Command::new(Dispatcher::binary());
        command.args(["logs", item, "--namespace", &self.namespace.name]).args(flags);
        command.env("PGBATCH_DATABASE_URL", self.world.database.url(OWNER));
        command.env("KUBECONFIG", self.cluster.kubeconfig()).stdin(Stdio::null());
        command
    }
}

#[tokio::test]
async fn logs_follow_the_pod_and_outlive_it() -> Tested {
    let on = OnCluster::new("logs").await?;
    let line = "echo first; until [ -e /record/gate ]; do sleep 0.1; done; echo last; exit 3";
    on.shell_queue("speaks", line, ", max_attempts => 1").await?;
    let _dispatcher = on.dispatcher()?;
    let batch = on.enqueue("speaks", json!({})).await?;
    on.until_count("the run to be running", RUNNING_RUNS, batch, 1, SOON).await;
    let item = format!("{batch}/1");
    let mut follow = on.logs(&item, &["--follow"]).stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(follow.stdout.take().ok_or("no stdout")?).lines();
    assert_eq!(lines.next().transpose()?.as_deref(), Some("first"), "while it runs");
    std::fs::write(on.record("gate"), "")?;
    assert_eq!(lines.next().transpose()?.as_deref(), Some("last"));
    assert!(lines.next().is_none(), "the log ends with the container");
    assert!(follow.wait()?.success());
    on.until_state(batch, "failed", SOON).await;

    let whole = on.logs(&item, &[]).output()?;
    assert_eq!(String::from_utf8_lossy(&whole.stdout), "first\nlast\n", "its Job is kept");
    on.cluster.kubectl(&["delete", "jobs", "--all", "--namespace", &on.namespace.name])?;
    let kept = until("the pod to be gone", SOON, async || {
        let said = on.logs(&item, &[]).output().ok()?;
        Some(said).filter(|said| String::from_utf8_lossy(&said.stderr).contains("has no pod of it"))
    })
    .await;
    assert_eq!(String::from_utf8_lossy(&kept.stdout), "first\nlast\n", "what was kept of it");
    Ok(())
}
