//! Triggers of `watch_kafka()`: what the dispatcher does for them beside its loop, while it leads.
//!
//! ```text
//!   observe() says "kafka" ─> kafka_triggers() ─> a task for each cluster that they name
//!
//!   look: topics, leaders, ends of logs ─> take_records() ─┐
//!    ^                                                      v
//!    └── a leader has moved, a connection broke,      doorbell of each broker: a long fetch at the ends
//!        triggers or partitions changed                     │  somebody has written
//!                                          take_records() <─┘
//! ```
//! What is taken, and how far, is decided in one transaction of PostgreSQL's. So nothing is lost or doubled by what is
//! forgotten here, and every look begins with nothing but the triggers.
//!
//! The client is our own thin layer on the crate `kafka-protocol`, which encodes and decodes messages and no more. Of the
//! clients that there are, librdkafka (rdkafka) brings OpenSSL, which a static binary with rustls does not want, five threads
//! a client and one client a group, and its fetch wakes a second late unless told otherwise; krafka asks for brokers of 3.9
//! on and changes every week; rskafka and others know no offsets of groups. Ours needs nine kinds of requests, one thread
//! and no buffer, adds five small crates, and its doorbell needs what none of them offers: a fetch that skips what it found.

mod client;
mod cluster;
mod connection;
mod credentials;
mod doorbell;
mod error;
mod granted;
mod group;
mod look;
mod private_key;
mod scram;
mod session;
mod take;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::{AbortHandle, BoxFuture, abortable};
use futures_util::stream::FuturesUnordered;
use pgbatch_core::kafka_options::Options;
use tokio::sync::watch;
use tracing::warn;

use self::cluster::Cluster;
use self::credentials::Access;
pub use self::credentials::CredentialsFolder;
use self::error::CredentialError;
pub(crate) use self::granted::{Grant, Granted, Parameters};
use self::session::Watched;
use crate::metrics::metrics;
use crate::store::{KafkaStore, StoreError};

/// The kind of these triggers, in metrics.
pub(crate) const KAFKA: &str = "kafka";

/// What the loop has seen that triggers of Kafka care for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Changes with them; none = there is none.
    pub(crate) triggers: Option<String>,
    /// How many runs have ended.
    pub(crate) ends: u64,
}

/// A cluster that is being watched; its task ends with the value.
struct Running {
    triggers: watch::Sender<Arc<Vec<Watched>>>,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Watches for as long as the session lasts; returns why it broke. Without triggers it does nothing at all.
pub(crate) async fn serve<S: KafkaStore>(
    store: &S,
    folder: &CredentialsFolder,
    mut seen: watch::Receiver<Seen>,
) -> StoreError {
    let mut clusters: BTreeMap<Access, Running> = BTreeMap::new();
    let mut tasks: FuturesUnordered<BoxFuture<'_, Option<StoreError>>> = FuturesUnordered::new();
    let mut known = None;
    loop {
        let triggers = seen.borrow_and_update().triggers.clone();
        if triggers != known {
            let mut wanted = match by_cluster(store).await {
                Ok(wanted) => wanted,
                Err(error) => return error,
            };
            clusters.retain(|access, running| match wanted.remove(access) {
                Some(triggers) => {
                    running.triggers.send_if_modified(|had| {
                        let differs = **had != triggers;
                        *had = Arc::new(triggers);
                        differs
                    });
                    true
                }
                None => false,
            });
            for (access, triggers) in wanted {
                let (sender, receiver) = watch::channel(Arc::new(triggers));
                let cluster = Cluster::new(store, access.clone(), folder.clone(), receiver, seen.clone());
                let (task, handle) = abortable(cluster.watch());
                tasks.push(Box::pin(async { task.await.ok() }));
                clusters.insert(access, Running { triggers: sender, task: handle });
            }
            known = triggers;
        }
        tokio::select! {
            biased;
            changed = seen.changed() => if changed.is_err() {
                // The loop has ended, and with it whoever polls this.
                std::future::pending::<()>().await;
            },
            Some(ended) = tasks.next(), if !tasks.is_empty() => {
                // One that was aborted has nothing to tell, and the others go on.
                if let Some(error) = ended {
                    return error;
                }
            }
        }
    }
}

/// The triggers, by the cluster and how to get in. One whose options this version does not know is noted and left out.
async fn by_cluster<S: KafkaStore>(store: &S) -> Result<BTreeMap<Access, Vec<Watched>>, StoreError> {
    let mut clusters: BTreeMap<Access, Vec<Watched>> = BTreeMap::new();
    let triggers = store.kafka_triggers().await?;
    metrics().keep_triggers(KAFKA, |name| triggers.iter().any(|trigger| trigger.name == name));
    for trigger in triggers {
        match serde_json::from_value::<Options>(trigger.options.clone()) {
            Ok(options) => {
                let access = Access::new(&trigger.bootstrap_servers, &options);
                clusters.entry(access).or_default().push(Watched { trigger, options });
            }
            Err(error) => {
                let error = CredentialError::from(error).to_string();
                warn!(trigger = trigger.name, %error, "the trigger cannot be watched");
                metrics().trigger(KAFKA, &trigger.name, true);
                store.note_kafka(&trigger.name, Some(&error)).await?;
            }
        }
    }
    Ok(clusters)
}
