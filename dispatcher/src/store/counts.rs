//! What PostgreSQL counts for `/metrics`.

use jiff::Timestamp;
use serde::Deserialize;

/// What `pgbatch.observe_counts()` returns. An extension of the version after may tell more.
#[derive(Debug, Default, Deserialize)]
pub struct Counts {
    /// All queues.
    pub queues: Vec<QueueCounts>,
    /// What adds work by itself.
    pub triggers: Vec<TriggerCounts>,
}

/// The items of a queue by their state; "at least so many" beyond the limit of `pgbatch.peek_queues()`.
#[derive(Debug, Deserialize)]
pub struct QueueCounts {
    /// Its name.
    pub name: String,
    /// That no run has had yet.
    pub pending: i64,
    /// That a run has.
    pub running: i64,
    /// Whose last run failed, and that wait for the next one.
    pub retrying: i64,
    /// That failed for good, of all batches that are kept.
    pub failed: i64,
    /// When the oldest batch was made that has pending items and waits for nothing else.
    pub oldest_pending: Option<Timestamp>,
}

/// A trigger.
#[derive(Debug, Deserialize)]
pub struct TriggerCounts {
    /// What makes it fire, in a word.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Whether it does not do what it should.
    pub is_in_error: bool,
    /// `last_value` of the view `triggers`.
    pub value: Option<f64>,
    /// When its latest batch was made, of those that are kept.
    pub fired_at: Option<Timestamp>,
}
