//! ScaledJobs of KEDA in the cluster, served as KEDA's operator does: `--scaled-jobs`.
//!
//! ```text
//!   watch ─> apply_scaled_job() ─> queue and triggers in PostgreSQL     and from there on as any other work
//!     │            └─────────────> the condition Ready of its status
//!     └────> keep_scaled_jobs()    those that are gone have no triggers any more
//! ```
//! TriggerAuthentications are looked at for each (see `authentication`), and watched once one is needed.
//!
//! What there is, is in the cluster and in PostgreSQL. So each session begins with a list, and nothing is remembered here but
//! when to try again what was refused.

mod authentication;
mod logins;
mod status;

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::select_all;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Event, watcher};
use pgbatch_core::scaled_job::authentication::references;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use self::authentication::Authentications;
use self::logins::{Login, Logins};
use crate::executor::kubernetes::{KubernetesConfig, KubernetesError, open_client};
use crate::metrics::metrics;
use crate::store::{Applied, ScaledJobStore, StoreError, with_causes};
use crate::trigger::kafka::CredentialsFolder;

/// What was refused is tried again: its table may be there by then. Doubling from the first to the last.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(300);

/// The kind of their triggers, in metrics.
pub(crate) const SCALED_JOB: &str = "scaled_job";

/// What serving them does, whatever they ask for: API group, resource, verbs. Their logins need more, which only some have.
pub(crate) const VERBS: [(&str, &str, &[&str]); 2] =
    [("keda.sh", "scaledjobs", &["list", "watch"]), ("keda.sh", "scaledjobs/status", &["patch"])];

/// Their kind.
pub(crate) fn resource() -> ApiResource {
    let kind = GroupVersionKind::gvk("keda.sh", "v1alpha1", "ScaledJob");
    ApiResource::from_gvk_with_plural(&kind, "scaledjobs")
}

/// Which ScaledJobs to serve.
#[derive(Debug, Clone, Default)]
pub struct ScaledJobs {
    /// In these namespaces; none = the dispatcher's own.
    pub namespaces: Vec<String>,
    /// The namespace of the dispatcher's Jobs, where it is given.
    pub own: Option<String>,
}

/// Serves them for as long as the session lasts; returns why it broke. `folder`: where credentials are, and where those that
/// TriggerAuthentications grant are put.
pub(crate) async fn serve<S: ScaledJobStore>(
    store: &S,
    which: &ScaledJobs,
    folder: &CredentialsFolder,
) -> StoreError {
    let resource = resource();
    let (client, default) = match connect(which).await {
        Ok(found) => found,
        Err(error) => {
            warn!(%error, "ScaledJobs are not served");
            return std::future::pending().await;
        }
    };
    let namespaces =
        if which.namespaces.is_empty() { vec![default.clone()] } else { which.namespaces.clone() };
    let places = namespaces.into_iter().map(|namespace| {
        let api = Api::namespaced_with(client.clone(), &namespace, &resource);
        let (client, own_namespace, folder) = (client.clone(), default.clone(), folder.clone());
        let authentications = Authentications { client, own_namespace, folder, is_needed: false };
        let place =
            Place { store, api, namespace, authentications, known: BTreeMap::new(), again: BTreeMap::new() };
        Box::pin(place.serve())
    });
    select_all(places).await.0
}

async fn connect(which: &ScaledJobs) -> Result<(kube::Client, String), KubernetesError> {
    let config = KubernetesConfig { namespace: which.own.clone(), ..KubernetesConfig::default() };
    open_client(&config).await
}

/// The ScaledJobs of a namespace.
struct Place<'a, S> {
    store: &'a S,
    api: Api<DynamicObject>,
    namespace: String,
    authentications: Authentications,
    /// Those that there are.
    known: BTreeMap<String, DynamicObject>,
    /// When to try again those that were refused, and how long was waited before.
    again: BTreeMap<String, (Instant, Duration)>,
}

