//! The two watches of a namespace: the Jobs and the pods of this installation, and nothing else.

use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Resource};
use pgbatch_core::name::selector;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tracing::{debug, warn};

use super::Inner;
use super::facts::{JobFacts, PodFacts};

/// A list, with its retries' pauses, that takes longer hangs on a dead connection: it is begun anew. (A watch that
/// has begun looks after itself.)
const LIST_MAX: Duration = Duration::from_secs(120);

/// Keeps the mirror of a namespace, for ever. Jobs are listed before pods, so that the list of pods is known to be
/// complete for the Jobs that had ended.
pub(super) async fn watch_namespace(inner: Arc<Inner>, namespace: String) {
    let (listed, jobs_listed) = watch::channel(false);
    let jobs = follow::<Job>(&inner, &namespace, "jobs", |event| {
        if matches!(event, Event::InitDone) {
            listed.send_replace(true);
        }
        inner.see_job(&namespace, event);
    });
    let pods = async {
        let mut jobs_listed = jobs_listed;
        // The sender lives as long as this function.
        let _ = jobs_listed.wait_for(|listed| *listed).await;
        follow::<Pod>(&inner, &namespace, "pods", |event| inner.see_pod(&namespace, event)).await;
    };
    tokio::join!(jobs, pods);
}

/// Feeds every event to `see`. Errors are waited out, with backoff; meanwhile the mirror stays as it is.
async fn follow<K>(inner: &Inner, namespace: &str, kind: &str, mut see: impl FnMut(Event<K>))
where
    K: Resource<Scope = kube::core::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + 'static,
    K::DynamicType: Default,
{
    let config = Config::default().labels(&selector(&inner.installation));
    let mut interrupted = false;
    loop {
        let api: Api<K> = Api::namespaced(inner.client.clone(), namespace);
        let mut events = pin!(watcher(api, config.clone()).default_backoff());
        let mut listing = true;
        loop {
            let next = if listing {
                tokio::time::timeout(LIST_MAX, events.next()).await
            } else {
                Ok(events.next().await)
            };
            match next {
                Ok(Some(Ok(event))) => {
                    listing = matches!(event, Event::Init | Event::InitApply(_));
                    interrupted &= listing;
                    see(event);
                }
                Ok(Some(Err(error))) if interrupted => debug!(namespace, kind, %error, "still no watch"),
                Ok(Some(Err(error))) => {
                    warn!(namespace, kind, %error, "the watch is interrupted; needed are list and watch");
                    interrupted = true;
                }
                Ok(None) => break,
                Err(_over) => {
                    warn!(namespace, kind, "the list takes too long, beginning anew");
                    break;
                }
            }
        }
    }
}

impl Inner {
    fn see_job(&self, namespace: &str, event: Event<Job>) {
        // What is no Job of a run has our labels by mistake.
        let of = |job: &Job, see: &mut dyn FnMut(JobFacts)| JobFacts::of(job).into_iter().for_each(see);
        self.update(|mirror| match event {
            Event::Init => mirror.begin_jobs(namespace),
            Event::InitApply(job) => of(&job, &mut |facts| mirror.list_job(facts)),
            Event::InitDone => mirror.end_jobs(namespace),
            Event::Apply(job) => of(&job, &mut |facts| mirror.apply_job(facts)),
            Event::Delete(job) => of(&job, &mut |facts| mirror.delete_job(&facts)),
        });
    }

    fn see_pod(&self, namespace: &str, event: Event<Pod>) {
        let of = |pod: &Pod, see: &mut dyn FnMut(PodFacts)| PodFacts::of(pod).into_iter().for_each(see);
        self.update(|mirror| match event {
            Event::Init => mirror.begin_pods(namespace),
            Event::InitApply(pod) => of(&pod, &mut |facts| mirror.list_pod(facts)),
            Event::InitDone => mirror.end_pods(namespace),
            Event::Apply(pod) => of(&pod, &mut |facts| mirror.apply_pod(facts)),
            Event::Delete(pod) => of(&pod, &mut |facts| mirror.delete_pod(facts)),
        });
    }
}
