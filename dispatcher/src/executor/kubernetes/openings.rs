//! When a watch was answered: nothing else shows that one which was interrupted goes on, until something happens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use kube::Client;
use kube::client::Body;
use tokio::sync::watch;
use tower::{BoxError, service_fn};

/// Counts the answers to requests for watches, by their path.
#[derive(Clone, Default)]
pub(super) struct Openings(Arc<Mutex<BTreeMap<String, watch::Sender<u64>>>>);

impl Openings {
    /// The same client, listened to.
    pub(super) fn of_client(&self, client: Client) -> Client {
        let namespace = client.default_namespace().to_owned();
        let openings = self.clone();
        let send = move |request: http::Request<Body>| {
            let (client, openings) = (client.clone(), openings.clone());
            async move {
                let uri = request.uri();
                let watched =
                    uri.query().is_some_and(|query| query.contains("watch=")).then(|| uri.path().to_owned());
                let response = client.send(request).await.map_err(BoxError::from)?;
                if let Some(path) = watched.filter(|_| response.status().is_success()) {
                    openings.count(path);
                }
                Ok::<_, BoxError>(response)
            }
        };
        Client::new(service_fn(send), namespace)
    }

    /// Changes with each watch of this path that is answered.
    pub(super) fn of_path(&self, path: String) -> watch::Receiver<u64> {
        self.with(path, watch::Sender::subscribe)
    }

    fn count(&self, path: String) {
        self.with(path, |opened| opened.send_modify(|count| *count += 1));
    }

    fn with<T>(&self, path: String, see: impl FnOnce(&watch::Sender<u64>) -> T) -> T {
        let mut paths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        see(paths.entry(path).or_insert_with(|| watch::Sender::new(0)))
    }
}
