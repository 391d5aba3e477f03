//! PostgreSQL's side: one session that leads, listens, and calls the functions of the schema `pgbatch`.
//!
//! The dispatcher touches no table. All its statements go through the one session that holds the leader lock, so a
//! dispatcher that lost its session has lost its voice too: PostgreSQL itself fences it.

mod connect;
mod counts;
mod doorbell;
mod kafka;
mod scaled_job;
mod session;
mod settings;
pub(crate) mod silence;
mod tls;

use std::future::ready;

use pgbatch_core::notice::NextAttempt;
use pgbatch_core::plan::{Claim, Note, Permit, Ready, Started};
use pgbatch_core::run::{Outcome, RunSpec};
use pgbatch_core::snapshot::{RunId, StoreView};

use crate::trace::RunTrace;
use crate::web::Health;

pub(crate) use connect::with_causes;
pub use connect::{CancelTls, ConnectError, DatabaseUrl, connect};
pub use counts::{Counts, QueueCounts, TriggerCounts};
pub use kafka::{
    CombinedTrigger, GroupLag, KafkaStore, KafkaTrigger, OpenItems, PartitionExtent, Records, Taken,
};
pub use scaled_job::{Applied, AppliedNote, ScaledJobStore};
pub(crate) use session::CONTRACT_VERSION;
pub use session::{ClosedBatch, PostgresSession, StoreError};
pub use tls::TlsError;
pub(crate) use tls::trusting_the_system;

/// All routines of the schema `pgbatch` that a dispatcher calls: what `pgbatch.grant_dispatcher()` grants. A test of the SQL
/// compares the two.
pub(crate) const FUNCTIONS: [&str; 25] = [
    "await_lead",
    "claim",
    "claim_next",
    "contract_version",
    "doorbell_seq",
    "finish_runs",
    "kafka_items",
    "kafka_triggers",
    "next_attempts",
    "note_kafka",
    "note_runs",
    "note_template",
    "observe",
    "observe_counts",
    "over_runs",
    "prune",
    "ready_runs",
    "run_specs",
    "run_traces",
    "start_runs",
    "take_lag",
    "take_records",
    "try_lead",
    "unchecked_templates",
    "wait",
];

/// Where sessions come from.
pub trait Database: Send + Sync {
    /// What leads.
    type Session: Session;

    /// Which database, for people; nothing secret.
    fn target(&self) -> String;

    /// Connects, waits until this dispatcher leads (and says so to `health`), and listens. The first [`Store::observe`] after it is the
    /// catch-up read: whatever was committed before is seen by it, whatever comes later rings.
    ///
    /// # Errors
    /// No server, no extension, another contract.
    fn lead(&self, health: &Health) -> impl Future<Output = Result<Self::Session, StoreError>> + Send;
}

/// The session of the leading dispatcher: what lasts as long as the connection.
pub trait Session: Store + KafkaStore + ScaledJobStore {
    /// The identity of this pgbatch: labels its Jobs, as two databases may share a namespace.
    fn installation(&self) -> &str;

    /// Ends when somebody committed work, or when the session ended.
    fn rung(&self) -> impl Future<Output = ()> + Send;

    /// Ends with the session.
    fn closed(&self) -> impl Future<Output = ()> + Send;
}

/// The functions of the schema `pgbatch` that the dispatcher calls. All but the reading ones say the session's epoch, and
/// PostgreSQL refuses one that is over. Each may be called twice with the same arguments: the second changes nothing.
pub trait Store: Send + Sync {
    /// Reads the world: open work, live runs, and the policy of the queues in `also`.
    ///
    /// # Errors
    /// The session broke, or the answer is of another version.
    fn observe(&self, also: &[String]) -> impl Future<Output = Result<StoreView, StoreError>> + Send;

    /// What a scrape shows that only PostgreSQL knows; none where it has an extension that is too old to tell.
    ///
    /// # Errors
    /// The session broke.
    fn observe_counts(&self) -> impl Future<Output = Result<Option<Counts>, StoreError>> + Send {
        ready(Ok(None))
    }

    /// Claims items; what was claimed by somebody else or withdrawn meanwhile is left out.
    ///
    /// # Errors
    /// The session broke.
    fn claim(&self, claims: &[Claim]) -> impl Future<Output = Result<Vec<RunSpec>, StoreError>> + Send;

    /// Claims what has come since the last [`Store::observe`], as far as these permits go.
    ///
    /// # Errors
    /// The session broke.
    fn claim_next(&self, permits: &[Permit])
    -> impl Future<Output = Result<Vec<RunSpec>, StoreError>> + Send;

    /// What the Jobs of these live runs need: for runs that were claimed and never started.
    ///
    /// # Errors
    /// The session broke.
    fn run_specs(&self, runs: &[RunId]) -> impl Future<Output = Result<Vec<RunSpec>, StoreError>> + Send;

    /// Which of these runs have ended, or never were.
    ///
    /// # Errors
    /// The session broke.
    fn over_runs(&self, runs: &[RunId]) -> impl Future<Output = Result<Vec<RunId>, StoreError>> + Send;

    /// Records that the first containers of these runs started.
    ///
    /// # Errors
    /// The session broke.
    fn start_runs(&self, started: &[Started]) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Records why runs do not start.
    ///
    /// # Errors
    /// The session broke.
    fn note_runs(&self, notes: &[Note]) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Records whether pods of these runs have the conditions by which their queues count pending runs.
    ///
    /// # Errors
    /// The session broke.
    fn ready_runs(&self, ready: &[Ready]) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Records how these runs ended; returns the batches that ended with them.
    ///
    /// # Errors
    /// The session broke.
    fn finish_runs(
        &self,
        outcomes: &[Outcome],
    ) -> impl Future<Output = Result<Vec<ClosedBatch>, StoreError>> + Send;

    /// What comes after those of these runs that have ended and did not succeed; nothing where PostgreSQL has an extension that
    /// is too old to tell.
    ///
    /// # Errors
    /// The session broke.
    fn next_attempts(
        &self,
        _runs: &[RunId],
    ) -> impl Future<Output = Result<Vec<NextAttempt>, StoreError>> + Send {
        ready(Ok(Vec::new()))
    }

    /// Of these runs those whose batch was enqueued in a trace; none where PostgreSQL has an extension that is too old to know.
    ///
    /// # Errors
    /// The session broke.
    fn run_traces(&self, _runs: &[RunId]) -> impl Future<Output = Result<Vec<RunTrace>, StoreError>> + Send {
        ready(Ok(Vec::new()))
    }

    /// Deletes some of what is older than its queue's `retain`.
    ///
    /// # Errors
    /// The session broke.
    fn prune(&self) -> impl Future<Output = Result<(), StoreError>> + Send;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::FUNCTIONS;

    #[test]
    fn the_functions_are_those_that_are_called() {
        let sources = [
            include_str!("doorbell.rs"),
            include_str!("kafka.rs"),
            include_str!("session.rs"),
            include_str!("settings.rs"),
        ];
        let mut called = BTreeSet::new();
        for line in sources.iter().flat_map(|source| source.lines()) {
            if line.trim_start().starts_with("//") {
                continue;
            }
            for (at, _) in line.match_indices("pgbatch.") {
                let rest = &line[at + "pgbatch.".len()..];
                let name: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
                if rest[name.len()..].starts_with('(') {
                    called.insert(name);
                }
            }
        }
        assert_eq!(called, FUNCTIONS.map(str::to_owned).into());
    }
}
