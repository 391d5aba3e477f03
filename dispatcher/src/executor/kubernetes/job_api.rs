//! What the executor needs of an API server, and nothing else.

use std::future::ready;

use futures_util::{Stream, stream};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{self as core, Pod};
use kube::runtime::watcher::{self, Event};
use tokio::sync::watch;

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// Jobs.
    Jobs,
    /// Pods.
    Pods,
    /// What the Job controller complains of.
    Blocked,
}

/// Jobs and their pods. A selector is one of labels, as kubectl takes it.
pub trait JobApi: Send + Sync + 'static {
    /// Creates a Job.
    ///
    /// # Errors
    /// It was refused, or nobody knows: without an answer it may have been carried out.
    fn create(&self, namespace: &str, job: &Job) -> impl Future<Output = kube::Result<()>> + Send;

    /// Reads a Job; none where there is none of this name.
    ///
    /// # Errors
    /// No answer, or no right to it.
    fn get(&self, namespace: &str, name: &str) -> impl Future<Output = kube::Result<Option<Job>>> + Send;

    /// Deletes the Job of this name if it has this uid and, in the background, its pods with their grace period.
    ///
    /// # Errors
    /// 404 where there is none of this name, 409 where it has another uid; or as [`JobApi::create`].
    fn delete(&self, namespace: &str, name: &str, uid: &str)
    -> impl Future<Output = kube::Result<()>> + Send;

    /// Reads the pods that the selector matches.
    ///
    /// # Errors
    /// As [`JobApi::get`].
    fn list_pods(
        &self,
        namespace: &str,
        selector: &str,
    ) -> impl Future<Output = kube::Result<Vec<Pod>>> + Send;

    /// Writes an Event. It is for people, and best effort: an API server that takes none will do.
    ///
    /// # Errors
    /// As [`JobApi::create`].
    fn create_event(
        &self,
        _namespace: &str,
        _event: &core::Event,
    ) -> impl Future<Output = kube::Result<()>> + Send {
        ready(Ok(()))
    }

    /// Lists and watches Jobs for ever: after an error it goes on, having waited.
    fn watch_jobs(
        &self,
        namespace: &str,
        selector: &str,
    ) -> impl Stream<Item = watcher::Result<Event<Job>>> + Send;

    /// Changes each time that such a watch of the namespace is answered, whether or not an event follows: that is how a
    /// watch which was interrupted is known to go on. Where nobody can tell, its next event does.
    fn openings(&self, _namespace: &str, _watched: Watched) -> watch::Receiver<u64> {
        watch::channel(0).1
    }

    /// As [`JobApi::watch_jobs`], with the events that say why a Job gets no pod: of all Jobs, as events have no labels.
    /// They are for people, and nothing is decided by them: an API server that lets nobody read them will do.
    fn watch_blocked(
        &self,
        _namespace: &str,
    ) -> impl Stream<Item = watcher::Result<Event<core::Event>>> + Send {
        stream::pending()
    }

    /// As [`JobApi::watch_jobs`], with pods.
    fn watch_pods(
        &self,
        namespace: &str,
        selector: &str,
    ) -> impl Stream<Item = watcher::Result<Event<Pod>>> + Send;
}
