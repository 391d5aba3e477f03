//! Watches, as kube's `watcher` makes them: a list, then the changes since; both late, interrupted, or silent.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::core::Status;
use kube::runtime::watcher::{self, Error, Event};

use crate::api::Api;
use crate::cluster::{Cluster, Logged};
use crate::world::World;

/// Jobs or pods.
pub(crate) trait Watched: Clone + Send + 'static {
    const KIND: &'static str;
    fn list(cluster: &Cluster, namespace: &str) -> VecDeque<Self>;
    /// The change, and whether it is a deletion; none where it is about something else.
    fn change(logged: &Logged, namespace: &str) -> Option<(Self, bool)>;
}

impl Watched for Job {
    const KIND: &'static str = "jobs";

    fn list(cluster: &Cluster, namespace: &str) -> VecDeque<Self> {
        let here = cluster.jobs.iter().filter(|((n, _), _)| n == namespace);
        here.map(|(_, job)| job.object.as_ref().clone()).collect()
    }

    fn change(logged: &Logged, namespace: &str) -> Option<(Self, bool)> {
        match logged {
            Logged::Job { namespace: n, deleted, job } if n == namespace => {
                Some((job.as_ref().clone(), *deleted))
            }
            _ => None,
        }
    }
}

impl Watched for Pod {
    const KIND: &'static str = "pods";

    fn list(cluster: &Cluster, namespace: &str) -> VecDeque<Self> {
        let here = cluster.pods.iter().filter(|((n, _), _)| n == namespace);
        here.map(|(key, pod)| pod.object(key)).collect()
    }

    fn change(logged: &Logged, namespace: &str) -> Option<(Self, bool)> {
        match logged {
            Logged::Pod { namespace: n, deleted, pod } if n == namespace => {
                Some((pod.as_ref().clone(), *deleted))
            }
            _ => None,
        }
    }
}

/// What a watch does next.
enum State<K> {
    Begin,
    List,
    Listed {
        rest: VecDeque<K>,
        version: usize,
    },
    Watching {
        version: usize,
    },
    /// The same change once more.
    Again {
        event: Event<K>,
        version: usize,
    },
}

struct Watch<K> {
    world: Arc<World>,
    host: String,
    namespace: String,
    state: State<K>,
    /// To wait for, after an error.
    backoff: Option<Duration>,
}

type Told<K> = watcher::Result<Event<K>>;

/// A watch, for ever.
pub(crate) fn follow<K: Watched>(api: &Api, namespace: &str) -> impl Stream<Item = Told<K>> + Send + use<K> {
    let watch = Watch {
        world: api.world.clone(),
        host: api.host.clone(),
        namespace: namespace.to_owned(),
        state: State::Begin,
        backoff: None,
    };
    stream::unfold(watch, |mut watch| async move {
        let told = watch.next().await;
        Some((told, watch))
    })
}

fn network(words: &'static str) -> kube::Error {
    kube::Error::Service(words.into())
}

impl<K: Watched> Watch<K> {
    async fn next(&mut self) -> Told<K> {
        if let Some(backoff) = self.backoff.take() {
            tokio::time::sleep(backoff).await;
        }
        loop {
            match std::mem::replace(&mut self.state, State::Begin) {
                State::Begin => {
                    self.state = State::List;
                    return Ok(Event::Init);
                }
                State::List => self.list().await?,
                State::Listed { mut rest, version } => {
                    if self.world.fault(self.world.faults.watch_late) {
                        tokio::time::sleep(self.world.millis(1..=2_000)).await;
                    }
                    let Some(object) = rest.pop_front() else {
                        self.state = State::Watching { version };
                        return Ok(Event::InitDone);
                    };
                    self.state = State::Listed { rest, version };
                    return Ok(Event::InitApply(object));
                }
                State::Again { event, version } => {
                    self.state = State::Watching { version };
                    return Ok(event);
                }
                State::Watching { version } => return self.watch(version).await,
            }
        }
    }

    /// A list is as of the moment at which the API server serves it, and comes later.
    async fn list(&mut self) -> Result<(), Error> {
        let (world, slow) = (self.world.clone(), self.world.faults.api_slow);
        tokio::time::sleep(world.latency(slow)).await;
        if world.fault(world.faults.api_lost) {
            let silent = world.chance(300);
            if silent {
                tokio::time::sleep(world.millis(1_000..=300_000)).await;
            }
            return Err(self.fails(Error::InitialListFailed(network("the connection broke"))));
        }
        let (rest, version) = {
            let cluster = world.cluster();
            (K::list(&cluster, &self.namespace), cluster.log.len())
        };
        tokio::time::sleep(world.latency(slow)).await;
        world.tell(&self.host, || format!("lists {} {} as of {version}", rest.len(), K::KIND));
        self.state = State::Listed { rest, version };
        Ok(())
    }

    fn fails(&mut self, error: Error) -> Error {
        self.world.tell(&self.host, || format!("watch of {}: {error}", K::KIND));
        self.backoff = Some(self.world.millis(400..=30_000));
        error
    }

    async fn watch(&mut self, mut version: usize) -> Told<K> {
        let world = self.world.clone();
        loop {
            world.until(|world| world.cluster().log.len() > version).await;
            let change = K::change(&world.cluster().log[version], &self.namespace);
            let Some((object, deleted)) = change else {
                version += 1;
                continue;
            };
            if let Some(error) = self.interrupted(version).await {
                return Err(error);
            }
            let late = world.fault(world.faults.watch_late);
            tokio::time::sleep(world.millis(if late { 10..=15_000 } else { 0..=10 })).await;
            version += 1;
            let event = || if deleted { Event::Delete(object.clone()) } else { Event::Apply(object.clone()) };
            self.state = match world.fault(world.faults.watch_twice) && !deleted {
                true => State::Again { event: event(), version },
                false => State::Watching { version },
            };
            return Ok(event());
        }
    }

    /// The watch breaks, or is silent until somebody notices; it goes on where it was, or begins anew.
    async fn interrupted(&mut self, version: usize) -> Option<Error> {
        let world = self.world.clone();
        let silent = world.fault(world.faults.watch_silent);
        if !silent && !world.fault(world.faults.watch_broken) {
            return None;
        }
        if silent {
            world.tell(&self.host, || format!("the watch of {} is silent", K::KIND));
            tokio::time::sleep(world.millis(10_000..=295_000)).await;
        }
        Some(if world.fault(world.faults.watch_gone) {
            self.state = State::Begin;
            let gone = Status::failure("too old resource version", "Expired").with_code(410);
            self.fails(Error::WatchError(gone.boxed()))
        } else {
            self.state = State::Watching { version };
            self.fails(Error::WatchFailed(network("the connection broke")))
        })
    }
}
