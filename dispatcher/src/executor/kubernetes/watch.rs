//! The watches of a namespace: the Jobs and the pods of this installation, and what the Job controller complains of.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{self as core, Pod};
use kube::runtime::watcher::{self, Event};
use pgbatch_core::name::selector;
use tokio::sync::watch;
use tracing::{debug, warn};

use super::facts::{BlockedFacts, JobFacts, PodFacts};
use super::{Inner, JobApi};

/// A list, with its retries' pauses, that takes longer hangs on a dead connection: it is begun anew. (A watch that
/// has begun looks after itself.)
const LIST_MAX: Duration = Duration::from_secs(120);

/// Keeps the mirror of a namespace, for ever. Jobs are listed before pods, so that the list of pods is known to be
/// complete for the Jobs that had ended.
pub(super) async fn watch_namespace<A: JobApi>(inner: Arc<Inner<A>>, namespace: String) {
    let ours = selector(&inner.installation);
    let (listed, jobs_listed) = watch::channel(false);
    let here = Place { inner: &inner, namespace: &namespace };
    let jobs = here.follow(
        "jobs",
        || inner.api.watch_jobs(&namespace, &ours),
        |event| {
            if matches!(event, Event::InitDone) {
                listed.send_replace(true);
            }
            inner.see_job(&namespace, event);
        },
    );
    let pods = async {
        let mut jobs_listed = jobs_listed;
        // The sender lives as long as this function.
        let _ = jobs_listed.wait_for(|listed| *listed).await;
        let open = || inner.api.watch_pods(&namespace, &ours);
        here.follow("pods", open, |event| inner.see_pod(&namespace, event)).await;
    };
    let blocked =
        here.follow("events", || inner.api.watch_blocked(&namespace), |event| inner.see_blocked(event));
    tokio::join!(jobs, pods, blocked);
}

/// Whose watches they are, and where.
struct Place<'a, A> {
    inner: &'a Inner<A>,
    namespace: &'a str,
}

impl<A: JobApi> Place<'_, A> {
    /// Feeds every event of the streams that `open` begins to `see`. Errors are waited out by the stream; meanwhile the
    /// mirror stays as it is.
    async fn follow<K, S>(&self, kind: &str, open: impl Fn() -> S, mut see: impl FnMut(Event<K>))
    where
        S: Stream<Item = watcher::Result<Event<K>>>,
    {
        let Self { inner, namespace } = *self;
        let mut interrupted = false;
        loop {
            let mut events = pin!(open());
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
                    Ok(Some(Err(error))) => {
                        inner.mirror().note_trouble(namespace, format!("{kind}: {error}"));
                        if interrupted {
                            debug!(namespace, kind, %error, "still no watch");
                        } else {
                            warn!(namespace, kind, %error, "the watch is interrupted; needed are list and watch");
                        }
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
}

impl<A: JobApi> Inner<A> {
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

    fn see_blocked(&self, event: Event<core::Event>) {
        if let Event::InitApply(event) | Event::Apply(event) = event
            && let Some(facts) = BlockedFacts::of(&event)
        {
            self.update(|mirror| mirror.block_job(facts));
        }
    }
}
