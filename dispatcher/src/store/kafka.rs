//! What the dispatcher asks of PostgreSQL about triggers of `watch_kafka()`, and tells it.

use jiff::Timestamp;
use pgbatch_core::scaling::Reading;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_postgres::types::{Json, Type};

use super::session::{Answer, answered, read};
use super::{PostgresSession, StoreError};

/// A trigger of `watch_kafka()`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaTrigger {
    /// Its name.
    pub name: String,
    /// `host:port`, comma-separated.
    pub bootstrap_servers: String,
    /// None: the topics that the group has committed offsets of.
    pub topic: Option<String>,
    /// None: its records become items.
    pub consumer_group: Option<String>,
    /// So much lag is one Job's.
    pub lag_threshold: i64,
    /// As they were given.
    pub options: Value,
    /// When it, or where it goes on, was changed last.
    pub changed_at: Timestamp,
}

/// What a look at a topic has found, for `pgbatch.take_records()`.
#[derive(Debug)]
pub struct Records<'a> {
    /// Kafka's number of the topic.
    pub topic_id: Option<&'a str>,
    /// Its partitions.
    pub partitions: &'a [PartitionExtent],
    /// At the whole topic, and not at what is new only.
    pub is_whole: bool,
    /// Those are all partitions that there are.
    pub is_complete: bool,
    /// Leave what is no whole item.
    pub only_full: bool,
    /// What is wrong with it.
    pub problem: Option<&'a str>,
}

/// The offsets of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PartitionExtent {
    /// Its number.
    pub partition: i32,
    /// The first offset there is.
    pub start: i64,
    /// Behind the last one that can be read.
    pub end: i64,
}

/// What `pgbatch.take_records()` has done.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Taken {
    /// How many items it made.
    pub items: u32,
    /// There is more to take now.
    pub more: bool,
    /// Some records are left that are no whole item.
    pub rest: bool,
    /// What was skipped, in words.
    pub lost: Vec<String>,
}

/// The Jobs that a trigger of a consumer group has, and may have.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenItems {
    /// Its items that have not ended.
    pub open: u32,
    /// Those of them that no run has begun with.
    pub pending: u32,
    /// The queue's `max_parallel`.
    pub most: u32,
    /// The triggers that are one demand with it, itself among them, in their order; none = it is a demand of its own.
    pub combined: Vec<CombinedTrigger>,
}

/// A trigger whose lag is one demand with that of others.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CombinedTrigger {
    /// Its name.
    pub name: String,
    /// What it asked for last; none = it takes no part.
    pub reading: Option<Reading>,
}

/// What a look at a consumer group has found, for `pgbatch.take_lag()`.
#[derive(Debug)]
pub struct GroupLag<'a> {
    /// All of it.
    pub lag: i64,
    /// What of it asks for Jobs; none = it is not known well enough.
    pub reading: Option<Reading>,
    /// How many Jobs are asked for beside those there are.
    pub items: u32,
    /// What is wrong with it.
    pub problem: Option<&'a str>,
}

/// The functions about triggers of `watch_kafka()`. Like those of [`super::Store`], but a refusal of PostgreSQL's does not mean
/// that the session is broken: see [`StoreError::is_refusal`].
pub trait KafkaStore: Send + Sync {
    /// All of them.
    ///
    /// # Errors
    /// The session broke.
    fn kafka_triggers(&self) -> impl Future<Output = Result<Vec<KafkaTrigger>, StoreError>> + Send;

    /// Makes items of records that are in none; none for a trigger that is gone.
    ///
    /// # Errors
    /// The session broke, or PostgreSQL refuses.
    fn take_records(
        &self,
        name: &str,
        records: &Records<'_>,
    ) -> impl Future<Output = Result<Option<Taken>, StoreError>> + Send;

    /// What a trigger of a consumer group has made that has not ended; none for one that is gone.
    ///
    /// # Errors
    /// The session broke, or PostgreSQL refuses.
    fn kafka_items(&self, name: &str) -> impl Future<Output = Result<Option<OpenItems>, StoreError>> + Send;

    /// Notes the lag of a consumer group, and makes items of it.
    ///
    /// # Errors
    /// The session broke, or PostgreSQL refuses.
    fn take_lag(
        &self,
        name: &str,
        found: &GroupLag<'_>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Notes what is wrong with a trigger.
    ///
    /// # Errors
    /// The session broke.
    fn note_kafka(
        &self,
        name: &str,
        error: Option<&str>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

impl KafkaStore for PostgresSession {
    async fn kafka_triggers(&self) -> Result<Vec<KafkaTrigger>, StoreError> {
        let rows = self
            .client
            .query_typed("SELECT pgbatch.kafka_triggers($1)", &[(&self.epoch, Type::INT8)])
            .await
            .map_err(answered("kafka_triggers"))?;
        rows.iter().map(|row| read("kafka_triggers", row.get(0))).collect()
    }

    async fn take_records(&self, name: &str, records: &Records<'_>) -> Result<Option<Taken>, StoreError> {
        let rows = self
            .client
            .query_typed(
                "SELECT pgbatch.take_records($1, $2, $3, $4, $5, $6, $7, $8)",
                &[
                    (&self.epoch, Type::INT8),
                    (&name, Type::TEXT),
                    (&records.topic_id, Type::TEXT),
                    (&Json(records.partitions), Type::JSONB),
                    (&records.is_whole, Type::BOOL),
                    (&records.is_complete, Type::BOOL),
                    (&records.only_full, Type::BOOL),
                    (&records.problem, Type::TEXT),
                ],
            )
            .await
            .map_err(answered("take_records"))?;
        let taken: Option<Answer> = rows.first().and_then(|row| row.get(0));
        taken.map(|taken| read("take_records", taken)).transpose()
    }

    async fn kafka_items(&self, name: &str) -> Result<Option<OpenItems>, StoreError> {
        let rows = self
            .client
            .query_typed(
                "SELECT pgbatch.kafka_items($1, $2)",
                &[(&self.epoch, Type::INT8), (&name, Type::TEXT)],
            )
            .await
            .map_err(answered("kafka_items"))?;
        let items: Option<Answer> = rows.first().and_then(|row| row.get(0));
        items.map(|items| read("kafka_items", items)).transpose()
    }

    async fn take_lag(&self, name: &str, found: &GroupLag<'_>) -> Result<(), StoreError> {
        let GroupLag { lag, reading, items, problem } = found;
        self.client
            .query_typed(
                "SELECT pgbatch.take_lag($1, $2, $3, $4, $5, $6)",
                &[
                    (&self.epoch, Type::INT8),
                    (&name, Type::TEXT),
                    (lag, Type::INT8),
                    (&reading.map(Json), Type::JSONB),
                    (&i32::try_from(*items).unwrap_or(i32::MAX), Type::INT4),
                    (problem, Type::TEXT),
                ],
            )
            .await
            .map(drop)
            .map_err(answered("take_lag"))
    }

    async fn note_kafka(&self, name: &str, error: Option<&str>) -> Result<(), StoreError> {
        self.client
            .query_typed(
                "SELECT pgbatch.note_kafka($1, $2, $3)",
                &[(&self.epoch, Type::INT8), (&name, Type::TEXT), (&error, Type::TEXT)],
            )
            .await
            .map(drop)
            .map_err(answered("note_kafka"))
    }
}
