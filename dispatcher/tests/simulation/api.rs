//! The executor's port to the API server, over a network that loses, delays and refuses.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::Stream;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::core::Status;
use kube::core::response::StatusDetails;
use kube::runtime::watcher::{self, Event};
use pgbatch_core::name::RUN;
use pgbatch_core::snapshot::RunId;
use pgbatch_dispatcher::executor::kubernetes::JobApi;
use tokio::sync::oneshot;

use crate::cluster::{Cascade, JobRow, Key, control, delete_job};
use crate::watch::follow;
use crate::world::World;

/// The API server as one dispatcher sees it.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) world: Arc<World>,
    /// Which dispatcher.
    pub(crate) host: String,
    /// The runs whose create found the name taken: for a planted bug.
    pub(crate) taken: Arc<Mutex<BTreeSet<RunId>>>,
}

/// An answer of the API server that is an error.
fn refusal(code: u16, reason: &str, message: &str) -> kube::Error {
    kube::Error::Api(Status::failure(message, reason).with_code(code).boxed())
}

fn network(words: &str) -> kube::Error {
    kube::Error::Service(words.into())
}

impl Api {
    /// A request: a message there, and one back. Either may be lost, and the request then carried out or not; one on
    /// its way arrives even if whoever sent it is gone, or leads no more: `act` is told.
    async fn request<T: Send + 'static>(
        &self,
        what: String,
        act: impl FnOnce(&Arc<World>, bool) -> kube::Result<T> + Send + 'static,
    ) -> kube::Result<T> {
        let (world, faults) = (&self.world, &self.world.faults);
        world.requests.fetch_add(1, Ordering::Relaxed);
        let (lost, unheard) = (world.fault(faults.api_lost), world.fault(faults.api_unheard));
        let refused = world.fault(faults.api_refused).then(|| self.refused());
        let silent = world.chance(500);
        let (mut there, back) = (world.latency(faults.api_slow), world.latency(faults.api_slow));
        if world.fault(faults.api_slow / 8) {
            // In the API server's own queue, until after the client has given up.
            there = world.millis(20_000..=90_000);
        }
        let (answer, answered) = oneshot::channel();
        let (world, host) = (world.clone(), self.host.clone());
        tokio::spawn(async move {
            tokio::time::sleep(there).await;
            if lost {
                world.tell(&host, || format!("{what} is lost"));
                return hang_up(&world, answer, silent).await;
            }
            let result = match refused {
                Some(refused) => Err(refused),
                None => act(&world, answer.is_closed() || !world.server().leads(&host)),
            };
            world.tell(&host, || format!("{what}: {}", words(&result)));
            if unheard {
                world.tell(&host, || format!("the answer to {what} is lost"));
                return hang_up(&world, answer, silent).await;
            }
            tokio::time::sleep(back).await;
            // Whoever asked may be gone.
            let _ = answer.send(result);
        });
        answered.await.unwrap_or_else(|_gone| Err(network("the connection broke")))
    }

    fn refused(&self) -> kube::Error {
        let seconds = self.world.between(1..=20);
        // It has no constructor.
        let retry_after: Option<StatusDetails> =
            serde_json::from_value(serde_json::json!({"retryAfterSeconds": seconds})).ok();
        let too_many = Status::failure("too many requests", "TooManyRequests").with_code(429);
        match self.world.between(0..=4) {
            0 => kube::Error::Api(Status { details: retry_after, ..too_many }.boxed()),
            1 => refusal(403, "Forbidden", "jobs.batch is forbidden: exceeded quota: small"),
            2 => refusal(500, "InternalError", "etcdserver: leader changed"),
            3 => refusal(503, "ServiceUnavailable", "the server is shutting down"),
            _ => refusal(409, "Conflict", "the object has been modified"),
        }
    }
}

/// The connection ends: the client is told, or waits in vain.
async fn hang_up<T>(world: &World, answer: oneshot::Sender<kube::Result<T>>, silent: bool) {
    if silent {
        tokio::time::sleep(world.millis(30_000..=60_000)).await;
    }
    drop(answer);
}

fn words<T>(result: &kube::Result<T>) -> String {
    match result {
        Ok(_) => "done".to_owned(),
        Err(kube::Error::Api(status)) => format!("{} {}", status.code, status.reason),
        Err(error) => error.to_string(),
    }
}

