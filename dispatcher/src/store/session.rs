//! The session: lead, listen, call.

use std::sync::Arc;
use std::time::Duration;

use pgbatch_core::plan::{Claim, Started};
use pgbatch_core::run::{Outcome, RunSpec};
use pgbatch_core::snapshot::{RunId, StoreView};
use pgbatch_core::state::BatchState;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_postgres::types::{Json, ToSql};
use tokio_postgres::{Client, Statement};
use tracing::info;

use super::connect::{ConnectError, DatabaseUrl, connect, with_causes};

/// The version of the SQL contract that this dispatcher speaks: what `pgbatch.contract_version()` returns.
const CONTRACT_VERSION: i32 = 1;

/// A standby asks this often whether the lead is free.
const STANDBY_PERIOD: Duration = Duration::from_secs(1);

/// Why a call to PostgreSQL has no answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No session.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A statement failed, or the session broke in it.
    #[error("{call} failed: {}", with_causes(source))]
    Call {
        /// Which function.
        call: &'static str,
        /// What happened.
        source: tokio_postgres::Error,
    },
    /// An answer does not have the shape that this version knows.
    #[error("{call} answered what this version does not understand: {source}")]
    Read {
        /// Which function.
        call: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The database has no pgbatch.
    #[error("the database {target} has no pgbatch; as a user who may: CREATE EXTENSION pgbatch")]
    NotInstalled {
        /// Which database.
        target: String,
    },
    /// The extension speaks another contract.
    #[error(
        "the extension speaks contract {found}, this dispatcher {CONTRACT_VERSION}; \
         update the older of the two (ALTER EXTENSION pgbatch UPDATE)"
    )]
    Contract {
        /// The extension's version.
        found: i32,
    },
}

impl StoreError {
    /// Whether trying again may help without anybody doing anything.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        !matches!(self, Self::Read { .. } | Self::Contract { .. })
    }
}

/// A batch that ended.
#[derive(Debug, Deserialize)]
pub struct ClosedBatch {
    /// Its number.
    pub id: i64,
    /// Its queue.
    pub queue: String,
    /// Its label.
    pub label: Option<String>,
    /// How it ended.
    pub state: BatchState,
}

/// The session of the leading dispatcher.
pub struct Store {
    client: Client,
    driven: watch::Sender<()>,
    doorbell: Arc<Notify>,
    calls: Calls,
    /// The identity of this pgbatch: labels its Jobs, as two databases may share a namespace.
    pub installation: String,
}

/// Prepared once a session: the hot calls are one round trip.
struct Calls {
    observe: Statement,
    claim: Statement,
    run_specs: Statement,
    start_runs: Statement,
    finish_runs: Statement,
}

impl Store {
    /// Connects, waits until this dispatcher leads, and listens. The first [`Store::observe`] after it is the
    /// catch-up read: whatever was committed before LISTEN is seen by it, whatever comes later rings.
    ///
    /// # Errors
    /// No server, no extension, another contract.
    pub async fn lead(url: &DatabaseUrl) -> Result<Self, StoreError> {
        let doorbell = Arc::new(Notify::new());
        let (client, driver) = connect(url, "pgbatch dispatch", doorbell.clone()).await?;
        check_contract(&client, url).await?;
        await_lead(&client).await?;
        client.batch_execute("LISTEN pgbatch").await.map_err(failed("LISTEN"))?;
        let row = client.query_one("SELECT pgbatch.lead()::text", &[]).await.map_err(failed("lead"))?;
        let prepare = async |sql| client.prepare(sql).await.map_err(failed("PREPARE"));
        let calls = Calls {
            observe: prepare("SELECT pgbatch.observe($1)").await?,
            claim: prepare("SELECT pgbatch.claim($1)").await?,
            run_specs: prepare("SELECT pgbatch.run_specs($1)").await?,
            start_runs: prepare("SELECT pgbatch.start_runs($1)").await?,
            finish_runs: prepare("SELECT pgbatch.finish_runs($1)").await?,
        };
        Ok(Self {
            installation: row.get(0),
            client,
            driven: sender_that_closes_with(driver),
            doorbell,
            calls,
        })
    }

    /// Ends when somebody committed work, or when the session ended.
    pub async fn rung(&self) {
        self.doorbell.notified().await;
    }

