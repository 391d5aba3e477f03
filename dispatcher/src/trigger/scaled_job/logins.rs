//! Tells when a TriggerAuthentication has changed.

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use kube::Client;
use kube::api::{Api, DynamicObject};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Config, Event, watcher};

use super::authentication::resource;
use crate::store::with_causes;

/// What has become of them.
pub(super) enum Login {
    /// This one has changed.
    One(String),
    /// Any of them may have.
    All,
    /// They may not be watched, and why: from now on they are looked at when a ScaledJob changes.
    Unwatched(String),
}

/// Those of a namespace.
#[derive(Default)]
pub(super) struct Logins {
    are_watched: bool,
    events: Option<BoxStream<'static, Login>>,
}

impl Logins {
    /// Watches them.
    pub(super) fn watch(client: Client, namespace: &str) -> Self {
        let api: Api<DynamicObject> = Api::namespaced_with(client, namespace, &resource(false));
        let events =
            watcher(api, Config::default()).default_backoff().filter_map(async |event| match event {
                Ok(Event::Apply(object) | Event::Delete(object)) => {
                    Some(Login::One(object.metadata.name.unwrap_or_default()))
                }
                Ok(Event::InitDone) => Some(Login::All),
                Ok(Event::Init | Event::InitApply(_)) => None,
                Err(error) if is_denied(&error) => Some(Login::Unwatched(with_causes(&error))),
                // It is tried again.
                Err(_) => None,
            });
        Self { are_watched: true, events: Some(events.boxed()) }
    }

    pub(super) fn are_watched(&self) -> bool {
        self.are_watched
    }

    /// The next change. Waits for ever where none are told.
    pub(super) async fn next(&mut self) -> Login {
        let next = match &mut self.events {
            Some(events) => events.next().await,
            None => None,
        };
        if matches!(next, None | Some(Login::Unwatched(_))) {
            self.events = None;
        }
        match next {
            Some(login) => login,
            None => std::future::pending().await,
        }
    }
}

fn is_denied(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error)) = error else {
        return false;
    };
    matches!(error, kube::Error::Api(status) if matches!(status.code, 403 | 404))
}
