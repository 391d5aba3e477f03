//! The Job controller and the garbage collector.

use std::sync::Arc;

use super::kubelet::{PodEnd, run_pod};
use super::{Key, Kill, Phase, PodRow};
use crate::signal::Signal;
use crate::world::World;

/// What becomes of the pods of a Job that is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cascade {
    /// The Job goes first.
    Background,
    /// The pods go first.
    Foreground,
    /// The pods stay.
    Orphan,
}

/// Runs a Job to its end: one pod after the other.
pub(crate) async fn control(world: Arc<World>, key: Key, uid: String) {
    for number in 1.. {
        tokio::time::sleep(world.millis(1..=200)).await;
        let Some(pod) = create_pod(&world, &key, &uid, number) else { return };
        let end = run_pod(&world, &pod, &uid).await;
        tokio::time::sleep(world.millis(1..=200)).await;
        let mut cluster = world.cluster();
        let Some(job) = cluster.jobs.get_mut(&key).filter(|job| job.uid == uid) else { return };
        if end.disrupted && job.ignores_disruptions {
            continue;
        }
        if end.stays_evicted && !end.succeeded {
            world.laws().note_evicted(job.run, world.now());
        }
        job.end(end.succeeded, world.now());
        let object = job.object.clone();
        cluster.log_job(&key, &object, false);
        drop(cluster);
        world.tell("cluster", || format!("Job {} ends: {end:?}", key.1));
        return world.touch();
    }
}

fn create_pod(world: &World, key: &Key, uid: &str, number: u32) -> Option<Key> {
    let mut cluster = world.cluster();
    let job = cluster.jobs.get(key).filter(|job| job.uid == uid && !job.is_deleting())?;
    let labels = job.object.spec.as_ref()?.template.metadata.as_ref()?.labels.clone()?;
    let row = PodRow {
        job_uid: uid.to_owned(),
        run: job.run,
        stillborn: job.stillborn,
        phase: Phase::Pending,
        labels,
        started_at: None,
        ended: None,
        reason: None,
        disrupted: false,
        deleting: false,
        waiting: None,
        kill: Arc::default(),
    };
    let pod = (key.0.clone(), format!("{}-{uid}-{number}", key.1));
    cluster.pods.insert(pod.clone(), row);
    cluster.edit_pod(&pod, |_| {});
    drop(cluster);
    world.touch();
    Some(pod)
}

/// Deletes a Job, and what is its pods' fate then.
pub(crate) fn delete_job(world: &Arc<World>, key: &Key, cascade: Cascade) {
    let mut cluster = world.cluster();
    let Some(job) = cluster.jobs.get_mut(key) else { return };
    let (uid, now) = (job.uid.clone(), world.now());
    if cascade == Cascade::Foreground {
        job.begin_deleting(now);
        let object = job.object.clone();
        cluster.log_job(key, &object, false);
    } else if let Some(job) = cluster.jobs.remove(key) {
        cluster.log_job(key, &job.object, true);
    }
    drop(cluster);
    world.touch();
    if cascade != Cascade::Orphan {
        tokio::spawn(collect(world.clone(), key.clone(), uid));
    }
}

/// The garbage collector: the pods of a Job that is gone, or is to go after them.
async fn collect(world: Arc<World>, key: Key, uid: String) {
    tokio::time::sleep(world.millis(1..=1000)).await;
    let pods = world.cluster().pods_of(&uid);
    for pod in pods {
        delete_pod(&world, &pod);
    }
    let none_left = |world: &World| world.cluster().pods_of(&uid).is_empty();
    world.until(none_left).await;
    let mut cluster = world.cluster();
    if cluster.jobs.get(&key).is_some_and(|job| job.uid == uid)
        && let Some(job) = cluster.jobs.remove(&key)
    {
        cluster.log_job(&key, &job.object, true);
        drop(cluster);
        world.touch();
    }
}

/// Deletes a pod: at once if it is over, else when its container has stopped.
pub(crate) fn delete_pod(world: &World, key: &Key) {
    let mut cluster = world.cluster();
    let Some(pod) = cluster.pods.get(key) else { return };
    if pod.is_over() {
        cluster.remove_pod(key);
    } else {
        let kill = pod.kill.clone();
        cluster.edit_pod(key, |pod| pod.deleting = true);
        drop(cluster);
        send(&kill, Kill::Delete);
    }
    world.touch();
}

/// The first word counts: a pod ends once.
pub(crate) fn send(kill: &Signal<Option<Kill>>, word: Kill) {
    kill.edit(|known| {
        known.get_or_insert(word);
    });
}

impl PodEnd {
    /// Of a pod that is not there any more.
    pub(super) fn unknown() -> Self {
        Self { succeeded: false, disrupted: false, stays_evicted: false }
    }
}