    /// Ends with the session.
    pub async fn closed(&self) {
        self.driven.closed().await;
    }

    /// Reads the world: open work, live runs, and the policy of the queues in `also`.
    ///
    /// # Errors
    /// The session broke, or the answer is of another version.
    pub async fn observe(&self, also: &[String]) -> Result<StoreView, StoreError> {
        let row = self.client.query_one(&self.calls.observe, &[&also]).await.map_err(failed("observe"))?;
        read("observe", row.get(0))
    }

    /// Claims items; what was claimed by somebody else or withdrawn meanwhile is left out.
    ///
    /// # Errors
    /// The session broke.
    pub async fn claim(&self, claims: &[Claim]) -> Result<Vec<RunSpec>, StoreError> {
        self.rows("claim", &self.calls.claim, &[&Json(claims)]).await
    }

    /// What the Jobs of these live runs need: for runs that were claimed and never started.
    ///
    /// # Errors
    /// The session broke.
    pub async fn run_specs(&self, runs: &[RunId]) -> Result<Vec<RunSpec>, StoreError> {
        self.rows("run_specs", &self.calls.run_specs, &[&runs]).await
    }

    /// Records that the first containers of these runs started.
    ///
    /// # Errors
    /// The session broke.
    pub async fn start_runs(&self, started: &[Started]) -> Result<(), StoreError> {
        self.client
            .execute(&self.calls.start_runs, &[&Json(started)])
            .await
            .map(drop)
            .map_err(failed("start_runs"))
    }

    /// Records how these runs ended; returns the batches that ended with them. Applied twice it changes nothing.
    ///
    /// # Errors
    /// The session broke.
    pub async fn finish_runs(&self, outcomes: &[Outcome]) -> Result<Vec<ClosedBatch>, StoreError> {
        self.rows("finish_runs", &self.calls.finish_runs, &[&Json(outcomes)]).await
    }

    async fn rows<T: DeserializeOwned>(
        &self,
        call: &'static str,
        statement: &Statement,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<T>, StoreError> {
        let rows = self.client.query(statement, parameters).await.map_err(failed(call))?;
        rows.iter().map(|row| read(call, row.get(0))).collect()
    }
}

/// A task of ours drives the connection and ends with it; so does the only receiver of the channel.
fn sender_that_closes_with(driver: JoinHandle<()>) -> watch::Sender<()> {
    let (sender, receiver) = watch::channel(());
    tokio::spawn(async move {
        let _ended = driver.await;
        drop(receiver);
    });
    sender
}

fn failed(call: &'static str) -> impl Fn(tokio_postgres::Error) -> StoreError {
    move |source| StoreError::Call { call, source }
}

fn read<T: DeserializeOwned>(call: &'static str, value: Value) -> Result<T, StoreError> {
    serde_json::from_value(value).map_err(|source| StoreError::Read { call, source })
}

async fn check_contract(client: &Client, url: &DatabaseUrl) -> Result<(), StoreError> {
    let installed = client
        .query_one("SELECT pg_catalog.to_regprocedure('pgbatch.contract_version()') IS NOT NULL", &[])
        .await
        .map_err(failed("to_regprocedure"))?;
    if !installed.get::<_, bool>(0) {
        return Err(StoreError::NotInstalled { target: url.target() });
    }
    let row = client
        .query_one("SELECT pgbatch.contract_version()", &[])
        .await
        .map_err(failed("contract_version"))?;
    match row.get(0) {
        CONTRACT_VERSION => Ok(()),
        found => Err(StoreError::Contract { found }),
    }
}

/// Asks again and again, as a blocked `pg_advisory_lock` would hold a snapshot for as long as it waits, and with it
/// every dead row of the database. Only a standby does this; the leader's way to learn of work polls nothing.
async fn await_lead(client: &Client) -> Result<(), StoreError> {
    let mut told = false;
    loop {
        let row = client.query_one("SELECT pgbatch.try_lead()", &[]).await.map_err(failed("try_lead"))?;
        if row.get(0) {
            return Ok(());
        }
        if !told {
            info!("another dispatcher leads; standing by");
            told = true;
        }
        tokio::time::sleep(STANDBY_PERIOD).await;
    }
}