fn create(world: &Arc<World>, namespace: &str, job: &Job, sent: (Timestamp, bool)) -> kube::Result<()> {
    let name = job.metadata.name.clone().unwrap_or_default();
    let key: Key = (namespace.to_owned(), name);
    let tables = world.tables();
    let mut cluster = world.cluster();
    if cluster.gone_namespaces.contains(namespace) {
        return Err(match world.chance(500) {
            true => refusal(404, "NotFound", "namespaces not found"),
            false => refusal(403, "Forbidden", "unable to create: namespace is being terminated"),
        });
    }
    if cluster.jobs.contains_key(&key) {
        return Err(refusal(409, "AlreadyExists", "the Job already exists"));
    }
    let uid = cluster.uid();
    let Some(mut row) = JobRow::of(job, namespace, uid.clone()) else {
        return Err(refusal(422, "Invalid", "the Job is not one of a run"));
    };
    row.stillborn = world.laws().note_job(world, &tables, row.run, sent);
    let object = row.object.clone();
    cluster.jobs.insert(key.clone(), row);
    cluster.log_job(&key, &object, false);
    drop((cluster, tables));
    tokio::spawn(control(world.clone(), key, uid));
    world.touch();
    Ok(())
}

fn delete(world: &Arc<World>, key: &Key, uid: &str) -> kube::Result<()> {
    let known = world.cluster().jobs.get(key).map(|job| (job.uid == uid, job.run));
    match known {
        None => Err(refusal(404, "NotFound", "the Job is not found")),
        Some((false, _)) => Err(refusal(409, "Conflict", "the UID in the precondition does not match")),
        Some((true, run)) => {
            world.laws().note_deleted(run);
            delete_job(world, key, Cascade::Background);
            Ok(())
        }
    }
}

impl JobApi for Api {
    async fn create(&self, namespace: &str, job: &Job) -> kube::Result<()> {
        let name = job.metadata.name.clone().unwrap_or_default();
        let (namespace, job) = (namespace.to_owned(), job.clone());
        let (sent_at, run) =
            (self.world.now(), job.metadata.labels.as_ref().and_then(pgbatch_core::name::run_of));
        let result = self
            .request(format!("create {name}"), move |world, abandoned| {
                create(world, &namespace, &job, (sent_at, abandoned))
            })
            .await;
        if let (Err(kube::Error::Api(status)), Some(run)) = (&result, run)
            && status.is_already_exists()
        {
            self.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(run);
        }
        result
    }

    async fn get(&self, namespace: &str, name: &str) -> kube::Result<Option<Job>> {
        let key = (namespace.to_owned(), name.to_owned());
        let read = move |world: &Arc<World>, _stale: bool| {
            Ok(world.cluster().jobs.get(&key).map(|job| job.object.as_ref().clone()))
        };
        self.request(format!("get {name}"), read).await
    }

    async fn delete(&self, namespace: &str, name: &str, uid: &str) -> kube::Result<()> {
        let (key, uid) = ((namespace.to_owned(), name.to_owned()), uid.to_owned());
        self.request(format!("delete {name}"), move |world, _stale| delete(world, &key, &uid)).await
    }

    async fn list_pods(&self, namespace: &str, selector: &str) -> kube::Result<Vec<Pod>> {
        let run = selector.rsplit_once(&format!("{RUN}=")).and_then(|(_, run)| run.parse::<RunId>().ok());
        let namespace = namespace.to_owned();
        let read = move |world: &Arc<World>, _stale: bool| {
            let cluster = world.cluster();
            let pods = cluster.pods.iter().filter(|((n, _), pod)| *n == namespace && run == Some(pod.run));
            Ok(pods.map(|(key, pod)| pod.object(key)).collect())
        };
        self.request(format!("list pods of run {run:?}"), read).await
    }

    fn watch_jobs(
        &self,
        namespace: &str,
        _selector: &str,
    ) -> impl Stream<Item = watcher::Result<Event<Job>>> + Send {
        follow(self, namespace)
    }

    fn watch_pods(
        &self,
        namespace: &str,
        _selector: &str,
    ) -> impl Stream<Item = watcher::Result<Event<Pod>>> + Send {
        follow(self, namespace)
    }
}
