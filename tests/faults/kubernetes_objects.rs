//! People delete what is the dispatcher's: Jobs, and the namespace with all that is in it.

use std::io;

use e2e::wait::until;
use serde_json::Value;

use crate::Tested;
use crate::batch::{LONG, Trial};
use crate::history::Allowed;
use crate::kubernetes::trial;

/// What a deletion may do: the item's run is lost, and so one attempt; what the pod did was cut short.
const DELETED: Allowed =
    Allowed { further_attempts: 1, cut_off: 0, replaced_pods: false, stopped_pods: true };

/// Has every pod that starts from now on wait; waits until as many do as may run at once.
///
/// A Job that is deleted between the end of its pod's program and its own is lost all the same, and the work is done
/// again: nobody has seen it done. That is not what is tested here.
async fn hold(trial: &Trial) -> io::Result<()> {
    std::fs::write(trial.dir.join("pods/hold"), "")?;
    until("all pods to wait", LONG, async || {
        let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
        let now: f64 = uptime.split(' ').next()?.parse().ok()?;
        let executions = trial.executions().ok()?;
        // One that did not see the file would have ended long since.
        let held = executions.iter().filter(|e| e.ended.is_none() && e.started < now - 10.0).count();
        let live =
            "SELECT count(*) FROM pgbatch.runs WHERE batch_id = $1 AND state IN ('starting', 'running')";
        let live: i64 = trial.ask(live).await?.first()?.get(0);
        (held >= 20 && i64::try_from(held).ok()? == live).then_some(())
    })
    .await;
    Ok(())
}

fn release(trial: &Trial) -> io::Result<()> {
    std::fs::remove_file(trial.dir.join("pods/hold"))
}

/// Jobs with a live pod.
fn active_jobs(trial: &Trial) -> io::Result<Vec<String>> {
    let jobs = trial.cluster.list(&trial.namespace.name, "jobs")?;
    let active = jobs.iter().filter(|job: &&Value| job["status"]["active"].as_i64() > Some(0));
    Ok(active.filter_map(|job| job["metadata"]["name"].as_str()).map(str::to_owned).collect())
}

#[tokio::test]
async fn jobs_deleted_by_hand_are_run_again_and_only_those() -> Tested {
    let (_server, mut trial) = trial("deleted", "Jobs deleted by hand").await?;
    let _dispatcher = trial.dispatcher()?;
    trial.enqueue().await?;
    let mut deleted = 0;
    for percent in [10, 40] {
        trial.until_done(percent).await;
        hold(&trial).await?;
        for job in active_jobs(&trial)?.iter().take(5) {
            trial.cluster.kubectl(&["delete", "job", job, "--namespace", &trial.namespace.name])?;
            deleted += 1;
        }
        release(&trial)?;
    }
    // An item may be hit in both rounds.
    trial.judge(deleted, Allowed { further_attempts: 2, ..DELETED }).await?;
    let lost = "SELECT count(*) FROM pgbatch.runs WHERE batch_id = $1 AND state = 'lost'";
    let lost: i64 = trial.ask(lost).await.ok_or("no answer")?[0].get(0);
    assert_eq!(usize::try_from(lost)?, deleted);
    Ok(())
}

#[tokio::test]
async fn a_namespace_deleted_with_all_jobs_is_filled_again_when_it_is_back() -> Tested {
    let (_server, mut trial) = trial("namespace", "the namespace deleted, and made again").await?;
    let _dispatcher = trial.dispatcher()?;
    trial.enqueue().await?;
    trial.until_done(30).await;
    hold(&trial).await?;
    trial.cluster.kubectl(&["delete", "namespace", &trial.namespace.name])?;
    release(&trial)?;
    trial.cluster.kubectl(&["create", "namespace", &trial.namespace.name])?;
    trial.judge(1, DELETED).await
}
