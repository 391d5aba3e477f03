//! What the dispatcher tells PostgreSQL about the ScaledJobs of KEDA that it serves.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio_postgres::types::{Json, Type};

use super::session::{answered, read};
use super::{PostgresSession, StoreError};

/// What became of a ScaledJob.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Applied {
    /// It is served.
    Served {
        /// By this queue.
        queue: String,
        /// What is not as it was with KEDA.
        notes: Vec<AppliedNote>,
    },
    /// It cannot be, and nothing has changed.
    Refused {
        /// Why.
        error: String,
        /// What to do about it.
        hint: Option<String>,
    },
}

/// What is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AppliedNote {
    /// `todo`, `changed`, `ignored` or `suggestion`.
    pub what: String,
    /// Which fields.
    pub path: String,
    /// What is different.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The functions about ScaledJobs. Like those of [`super::Store`], but a refusal of PostgreSQL's does not mean that the session
/// is broken: see [`StoreError::is_refusal`].
pub trait ScaledJobStore: Send + Sync {
    /// Takes over a ScaledJob as it is now.
    ///
    /// # Errors
    /// The session broke, or PostgreSQL refuses the call.
    fn apply_scaled_job(&self, manifest: &Value) -> impl Future<Output = Result<Applied, StoreError>> + Send;

    /// Drops the triggers of all but these in a namespace.
    ///
    /// # Errors
    /// The session broke, or PostgreSQL refuses.
    fn keep_scaled_jobs(
        &self,
        namespace: &str,
        names: &[String],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

impl ScaledJobStore for PostgresSession {
    async fn apply_scaled_job(&self, manifest: &Value) -> Result<Applied, StoreError> {
        let rows = self
            .client
            .query_typed(
                "SELECT pgbatch.apply_scaled_job($1, $2)",
                &[(&self.epoch, Type::INT8), (manifest, Type::JSONB)],
            )
            .await
            .map_err(answered("apply_scaled_job"))?;
        let answer = rows.first().map_or_else(|| Json(RawValue::NULL.to_owned()), |row| row.get(0));
        read("apply_scaled_job", answer)
    }

    async fn keep_scaled_jobs(&self, namespace: &str, names: &[String]) -> Result<(), StoreError> {
        self.client
            .query_typed(
                "SELECT pgbatch.keep_scaled_jobs($1, $2, $3)",
                &[(&self.epoch, Type::INT8), (&namespace, Type::TEXT), (&names, Type::TEXT_ARRAY)],
            )
            .await
            .map(drop)
            .map_err(answered("keep_scaled_jobs"))
    }
}
