//! Each run is a Kubernetes Job.
//!
//! ```text
//!   start, stop, remove ──> requests.rs ──> job_api.rs  ──> watch.rs (Jobs, pods; one namespace each)
//!                               │ answers                      │ events
//!                               └────────> mirror.rs <─────────┘
//!   view, changed <────────────────────────────┘
//!   tell ─────────────────> events.rs  (what people are told of a Job)
//! ```
//! `job_api.rs` is the port; `api_server.rs` is a real API server behind it, the simulation of the tests another.
//! Only the watches say that a Job exists or is gone; an answer to a request says only that it was heard. Idle, there
//! is no request but the open watches.

mod api_server;
mod client;
mod events;
mod facts;
mod fate;
mod gate;
mod job_api;
mod mirror;
mod openings;
mod refusal;
mod requests;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use kube::Config;
use pgbatch_core::job_manifest::{ManifestContext, build};
use pgbatch_core::name::job_name;
use pgbatch_core::notice::Notice;
use pgbatch_core::run::RunSpec;
use pgbatch_core::snapshot::{ExecutorView, RunId};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tracing::{Instrument, info_span, warn};

pub use self::api_server::ApiServer;
use self::events::Events;
use self::gate::Gate;
pub use self::job_api::{JobApi, Watched};
use self::mirror::{Mirror, Question, Target};
use super::Executor;
use crate::clock;

/// What is done in a namespace, as a Role grants it: API group, resource, verbs.
pub(crate) const VERBS: [(&str, &str, &[&str]); 3] = [
    ("batch", "jobs", &["create", "get", "list", "watch", "delete"]),
    ("", "pods", &["list", "watch"]),
    ("", "events", &["watch"]),
];

/// As [`VERBS`], of what it can do without: nobody is told of a Job by Events then.
pub(crate) const DISPENSABLE_VERB: (&str, &str, &str) = ("", "events", "create");

const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Whoever answers for an API server that does not (a proxy, a load balancer) keeps the connection alive. An open watch
/// has a bookmark each minute, and ends after 290 s by itself.
const READ_MAX: Duration = Duration::from_secs(300);

/// Settings.
#[derive(Debug, Clone, Default)]
pub struct KubernetesConfig {
    /// The namespace of queues that name none; none = that of the kubeconfig, or of the pod.
    pub namespace: Option<String>,
    /// The image of this program, for queues of SQL.
    pub sql_image: Option<String>,
    /// The Secret with the connection URL, for queues of SQL.
    pub sql_secret: Option<String>,
    /// The Secrets of roles that write statements of their own, by role.
    pub sql_secrets: BTreeMap<String, String>,
}

impl KubernetesConfig {
    /// What manifests need of it.
    pub(crate) fn manifest_context(&self, installation: &str) -> ManifestContext {
        ManifestContext {
            installation: installation.to_owned(),
            sql_image: self.sql_image.clone(),
            sql_secret: self.sql_secret.clone(),
            sql_secrets: self.sql_secrets.clone(),
        }
    }
}

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// Neither a kubeconfig nor a pod's own access.
    #[error("found no Kubernetes cluster (by KUBECONFIG, ~/.kube/config, or as a pod): {0}")]
    FindCluster(#[source] Box<kube::config::InferConfigError>),
    /// The configuration cannot be used.
    #[error("cannot use the configuration of the Kubernetes cluster: {0}")]
    UseConfig(#[source] Box<kube::Error>),
}

/// The executor of Kubernetes Jobs.
pub struct Kubernetes<A: JobApi = ApiServer> {
    inner: Arc<Inner<A>>,
    tasks: Arc<Tasks>,
    /// The namespace of queues that name none.
    namespace: String,
    context: ManifestContext,
}

/// What the executor, its watches and its requests share.
struct Inner<A> {
    api: Arc<A>,
    installation: String,
    mirror: Mutex<Mirror>,
    changed: Notify,
    gate: Gate,
    events: Events,
    /// What is done later is a task of its own, and that needs the `Arc`.
    myself: Weak<Inner<A>>,
    tasks: Weak<Tasks>,
}

/// The watches and the requests under way: they end with the executor.
#[derive(Debug, Default)]
struct Tasks(Mutex<JoinSet<()>>);

impl Tasks {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}

impl<A: JobApi> std::fmt::Debug for Kubernetes<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kubernetes").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl Kubernetes {
    /// Finds the cluster as kubectl does and begins to watch the own namespace. Waits for no answer.
    ///
    /// # Errors
    /// No cluster is configured, or the configuration cannot be used.
    pub async fn connect(config: &KubernetesConfig, installation: &str) -> Result<Self, KubernetesError> {
        let cluster = Config::infer().await.map_err(|error| KubernetesError::FindCluster(error.into()))?;
        Self::connect_to(cluster, config, installation)
    }

    /// As [`Kubernetes::connect`], to a cluster that has been found.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub fn connect_to(
        cluster: Config,
        config: &KubernetesConfig,
        installation: &str,
    ) -> Result<Self, KubernetesError> {
        let (client, namespace) = client_of(cluster, config)?;
        Ok(Self::new(ApiServer::new(client), namespace, config.manifest_context(installation)))
    }
}

/// A client of the cluster that kubectl would find, and the own namespace. Waits for no answer.
///
/// # Errors
/// No cluster is configured, or the configuration cannot be used.
pub(crate) async fn open_client(
    config: &KubernetesConfig,
) -> Result<(kube::Client, String), KubernetesError> {
    let cluster = Config::infer().await.map_err(|error| KubernetesError::FindCluster(error.into()))?;
    client_of(cluster, config)
}

