//! A real API server.
//!
//! Requests are sent by hand, as kube's own ones drop the headers of an answer: how long an overloaded API server asks
//! to be left alone is in `Retry-After`, and its body is then a line of text.

use std::fmt::Debug;
use std::future::ready;

use futures_util::{Stream, StreamExt, stream};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{self as core, Pod};
use kube::api::{
    DeleteParams, GetParams, ListParams, ObjectList, PostParams, Preconditions, WatchEvent, WatchParams,
};
use kube::client::Body;
use kube::core::request::Error as BuildError;
use kube::core::response::StatusDetails;
use kube::core::{NamespaceResourceScope, Request, Status};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Config, Event, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::facts::BlockedFacts;
use super::job_api::{JobApi, Watched};
use super::openings::Openings;

/// A real API server.
pub struct ApiServer {
    client: Client,
    openings: Openings,
}

impl ApiServer {
    /// Speaks through `client`.
    pub(super) fn new(client: Client) -> Self {
        let openings = Openings::default();
        Self { client: openings.of_client(client), openings }
    }

    /// The body of the answer to a request.
    async fn send(&self, request: Result<http::Request<Vec<u8>>, BuildError>) -> kube::Result<Vec<u8>> {
        let request = request.map_err(kube::Error::BuildRequest)?;
        let response = self.client.send(request.map(Body::from)).await?;
        let code = response.status();
        let retry_after =
            response.headers().get("retry-after").and_then(|seconds| seconds.to_str().ok()?.parse().ok());
        let body = response.into_body().collect_bytes().await?;
        if code.is_success() {
            return Ok(body.into());
        }
        Err(kube::Error::Api(refusal(code.as_u16(), &body, retry_after.unwrap_or(0)).boxed()))
    }

    fn watch<K>(
        &self,
        namespace: &str,
        config: Config,
    ) -> impl Stream<Item = watcher::Result<Event<K>>> + Send + use<K>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug + Send + 'static,
        K::DynamicType: Default,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        watcher(api, config).default_backoff()
    }
}

/// Watches events for ever, from no moment on: each watch begins with all that there are. The API server keeps no cache of events
/// and sends no bookmarks of them, so a moment to go on from would soon be older than what etcd remembers, and the answer to that
/// is a list, every ten minutes, of a namespace where nothing happens.
fn watch_events(api: Api<core::Event>) -> impl Stream<Item = watcher::Result<Event<core::Event>>> + Send {
    let watch = move |()| {
        let api = api.clone();
        async move { api.watch(&WatchParams::default().fields(BlockedFacts::FIELDS), "").await }
    };
    stream::repeat(()).then(watch).flat_map(|opened| match opened {
        Ok(events) => {
            let told = stream::iter([Ok(Event::Init), Ok(Event::InitDone)]);
            told.chain(events.filter_map(|event| ready(told_of(event)))).left_stream()
        }
        Err(error) => stream::once(ready(Err(watcher::Error::WatchStartFailed(error)))).right_stream(),
    })
}

fn told_of(event: kube::Result<WatchEvent<core::Event>>) -> Option<watcher::Result<Event<core::Event>>> {
    match event {
        Ok(WatchEvent::Added(event) | WatchEvent::Modified(event)) => Some(Ok(Event::Apply(event))),
        Ok(WatchEvent::Deleted(_) | WatchEvent::Bookmark(_)) => None,
        Ok(WatchEvent::Error(status)) => Some(Err(watcher::Error::WatchError(status))),
        Err(error) => Some(Err(watcher::Error::WatchFailed(error))),
    }
}

fn path<K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>>(namespace: &str) -> String {
    K::url_path(&(), Some(namespace))
}

fn of<K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>>(namespace: &str) -> Request {
    Request::new(path::<K>(namespace))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> kube::Result<T> {
    serde_json::from_slice(body).map_err(kube::Error::SerdeError)
}

/// What an answer that is an error says, in the form that all refusals have.
fn refusal(code: u16, body: &[u8], retry_after_seconds: u32) -> Status {
    let mut status = serde_json::from_slice(body).unwrap_or_else(|_text| {
        // A proxy, or the part of the API server that turns requests away before it reads them.
        let reason = if code == 429 { "TooManyRequests" } else { "" };
        Status::failure(String::from_utf8_lossy(body).trim(), reason).with_code(code)
    });
    let none = StatusDetails {
        name: String::new(),
        group: String::new(),
        kind: String::new(),
        uid: String::new(),
        causes: vec![],
        retry_after_seconds: 0,
    };
    let details = status.details.get_or_insert(none);
    details.retry_after_seconds = details.retry_after_seconds.max(retry_after_seconds);
    status
}

impl JobApi for ApiServer {
    async fn create(&self, namespace: &str, job: &Job) -> kube::Result<()> {
        let body = serde_json::to_vec(job).map_err(kube::Error::SerdeError)?;
        self.send(of::<Job>(namespace).create(&PostParams::default(), body)).await.map(drop)
    }

    async fn get(&self, namespace: &str, name: &str) -> kube::Result<Option<Job>> {
        match self.send(of::<Job>(namespace).get(name, &GetParams::default())).await {
            Ok(body) => parse(&body).map(Some),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn delete(&self, namespace: &str, name: &str, uid: &str) -> kube::Result<()> {
        let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        let parameters = DeleteParams::background().preconditions(preconditions);
        self.send(of::<Job>(namespace).delete(name, &parameters)).await.map(drop)
    }

    async fn list_pods(&self, namespace: &str, selector: &str) -> kube::Result<Vec<Pod>> {
        let body = self.send(of::<Pod>(namespace).list(&ListParams::default().labels(selector))).await?;
        Ok(parse::<ObjectList<Pod>>(&body)?.items)
    }

    async fn create_event(&self, namespace: &str, event: &core::Event) -> kube::Result<()> {
        let body = serde_json::to_vec(event).map_err(kube::Error::SerdeError)?;
        self.send(of::<core::Event>(namespace).create(&PostParams::default(), body)).await.map(drop)
    }

    fn openings(&self, namespace: &str, watched: Watched) -> watch::Receiver<u64> {
        self.openings.of_path(match watched {
            Watched::Jobs => path::<Job>(namespace),
            Watched::Pods => path::<Pod>(namespace),
            Watched::Blocked => path::<core::Event>(namespace),
        })
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
        watch_events(Api::namespaced(self.client.clone(), namespace)).default_backoff()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(code: u16, body: &str, header: u32) -> (u16, String, Option<u32>) {
        let status = refusal(code, body.as_bytes(), header);
        (status.code, status.message, status.details.map(|details| details.retry_after_seconds))
    }

    #[test]
    fn how_long_to_wait_is_read_from_the_header_and_from_the_body() {
        let busy = "Too many requests, please try again later.\n";
        assert_eq!(told(429, busy, 7), (429, busy.trim().to_owned(), Some(7)));
        let body = r#"{"kind":"Status","code":429,"message":"slow","details":{"retryAfterSeconds":9}}"#;
        assert_eq!(told(429, body, 0), (429, "slow".to_owned(), Some(9)));
        assert_eq!(told(429, body, 11), (429, "slow".to_owned(), Some(11)));
        assert_eq!(told(503, "", 0), (503, String::new(), Some(0)));
    }
}
