//! What happens to a cluster: evictions, lost nodes, other people's kubectl.

use std::sync::Arc;

use super::controller::{delete_job, delete_pod, send};
use super::{Cascade, Key, Kill, Phase};
use crate::world::World;

/// Makes trouble until the faults stop.
pub(crate) async fn make_trouble(world: Arc<World>) {
    while !world.is_calm() {
        tokio::time::sleep(world.millis(200..=1800)).await;
        let faults = &world.faults;
        for (rate, kill) in
            [(faults.evicted, Kill::Evict), (faults.drained, Kill::Drain), (faults.node_lost, Kill::LoseNode)]
        {
            if world.fault(rate)
                && let Some(key) = some_pod(&world)
            {
                world.tell("cluster", || format!("{kill:?} pod {}", key.1));
                let kill_it = world.cluster().pods.get(&key).map(|pod| pod.kill.clone());
                if let Some(sender) = kill_it {
                    send(&sender, kill);
                }
            }
        }
        if world.fault(faults.pod_deleted)
            && let Some(key) = some_pod(&world)
        {
            world.tell("people", || format!("delete pod {}", key.1));
            delete_pod(&world, &key);
        }
        if world.fault(faults.job_deleted) {
            take_some_job(&world);
        }
        if world.fault(faults.namespace_gone) {
            tokio::spawn(take_namespace(world.clone()));
        }
    }
}

fn some_pod(world: &World) -> Option<Key> {
    let cluster = world.cluster();
    let live = cluster.pods.iter().filter(|(_, pod)| matches!(pod.phase, Phase::Pending | Phase::Running));
    let keys: Vec<Key> = live.map(|(key, _)| key.clone()).collect();
    drop(cluster);
    world.pick(&keys)
}

fn take_some_job(world: &Arc<World>) {
    let keys: Vec<Key> = world.cluster().jobs.keys().cloned().collect();
    let Some(key) = world.pick(&keys) else { return };
    let cascades = [Cascade::Background, Cascade::Background, Cascade::Foreground, Cascade::Orphan];
    let cascade = world.pick(&cascades).unwrap_or(Cascade::Background);
    take_job(world, &key, cascade);
}

fn take_job(world: &Arc<World>, key: &Key, cascade: Cascade) {
    let job = world.cluster().jobs.get(key).map(|job| (job.run, job.uid.clone()));
    let Some((run, uid)) = job else { return };
    world.tell("people", || format!("delete Job {} ({cascade:?})", key.1));
    world.laws().note_taken(run, world.now());
    delete_job(world, key, cascade);
    if cascade == Cascade::Orphan {
        tokio::spawn(take_orphans(world.clone(), uid));
    }
}

/// Whoever made pods orphans cleans up: the dispatcher may not delete pods.
async fn take_orphans(world: Arc<World>, uid: String) {
    tokio::time::sleep(world.millis(10_000..=100_000)).await;
    let pods = world.cluster().pods_of(&uid);
    for pod in pods {
        delete_pod(&world, &pod);
    }
}

/// A namespace is deleted, with all that is in it, and made again.
async fn take_namespace(world: Arc<World>) {
    let names: Vec<String> = world.cluster().jobs.keys().map(|(namespace, _)| namespace.clone()).collect();
    let Some(namespace) = world.pick(&names) else { return };
    world.tell("people", || format!("delete namespace {namespace}"));
    world.cluster().gone_namespaces.insert(namespace.clone());
    let keys: Vec<Key> = world.cluster().jobs.keys().filter(|(n, _)| *n == namespace).cloned().collect();
    for key in keys {
        take_job(&world, &key, Cascade::Background);
    }
    let gone = world.millis(1_000..=60_000);
    tokio::time::sleep(gone).await;
    world.cluster().gone_namespaces.remove(&namespace);
    world.tell("people", || format!("create namespace {namespace}"));
}
