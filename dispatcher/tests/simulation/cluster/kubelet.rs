//! The kubelet: runs the container of one pod, from Pending to its end.

use std::sync::Arc;
use std::time::Duration;

use pgbatch_core::snapshot::Waiting;

use super::{ContainerEnd, Key, Kill, Phase};
use crate::program::Program;
use crate::signal::Signal;
use crate::world::World;

/// How a pod ended, for the Job controller.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PodEnd {
    pub(crate) succeeded: bool,
    pub(crate) disrupted: bool,
    /// It was evicted by the kubelet, and stays to say so.
    pub(crate) stays_evicted: bool,
}

type Killed = Arc<Signal<Option<Kill>>>;

/// Runs a pod to its end.
pub(super) async fn run_pod(world: &Arc<World>, key: &Key, uid: &str) -> PodEnd {
    let Some(killed) = world.cluster().pods.get(key).map(|pod| pod.kill.clone()) else {
        return PodEnd::unknown();
    };
    if let Some(kill) = wait_for_node(world, key, &killed).await {
        return end_pod(world, key, kill, None).await;
    }
    let Some((mut program, container)) = start(world, key, uid) else { return PodEnd::unknown() };
    let exit = tokio::select! {
        biased;
        kill = word(&killed) => Err(kill),
        exit_code = program.run() => Ok(exit_code),
    };
    let (kill, exit_code) = match exit {
        Ok(exit_code) => (None, exit_code),
        Err(Kill::LoseNode) => {
            world.laws().container_ends(container);
            world.touch();
            return end_pod(world, key, Kill::LoseNode, None).await;
        }
        Err(kill) => {
            if matches!(kill, Kill::Evict | Kill::Drain) {
                mark_disrupted(world, key);
            }
            // It has its grace period to come to an end by itself.
            let grace = world.millis(0..=10_000);
            let exit_code = tokio::time::timeout(grace, program.run()).await.unwrap_or(143);
            (Some(kill), exit_code)
        }
    };
    world.laws().container_ends(container);
    world.tell("kubelet", || format!("container of {} ends with {exit_code}, {kill:?}", key.1));
    let end = ContainerEnd { at: world.now(), exit_code, message: program.last_words() };
    match kill {
        Some(kill) => end_pod(world, key, kill, Some(end)).await,
        None => report_end(world, key, Some(end), false, None).await,
    }
}

async fn word(killed: &Killed) -> Kill {
    killed.until(|kill| *kill).await
}

/// Until its container can start; or it is killed before.
async fn wait_for_node(world: &Arc<World>, key: &Key, killed: &Killed) -> Option<Kill> {
    let start = async {
        tokio::time::sleep(world.millis(5..=300)).await;
        if world.fault(world.faults.pod_waits) {
            let reasons = ["Unschedulable", "ErrImagePull", "ImagePullBackOff"];
            let reason = world.pick(&reasons).unwrap_or_default().to_owned();
            let waiting = Some(Waiting { reason, message: "not yet".to_owned() });
            world.cluster().edit_pod(key, |pod| pod.waiting = waiting);
            world.touch();
            tokio::time::sleep(world.millis(1_000..=60_000)).await;
            world.cluster().edit_pod(key, |pod| pod.waiting = None);
            world.touch();
        }
        tokio::time::sleep(world.millis(5..=100)).await;
    };
    tokio::select! {
        biased;
        kill = word(killed) => Some(kill),
        () = start => None,
    }
}

fn start(world: &Arc<World>, key: &Key, uid: &str) -> Option<(Program, u64)> {
    let mut cluster = world.cluster();
    let row = cluster.pods.get(key)?;
    let (run, stillborn) = (row.run, row.stillborn);
    // The Job may be gone: its pods know by themselves what they are.
    let job = cluster.jobs.values().find(|job| job.uid == uid);
    let of_job = job.map(|job| (job.batch, job.items, job.token.clone(), stillborn));
    cluster.edit_pod(key, |pod| {
        pod.phase = Phase::Running;
        pod.started_at = Some(world.now());
    });
    drop(cluster);
    let tables = world.tables();
    let known = tables.runs.get(&run);
    let of_run = || known.map(|r| (r.batch, (r.first_item, r.last_item), r.token.clone(), stillborn));
    let (batch, items, token, stillborn) = of_job.or_else(of_run)?;
    world.tell("kubelet", || format!("container of {} starts: batch {batch}, items {items:?}", key.1));
    let container = world.laws().container_starts(world, &tables, run, (batch, items), stillborn);
    let may_hang =
        known.is_some_and(|r| tables.queues.get(&r.queue).is_some_and(|q| q.run_timeout_ms.is_some()));
    drop(tables);
    world.touch();
    Some((Program::new(world, run, token, items, may_hang), container))
}

fn mark_disrupted(world: &World, key: &Key) {
    let mut cluster = world.cluster();
    let run = cluster.pods.get(key).map(|pod| pod.run);
    cluster.edit_pod(key, |pod| pod.disrupted = true);
    drop(cluster);
    if let Some(run) = run {
        world.laws().note_touched(run);
    }
    world.touch();
}

/// The end of a pod that is killed; `end` is its container's, if one ran and its end is known.
async fn end_pod(world: &Arc<World>, key: &Key, kill: Kill, end: Option<ContainerEnd>) -> PodEnd {
    if kill != Kill::Delete {
        mark_disrupted(world, key);
    }
    match kill {
        Kill::Evict => report_end(world, key, end, true, Some("Evicted")).await,
        Kill::LoseNode => {
            // The node is declared lost, then its pods are collected.
            tokio::time::sleep(Duration::from_secs(world.between(40..=300))).await;
            let end = report_end(world, key, end, false, Some("NodeLost")).await;
            world.cluster().remove_pod(key);
            world.touch();
            end
        }
        Kill::Drain | Kill::Delete => {
            let end = report_end(world, key, end, false, None).await;
            tokio::time::sleep(world.millis(1..=500)).await;
            world.cluster().remove_pod(key);
            world.touch();
            end
        }
    }
}

/// The kubelet tells the API server, a little later.
async fn report_end(
    world: &Arc<World>,
    key: &Key,
    end: Option<ContainerEnd>,
    evicted: bool,
    reason: Option<&str>,
) -> PodEnd {
    tokio::time::sleep(world.millis(1..=300)).await;
    // Evicted or not: where its container came to its end by itself, it succeeded.
    let succeeded = !evicted && end.as_ref().is_some_and(|end| end.exit_code == 0);
    let mut cluster = world.cluster();
    let mut disrupted = false;
    cluster.edit_pod(key, |pod| {
        pod.phase = if succeeded { Phase::Succeeded } else { Phase::Failed };
        pod.ended = end;
        pod.reason = reason.map(str::to_owned);
        pod.waiting = None;
        disrupted = pod.disrupted;
    });
    let deleting = cluster.pods.get(key).is_some_and(|pod| pod.deleting);
    if deleting && evicted {
        cluster.remove_pod(key);
    }
    drop(cluster);
    world.touch();
    PodEnd { succeeded, disrupted: disrupted && !succeeded, stays_evicted: evicted && !deleting }
}
