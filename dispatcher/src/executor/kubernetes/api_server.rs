//! A real API server.

use std::fmt::Debug;

use futures_util::Stream;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{self as core, Pod};
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Config, Event, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use super::facts::BlockedFacts;
use super::job_api::JobApi;

/// A real API server.
pub struct ApiServer(Client);

impl ApiServer {
    /// Speaks through `client`.
    pub(super) fn new(client: Client) -> Self {
        Self(client)
    }

    fn jobs(&self, namespace: &str) -> Api<Job> {
        Api::namespaced(self.0.clone(), namespace)
    }

    fn watch<K>(
        &self,
        namespace: &str,
        config: Config,
    ) -> impl Stream<Item = watcher::Result<Event<K>>> + Send + use<K>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + 'static,
        K::DynamicType: Default,
    {
        let api: Api<K> = Api::namespaced(self.0.clone(), namespace);
        watcher(api, config).default_backoff()
    }
}

impl JobApi for ApiServer {
    async fn create(&self, namespace: &str, job: &Job) -> kube::Result<()> {
        self.jobs(namespace).create(&PostParams::default(), job).await.map(drop)
    }

    async fn get(&self, namespace: &str, name: &str) -> kube::Result<Option<Job>> {
        self.jobs(namespace).get_opt(name).await
    }

    async fn delete(&self, namespace: &str, name: &str, uid: &str) -> kube::Result<()> {
        let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        let parameters = DeleteParams::background().preconditions(preconditions);
        self.jobs(namespace).delete(name, &parameters).await.map(drop)
    }

    async fn list_pods(&self, namespace: &str, selector: &str) -> kube::Result<Vec<Pod>> {
        let pods: Api<Pod> = Api::namespaced(self.0.clone(), namespace);
        Ok(pods.list(&ListParams::default().labels(selector)).await?.items)
    }

    fn watch_jobs(
        &self,
        namespace: &str,
        selector: &str,
    ) -> impl Stream<Item = watcher::Result<Event<Job>>> + Send {
        self.watch(namespace, Config::default().labels(selector))
    }

    fn watch_pods(
        &self,
        namespace: &str,
        selector: &str,
    ) -> impl Stream<Item = watcher::Result<Event<Pod>>> + Send {
        self.watch(namespace, Config::default().labels(selector))
    }
    fn watch_blocked(
        &self,
        namespace: &str,
    ) -> impl Stream<Item = watcher::Result<Event<core::Event>>> + Send {
        self.watch(namespace, Config::default().fields(BlockedFacts::FIELDS))
    }
}