impl<S: ScaledJobStore> Place<'_, S> {
    async fn serve(mut self) -> StoreError {
        match self.follow().await {
            Err(error) => error,
            // The stream of a watch does not end.
            Ok(()) => std::future::pending().await,
        }
    }

    async fn follow(&mut self) -> Result<(), StoreError> {
        let mut events = pin!(watcher(self.api.clone(), Config::default()).default_backoff());
        let mut logins = Logins::default();
        let mut is_interrupted = false;
        loop {
            if self.authentications.is_needed && !logins.are_watched() {
                logins = Logins::watch(self.authentications.client.clone(), &self.namespace);
            }
            let due = self.again.values().map(|(at, _)| *at).min();
            let event = tokio::select! {
                biased;
                event = events.next() => event,
                login = logins.next() => {
                    self.log_in(login).await?;
                    continue;
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.try_again().await?;
                    continue;
                }
            };
            match event {
                None => return Ok(()),
                Some(Ok(event)) => {
                    is_interrupted = false;
                    self.see(event).await?;
                }
                Some(Err(error)) if !is_interrupted => {
                    is_interrupted = true;
                    let (namespace, error) = (&self.namespace, with_causes(&error));
                    warn!(namespace, error, "ScaledJobs cannot be watched; needed are list and watch");
                }
                Some(Err(_)) => {}
            }
        }
    }

    /// Takes over again whatever logs in by what has changed.
    async fn log_in(&mut self, changed: Login) -> Result<(), StoreError> {
        let name = match changed {
            Login::One(name) => Some(name),
            Login::All => None,
            Login::Unwatched(error) => {
                let namespace = &self.namespace;
                warn!(
                    namespace,
                    error, "changes of TriggerAuthentications are not noticed; needed are list and watch"
                );
                return Ok(());
            }
        };
        let those = self.known.iter().filter(|(_, object)| logs_in(object, name.as_deref()));
        for name in those.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.apply(&name).await?;
        }
        Ok(())
    }

    async fn see(&mut self, event: Event<DynamicObject>) -> Result<(), StoreError> {
        match event {
            Event::Init => self.known.clear(),
            Event::InitApply(object) => self.learn(object),
            Event::InitDone => {
                self.keep().await?;
                for name in self.known.keys().cloned().collect::<Vec<_>>() {
                    self.apply(&name).await?;
                }
            }
            Event::Apply(object) => {
                let name = object.metadata.name.clone().unwrap_or_default();
                let before = self.known.get(&name).map(manifest);
                self.learn(object);
                match self.known.get(&name).map(manifest) {
                    None => self.keep().await?,
                    // Its status has changed, which is what we write.
                    now if now == before => {}
                    Some(_) => self.apply(&name).await?,
                }
            }
            Event::Delete(object) => {
                self.known.remove(object.metadata.name.as_deref().unwrap_or_default());
                self.keep().await?;
            }
        }
        Ok(())
    }

    /// One that is being deleted is gone: a finalizer of KEDA's may hold it for ever.
    fn learn(&mut self, object: DynamicObject) {
        let name = object.metadata.name.clone().unwrap_or_default();
        match object.metadata.deletion_timestamp {
            Some(_) => self.known.remove(&name),
            None => self.known.insert(name, object),
        };
    }

    async fn keep(&mut self) -> Result<(), StoreError> {
        let names: Vec<String> = self.known.keys().cloned().collect();
        self.again.retain(|name, _| self.known.contains_key(name));
        metrics().keep_triggers(SCALED_JOB, |of| {
            of.split_once('/')
                .is_none_or(|(namespace, name)| namespace != self.namespace || self.known.contains_key(name))
        });
        self.authentications.folder.granted.keep(&self.namespace, &names);
        match self.store.keep_scaled_jobs(&self.namespace, &names).await {
            Err(error) if error.is_refusal() => {
                warn!(namespace = self.namespace, %error, "triggers of ScaledJobs that are gone are still there");
                Ok(())
            }
            kept => kept,
        }
    }

    async fn try_again(&mut self) -> Result<(), StoreError> {
        let now = Instant::now();
        let due = self.again.iter().filter(|(_, (at, _))| *at <= now).map(|(name, _)| name.clone());
        for name in due.collect::<Vec<_>>() {
            self.apply(&name).await?;
        }
        Ok(())
    }

    /// Has PostgreSQL take it over, and writes down in its status what came of it.
    async fn apply(&mut self, name: &str) -> Result<(), StoreError> {
        let Some(object) = self.known.get(name) else { return Ok(()) };
        let mut manifest = manifest(object);
        let found = self.authentications.find(&self.namespace, name, &mut manifest).await;
        let applied = match found {
            Err(refused) => refused,
            Ok(()) => match self.store.apply_scaled_job(&manifest).await {
                Ok(applied) => applied,
                Err(error) if error.is_refusal() => Applied::Refused { error: error.to_string(), hint: None },
                Err(error) => return Err(error),
            },
        };
        let is_refused = matches!(applied, Applied::Refused { .. });
        metrics().trigger(SCALED_JOB, &format!("{}/{name}", self.namespace), is_refused);
        let conditions = status::conditions(&applied);
        let is_as_before = object.data.pointer("/status/conditions") == Some(&conditions);
        let waited = self.again.remove(name).map(|(_, waited)| waited).filter(|_| is_as_before);
        if is_refused {
            let wait = waited.map_or(RETRY_FIRST, |waited| (waited * 2).min(RETRY_LAST));
            self.again.insert(name.to_owned(), (Instant::now() + wait, wait));
        }
        if is_as_before {
            return Ok(());
        }
        let namespace = &self.namespace;
        match &applied {
            Applied::Served { queue, .. } => info!(namespace, name, queue, "the ScaledJob is served"),
            Applied::Refused { error, .. } => warn!(namespace, name, error, "the ScaledJob cannot be served"),
        }
        let patch = Patch::Merge(json!({"status": {"conditions": conditions}}));
        if let Err(error) = self.api.patch_status(name, &PatchParams::default(), &patch).await {
            let error = with_causes(&error);
            warn!(
                namespace,
                name, error, "its status cannot be written; needed is patch on scaledjobs/status"
            );
        }
        Ok(())
    }
}

/// Whether a trigger of it logs in by this TriggerAuthentication; none = by any of the namespace.
fn logs_in(object: &DynamicObject, name: Option<&str>) -> bool {
    let is_it = |login: &str| name.is_none_or(|name| name == login);
    references(&object.data).iter().any(|reference| !reference.is_cluster && is_it(&reference.name))
}

/// What is said in it, without what Kubernetes and KEDA have written down.
fn manifest(object: &DynamicObject) -> Value {
    let metadata = &object.metadata;
    let mut manifest = json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledJob",
        "metadata": {"name": metadata.name, "namespace": metadata.namespace,
            "labels": metadata.labels, "annotations": metadata.annotations},
    });
    for (key, value) in object.data.as_object().into_iter().flatten().filter(|(key, _)| *key != "status") {
        manifest[key] = value.clone();
    }
    manifest
}
