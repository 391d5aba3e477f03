//! The dispatchers: the real loop and the real executor, killed and started again.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use pgbatch_core::job_manifest::ManifestContext;
use pgbatch_core::run::RunSpec;
use pgbatch_core::snapshot::{ExecutorView, JobPhase, RunId};
use pgbatch_dispatcher::executor::kubernetes::Kubernetes;
use pgbatch_dispatcher::executor::{Executor, ExecutorError, Executors};
use pgbatch_dispatcher::reconcile::{DispatchError, serve};
use pgbatch_dispatcher::trigger::Triggers;
use pgbatch_dispatcher::web::Health;

use crate::api::Api;
use crate::bugs::Bug;
use crate::laws::Law;
use crate::session::SimulatedDatabase;
use crate::world::World;

/// The namespace of queues that name none.
pub(crate) const NAMESPACE: &str = "own";

/// Dispatches for ever; dies at some polls, and comes back.
pub(crate) async fn host(world: Arc<World>, name: String, dies_at: Option<u64>) {
    let mut dies_at = dies_at;
    loop {
        let within = world.faults.crash_within_polls;
        let drawn = || (within > 0 && !world.is_calm()).then(|| world.between(1..=within));
        let polls = dies_at.take().or_else(drawn);
        let database = SimulatedDatabase { world: world.clone(), host: name.clone() };
        let cluster = SimulatedCluster { world: world.clone(), host: name.clone() };
        let (triggers, health) = (Triggers::default(), Health::new());
        world.tell(&name, || "starts");
        let life = Life { serving: Box::pin(serve(&database, &cluster, &triggers, &health)), polls };
        if let Some(error) = life.await {
            return world.violate(Law::GoesOn, format!("{name} gave up: {error}"));
        }
        world.kills.fetch_add(1, Ordering::Relaxed);
        world.tell(&name, || "is killed");
        let pause = if world.chance(500) { world.millis(1..=50) } else { world.millis(50..=20_000) };
        tokio::time::sleep(pause).await;
    }
}

/// A dispatcher that is killed after so many polls; none: it lives on.
struct Life<F> {
    serving: Pin<Box<F>>,
    polls: Option<u64>,
}

impl<F: Future<Output = DispatchError>> Future for Life<F> {
    /// None: killed.
    type Output = Option<DispatchError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(polls) = &mut self.polls {
            if *polls == 0 {
                return Poll::Ready(None);
            }
            *polls -= 1;
        }
        let polled = self.serving.as_mut().poll(context).map(Some);
        if polled.is_pending() && self.polls == Some(0) {
            return Poll::Ready(None);
        }
        polled
    }
}

/// Where the executors of one dispatcher come from.
struct SimulatedCluster {
    world: Arc<World>,
    host: String,
}

impl Executors for SimulatedCluster {
    type Executor = Watched;

    async fn open(&self, installation: &str) -> Result<Watched, ExecutorError> {
        let context = ManifestContext { installation: installation.to_owned(), ..ManifestContext::default() };
        let taken = Arc::new(Mutex::new(BTreeSet::new()));
        let api = Api { world: self.world.clone(), host: self.host.clone(), taken: taken.clone() };
        let kubernetes = Kubernetes::new(api, NAMESPACE.to_owned(), context);
        Ok(Watched { kubernetes, taken, bug: self.world.bug })
    }
}

/// The real executor; with a planted bug it forgets runs.
struct Watched {
    kubernetes: Kubernetes<Api>,
    taken: Arc<Mutex<BTreeSet<RunId>>>,
    bug: Option<Bug>,
}

impl Executor for Watched {
    fn kind(&self) -> &'static str {
        self.kubernetes.kind()
    }

    fn begin_session(&mut self) {
        self.kubernetes.begin_session();
    }

    fn start(&self, spec: RunSpec) {
        self.kubernetes.start(spec);
    }

    fn stop(&self, run: RunId) {
        self.kubernetes.stop(run);
    }

    fn forget(&self, run: RunId) {
        self.kubernetes.forget(run);
    }

    fn remove(&self, run: RunId) {
        self.kubernetes.remove(run);
    }

    fn watch_namespaces(&self, namespaces: &BTreeSet<String>) -> bool {
        self.kubernetes.watch_namespaces(namespaces)
    }

    fn unsynced(&self) -> Option<String> {
        self.kubernetes.unsynced()
    }

    fn view(&self) -> ExecutorView {
        let mut view = self.kubernetes.view();
        if self.bug == Some(Bug::ForgottenAfter409) {
            for run in self.taken.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                if let Some(job) = view.jobs.get_mut(run) {
                    job.phase = JobPhase::Creating;
                }
            }
        }
        view
    }

    async fn changed(&self) {
        self.kubernetes.changed().await;
    }
}
