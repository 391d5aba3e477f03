//! What adds work from outside of PostgreSQL, and so has to be watched by the dispatcher.

pub mod kafka;
pub mod scaled_job;

use tokio::sync::watch;

use self::kafka::CredentialsFolder;
use self::scaled_job::ScaledJobs;
use crate::store::{KafkaStore, ScaledJobStore, StoreError};

/// Settings of what is watched.
#[derive(Debug, Clone, Default)]
pub struct Triggers {
    /// Where the credentials of Kafka triggers are.
    pub kafka_credentials: CredentialsFolder,
    /// Which ScaledJobs of KEDA to serve; none = none.
    pub scaled_jobs: Option<ScaledJobs>,
}

impl Triggers {
    /// Watches for as long as the session lasts; returns why it broke.
    pub(crate) async fn serve<S: KafkaStore + ScaledJobStore>(
        &self,
        store: &S,
        seen: watch::Receiver<kafka::Seen>,
    ) -> StoreError {
        let scaled_jobs = async {
            match &self.scaled_jobs {
                Some(which) => scaled_job::serve(store, which, &self.kafka_credentials).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // In this order, so that a simulation replays.
            biased;
            error = kafka::serve(store, &self.kafka_credentials, seen) => error,
            error = scaled_jobs => error,
        }
    }
}