fn client_of(
    mut cluster: Config,
    config: &KubernetesConfig,
) -> Result<(kube::Client, String), KubernetesError> {
    cluster.connect_timeout = Some(CONNECT_MAX);
    cluster.read_timeout = Some(READ_MAX);
    // What is tried again and when is for the plan to know: a client that waits by itself hides it.
    cluster.default_retry = false;
    let agent = concat!("pgbatch/", env!("CARGO_PKG_VERSION"));
    if let (Ok(name), Ok(value)) = ("user-agent".parse(), agent.parse()) {
        cluster.headers.push((name, value));
    }
    let client = client::client(cluster).map_err(|error| KubernetesError::UseConfig(error.into()))?;
    let namespace = config.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    Ok((client, namespace))
}

impl<A: JobApi> Kubernetes<A> {
    /// Begins to watch `namespace`, where the runs of queues that name none go. Waits for no answer.
    #[must_use]
    pub fn new(api: A, namespace: String, context: ManifestContext) -> Self {
        Self::begin(Arc::new(api), namespace, context)
    }

    fn begin(api: Arc<A>, namespace: String, context: ManifestContext) -> Self {
        let tasks = Arc::new(Tasks::default());
        let (events, waiting) = Events::new();
        tasks.spawn(events::send(Arc::clone(&api), waiting));
        let inner = Arc::new_cyclic(|myself| Inner {
            api,
            installation: context.installation.clone(),
            mirror: Mutex::new(Mirror::new(&namespace)),
            changed: Notify::new(),
            gate: Gate::new(),
            events,
            myself: myself.clone(),
            tasks: Arc::downgrade(&tasks),
        });
        let executor = Self { inner, tasks, namespace, context };
        executor.watch(&executor.namespace);
        executor
    }

    fn watch(&self, namespace: &str) {
        if self.inner.mirror().add_namespace(namespace) {
            self.tasks.spawn(watch::watch_namespace(Arc::clone(&self.inner), namespace.to_owned()));
        }
    }

    fn delete(&self, target: Option<Target>) {
        if let Some(target) = target {
            let inner = Arc::clone(&self.inner);
            let span = info_span!("delete", run = target.run, job = target.name);
            self.tasks.spawn(async move { inner.delete(target).await }.instrument(span));
        }
    }
}

impl<A: JobApi> Executor for Kubernetes<A> {
    fn kind(&self) -> &'static str {
        "kubernetes"
    }

    fn watch_namespaces(&self, namespaces: &BTreeSet<String>) -> bool {
        let all: BTreeSet<&String> = namespaces.iter().chain([&self.namespace]).collect();
        let synced = {
            let mut mirror = self.inner.mirror();
            mirror.tell_namespaces();
            all.iter().all(|namespace| mirror.is_synced(namespace))
        };
        for namespace in all {
            self.watch(namespace);
        }
        synced
    }

    fn unsynced(&self) -> Option<String> {
        self.inner.mirror().unsynced()
    }

    /// A watch that fell silent would be behind what others did: everything is listed anew.
    fn begin_session(&mut self) {
        let api = Arc::clone(&self.inner.api);
        *self = Self::begin(api, self.namespace.clone(), self.context.clone());
    }

    fn start(&self, spec: RunSpec) {
        let target = Target {
            run: spec.run,
            namespace: spec.namespace.clone().unwrap_or_else(|| self.namespace.clone()),
            name: job_name(&spec.queue, spec.run),
            uid: None,
            token: Some(spec.token.clone()),
        };
        self.watch(&target.namespace);
        if !self.inner.mirror().begin(&target, &spec.queue) {
            return;
        }
        match build(&spec, &self.context) {
            Ok(job) => {
                let inner = Arc::clone(&self.inner);
                let span = info_span!("create", queue = spec.queue, batch = spec.batch, run = spec.run);
                self.tasks.spawn(async move { inner.create(target, job).await }.instrument(span));
            }
            Err(error) => {
                let message = error.to_string();
                warn!(queue = spec.queue, batch = spec.batch, run = spec.run, message, "no Job can be made");
                self.inner.update(|mirror| {
                    mirror.reject(spec.run, clock::now(), "JobRejected", message);
                });
            }
        }
    }

    fn stop(&self, run: RunId) {
        let mut target = None;
        self.inner.update(|mirror| target = mirror.stop(run));
        self.delete(target);
    }

    fn has_audience(&self) -> bool {
        true
    }

    fn tell(&self, run: RunId, notice: &Notice) {
        if let Some(job) = self.inner.mirror().target(run) {
            self.inner.events.tell(job, notice);
        }
    }

    fn forget(&self, run: RunId) {
        self.inner.mirror().forget(run);
    }

    fn remove(&self, run: RunId) {
        let target = self.inner.mirror().remove(run);
        self.delete(target);
    }

    fn view(&self) -> ExecutorView {
        self.inner.mirror().view()
    }

    async fn changed(&self) {
        self.inner.changed.notified().await;
    }
}

impl<A: JobApi> Inner<A> {
    fn mirror(&self) -> MutexGuard<'_, Mirror> {
        // The mirror is repaired by the next list, whatever a panic left.
        self.mirror.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the mirror, and does what follows from it.
    fn update(&self, change: impl FnOnce(&mut Mirror)) {
        let (changed, questions, news): (bool, Vec<Question>, Vec<_>) = {
            let mut mirror = self.mirror();
            change(&mut mirror);
            (mirror.take_changed(), mirror.take_questions(), mirror.take_news())
        };
        if changed {
            self.changed.notify_one();
        }
        for (job, notice) in news {
            self.events.tell(job, &notice);
        }
        for question in questions {
            if let (Some(inner), Some(tasks)) = (self.myself.upgrade(), self.tasks.upgrade()) {
                tasks.spawn(async move { inner.answer(question).await });
            }
        }
    }
}
