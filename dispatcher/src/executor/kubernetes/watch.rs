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
use tracing::{debug, info, warn};

use super::facts::{BlockedFacts, JobFacts, PodFacts};
use super::{Inner, JobApi, Watched};
use crate::store::with_causes;

/// A list, with its retries' pauses, that takes longer hangs on a dead connection: it is begun anew. (A watch that
/// has begun looks after itself.)
const LIST_MAX: Duration = Duration::from_secs(120);
/// Before a list that is begun anew because the API server forgot where the watch was.
const ANEW_PAUSE: Duration = Duration::from_secs(1);

/// Keeps the mirror of a namespace, for ever. Jobs are listed before pods, so that the list of pods is known to be
/// complete for the Jobs that had ended.
pub(super) async fn watch_namespace<A: JobApi>(inner: Arc<Inner<A>>, namespace: String) {
    let ours = selector(&inner.installation);
    let (listed, jobs_listed) = watch::channel(false);
    let here = Place { inner: &inner, namespace: &namespace };
    let jobs = here.follow(
        Watched::Jobs,
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
        here.follow(Watched::Pods, open, |event| inner.see_pod(&namespace, event)).await;
    };
    let blocked = here.follow(
        Watched::Blocked,
        || inner.api.watch_blocked(&namespace),
        |event| inner.see_blocked(event),
    );
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
    async fn follow<K, S>(&self, watched: Watched, open: impl Fn() -> S, mut see: impl FnMut(Event<K>))
    where
        S: Stream<Item = watcher::Result<Event<K>>>,
    {
        let mut openings = self.inner.api.openings(self.namespace, watched);
        let mut interrupted = false;
        loop {
            let mut events = pin!(open());
            let mut listing = true;
            loop {
                let next = tokio::select! {
                    // In this order, so that a simulation replays.
                    biased;
                    next = events.next() => next,
                    () = next_opening(&mut openings), if interrupted => {
                        self.go_on(watched, &mut interrupted);
                        continue;
                    }
                    () = tokio::time::sleep(LIST_MAX), if listing => {
                        warn!(namespace = self.namespace, ?watched, "the list takes too long, beginning anew");
                        break;
                    }
                };
                match next {
                    Some(Ok(event)) => {
                        listing = matches!(event, Event::Init | Event::InitApply(_));
                        if interrupted && !listing {
                            self.go_on(watched, &mut interrupted);
                        }
                        see(event);
                    }
                    Some(Err(error)) => {
                        openings.mark_unchanged();
                        self.tell_trouble(watched, &error, interrupted);
                        interrupted = true;
                        if is_start_of_the_past(&error) {
                            tokio::time::sleep(ANEW_PAUSE).await;
                            break;
                        }
                    }
                    None => break,
                }
            }
        }
    }

    fn tell_trouble(&self, watched: Watched, error: &watcher::Error, again: bool) {
        let Self { inner, namespace } = *self;
        // The stream's own errors keep what happened in their causes.
        let error = with_causes(error);
        if again {
            debug!(namespace, ?watched, error, "still no watch");
        } else {
            warn!(namespace, ?watched, error, "the watch is interrupted; needed are list and watch");
        }
        inner.mirror().note_trouble(namespace, watched, Some(error));
    }

    fn go_on(&self, watched: Watched, interrupted: &mut bool) {
        let Self { inner, namespace } = *self;
        *interrupted = false;
        info!(namespace, ?watched, "the watch goes on");
        inner.mirror().note_trouble(namespace, watched, None);
    }
}

/// Ends when such a watch has been answered once more.
async fn next_opening(openings: &mut watch::Receiver<u64>) {
    if openings.changed().await.is_err() {
        // Nobody tells.
        std::future::pending().await
    }
}

/// Whether a watch was to go on from a moment that the API server does not remember. Where it says so in an event, the
/// stream lists anew by itself; where it says so in its answer, the stream would ask for the same moment for ever.
fn is_start_of_the_past(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchStartFailed(kube::Error::Api(status)) if status.code == 410)
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
