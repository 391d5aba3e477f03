//! The session: lead, listen, call.

use std::sync::Arc;
use std::time::Duration;

use pgbatch_core::notice::NextAttempt;
use pgbatch_core::plan::{Claim, Note, Permit, Ready, Started};
use pgbatch_core::run::{Outcome, RunSpec};
use pgbatch_core::snapshot::{RunId, StoreView};
use pgbatch_core::state::BatchState;
use pgbatch_core::template;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_postgres::types::{Json, ToSql};
use tokio_postgres::{Client, Statement};
use tracing::{info, warn};

use super::connect::{ConnectError, DatabaseUrl, connect, with_causes};
use super::counts::Counts;
use super::doorbell::Doorbell;
use super::settings::settle;
use super::{Database, Session, Store};
use crate::metrics::metrics;
use crate::trace::{RunTrace, traces};
use crate::web::Health;

/// The version of the SQL contract that this dispatcher speaks: what `pgbatch.contract_version()` returns.
pub(crate) const CONTRACT_VERSION: i32 = 2;

/// Without the library, a standby asks this often whether the lead is free.
const STANDBY_PERIOD: Duration = Duration::from_secs(1);

/// Why a call to PostgreSQL has no answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No session.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A statement failed, or the session broke in it.
    #[error("{call} failed: {}", with_causes(source.as_ref()))]
    Call {
        /// Which function.
        call: &'static str,
        /// What happened.
        source: Box<dyn std::error::Error + Send + Sync>,
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

    /// Whether PostgreSQL has answered, and said no; and not because another dispatcher leads.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        let Self::Call { source, .. } = self else { return false };
        let error =
            source.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::as_db_error);
        error.is_some_and(|e| {
            *e.code() != tokio_postgres::error::SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE
                && !matches!(e.severity(), "FATAL" | "PANIC")
        })
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
pub struct PostgresSession {
    pub(super) client: Client,
    driven: watch::Sender<()>,
    rung: Arc<Notify>,
    doorbell: Option<Doorbell>,
    calls: Calls,
    /// Counts the leaders: PostgreSQL refuses what a dispatcher says whose epoch is over.
    pub(super) epoch: i64,
    /// The identity of this pgbatch: labels its Jobs, as two databases may share a namespace.
    installation: String,
}

/// Prepared once a session: the hot calls are one round trip.
struct Calls {
    observe: Statement,
    /// None: it is of the version before.
    observe_counts: Option<Statement>,
    claim: Statement,
    claim_next: Statement,
    run_specs: Statement,
    over_runs: Statement,
    start_runs: Statement,
    note_runs: Statement,
    ready_runs: Statement,
    finish_runs: Statement,
    /// Likewise.
    next_attempts: Option<Statement>,
    /// Likewise; and where nobody wants traces, nobody asks.
    run_traces: Option<Statement>,
    prune: Statement,
}

/// What `pgbatch.try_lead()` says to the one who leads.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lead {
    installation: String,
    epoch: i64,
}

impl Database for DatabaseUrl {
    type Session = PostgresSession;

    fn target(&self) -> String {
        Self::target(self)
    }

    async fn lead(&self, health: &Health) -> Result<PostgresSession, StoreError> {
        let rung = Arc::new(Notify::new());
        let (client, driver) = connect(self, "pgbatch dispatch", rung.clone()).await?;
        settle(&client).await.map_err(answered("set_config"))?;
        check_contract(&client, self).await?;
        let Lead { installation, epoch } = await_lead(&client, health).await?;
        let doorbell = if has(&client, "pgbatch.wait(bigint, bigint)").await? {
            Some(Doorbell::arm(self, rung.clone()).await?)
        } else {
            // Installed without the library: NOTIFY is the doorbell.
            client.batch_execute("LISTEN pgbatch").await.map_err(answered("LISTEN"))?;
            None
        };
        info!(epoch, doorbell = if doorbell.is_some() { "shared memory" } else { "NOTIFY" }, "leading");
        metrics().lead_taken(epoch, if doorbell.is_some() { "shared_memory" } else { "notify" });
        let prepare = async |sql| client.prepare(sql).await.map_err(answered("PREPARE"));
        // What the version before has not.
        let prepare_new = async |routine, sql| match has(&client, routine).await? {
            true => prepare(sql).await.map(Some),
            false => Ok(None),
        };
        let calls = Calls {
            observe: prepare("SELECT pgbatch.observe($1, $2)").await?,
            observe_counts: prepare_new("pgbatch.observe_counts()", "SELECT pgbatch.observe_counts()")
                .await?,
            claim: prepare("SELECT pgbatch.claim($1, $2)").await?,
            claim_next: prepare("SELECT pgbatch.claim_next($1, $2)").await?,
            run_specs: prepare("SELECT pgbatch.run_specs($1)").await?,
            over_runs: prepare("SELECT pgbatch.over_runs($1, $2)").await?,
            start_runs: prepare("SELECT pgbatch.start_runs($1, $2)").await?,
            note_runs: prepare("SELECT pgbatch.note_runs($1, $2)").await?,
            ready_runs: prepare("SELECT pgbatch.ready_runs($1, $2)").await?,
            finish_runs: prepare("SELECT pgbatch.finish_runs($1, $2)").await?,
            next_attempts: prepare_new("pgbatch.next_attempts(bigint[])", "SELECT pgbatch.next_attempts($1)")
                .await?,
            run_traces: match traces() {
                Some(_) => {
                    prepare_new("pgbatch.run_traces(bigint[])", "SELECT pgbatch.run_traces($1)").await?
                }
                None => None,
            },
            prune: prepare("SELECT pgbatch.prune($1)").await?,
        };
        Ok(PostgresSession {
            installation,
            epoch,
            client,
            driven: sender_that_closes_with(driver),
            rung,
            doorbell,
            calls,
        })
    }
}

impl Session for PostgresSession {
    fn installation(&self) -> &str {
        &self.installation
    }

    async fn rung(&self) {
        self.rung.notified().await;
    }

    async fn closed(&self) {
        let Some(doorbell) = &self.doorbell else { return self.driven.closed().await };
        tokio::select! {
            () = self.driven.closed() => {}
            () = doorbell.disarmed() => {}
        }
    }
}

impl Store for PostgresSession {
    async fn observe(&self, also: &[String]) -> Result<StoreView, StoreError> {
        if self.doorbell.is_none() {
            self.check_templates().await?;
        }
        let row = self
            .client
            .query_one(&self.calls.observe, &[&self.epoch, &also])
            .await
            .map_err(answered("observe"))?;
        read("observe", row.get(0))
    }

    async fn observe_counts(&self) -> Result<Option<Counts>, StoreError> {
        let Some(statement) = &self.calls.observe_counts else { return Ok(None) };
        let row = self.client.query_one(statement, &[]).await.map_err(answered("observe_counts"))?;
        read("observe_counts", row.get(0)).map(Some)
    }

    async fn claim(&self, claims: &[Claim]) -> Result<Vec<RunSpec>, StoreError> {
        self.rows("claim", &self.calls.claim, &[&self.epoch, &Json(claims)]).await
    }

    async fn claim_next(&self, permits: &[Permit]) -> Result<Vec<RunSpec>, StoreError> {
        self.rows("claim_next", &self.calls.claim_next, &[&self.epoch, &Json(permits)]).await
    }

    async fn run_specs(&self, runs: &[RunId]) -> Result<Vec<RunSpec>, StoreError> {
        self.rows("run_specs", &self.calls.run_specs, &[&runs]).await
    }

    async fn start_runs(&self, started: &[Started]) -> Result<(), StoreError> {
        self.run("start_runs", &self.calls.start_runs, &[&self.epoch, &Json(started)]).await
    }

    async fn note_runs(&self, notes: &[Note]) -> Result<(), StoreError> {
        self.run("note_runs", &self.calls.note_runs, &[&self.epoch, &Json(notes)]).await
    }

    async fn ready_runs(&self, ready: &[Ready]) -> Result<(), StoreError> {
        self.run("ready_runs", &self.calls.ready_runs, &[&self.epoch, &Json(ready)]).await
    }

    async fn over_runs(&self, runs: &[RunId]) -> Result<Vec<RunId>, StoreError> {
        let rows = self
            .client
            .query(&self.calls.over_runs, &[&self.epoch, &runs])
            .await
            .map_err(answered("over_runs"))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    async fn next_attempts(&self, runs: &[RunId]) -> Result<Vec<NextAttempt>, StoreError> {
        let Some(statement) = &self.calls.next_attempts else { return Ok(Vec::new()) };
        self.rows("next_attempts", statement, &[&runs]).await
    }

    async fn run_traces(&self, runs: &[RunId]) -> Result<Vec<RunTrace>, StoreError> {
        let Some(statement) = &self.calls.run_traces else { return Ok(Vec::new()) };
        self.rows("run_traces", statement, &[&runs]).await
    }

    async fn prune(&self) -> Result<(), StoreError> {
        self.run("prune", &self.calls.prune, &[&self.epoch]).await
    }

    async fn finish_runs(&self, outcomes: &[Outcome]) -> Result<Vec<ClosedBatch>, StoreError> {
        self.rows("finish_runs", &self.calls.finish_runs, &[&self.epoch, &Json(outcomes)]).await
    }
}

impl PostgresSession {
    /// Without the library, PostgreSQL cannot check the Job templates that it is given.
    async fn check_templates(&self) -> Result<(), StoreError> {
        let rows = self
            .client
            .query("SELECT * FROM pgbatch.unchecked_templates($1)", &[&self.epoch])
            .await
            .map_err(answered("unchecked_templates"))?;
        for row in rows {
            let (queue, Json(template)): (String, Answer) = (row.get(0), row.get(1));
            let problem = template_problem(template.get());
            if let Some(problem) = &problem {
                warn!(queue, problem, "the queue starts nothing");
            }
            self.client
                .execute(
                    "SELECT pgbatch.note_template($1, $2, $3, $4)",
                    &[&self.epoch, &queue, &Json(template), &problem],
                )
                .await
                .map_err(answered("note_template"))?;
        }
        Ok(())
    }

    async fn run(
        &self,
        call: &'static str,
        statement: &Statement,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<(), StoreError> {
        self.client.execute(statement, parameters).await.map(drop).map_err(answered(call))
    }

    async fn rows<T: DeserializeOwned>(
        &self,
        call: &'static str,
        statement: &Statement,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<T>, StoreError> {
        let rows = self.client.query(statement, parameters).await.map_err(answered(call))?;
        rows.iter().map(|row| read(call, row.get(0))).collect()
    }
}

/// What is wrong with a Job template, in the words of the library.
fn template_problem(template: &str) -> Option<String> {
    let problem = match serde_json::from_str(template) {
        Ok(template) => template::check(&template).err()?.into_iter().next()?,
        // Deeper than can be read.
        Err(error) => template::Problem { path: "$".to_owned(), message: error.to_string() },
    };
    Some(problem.told())
}

/// A task of ours drives the connection and ends with it; so does the only receiver of the channel.
pub(super) fn sender_that_closes_with(driver: JoinHandle<()>) -> watch::Sender<()> {
    let (sender, receiver) = watch::channel(());
    tokio::spawn(async move {
        let _ended = driver.await;
        drop(receiver);
    });
    sender
}

/// A call of PostgreSQL has been answered, for its `map_err`: it is counted, and an error says which call it was.
pub(super) fn answered(call: &'static str) -> impl Fn(tokio_postgres::Error) -> StoreError {
    metrics().sql_call(call);
    move |source| {
        metrics().sql_call_failure(call);
        StoreError::Call { call, source: source.into() }
    }
}

/// JSON as PostgreSQL wrote it. Not a `Value`, which is not made of every JSON: its numbers and its depth are bounded.
pub(super) type Answer = Json<Box<RawValue>>;

pub(super) fn read<T: DeserializeOwned>(call: &'static str, Json(answer): Answer) -> Result<T, StoreError> {
    serde_json::from_str(answer.get()).map_err(|source| StoreError::Read { call, source })
}

async fn has(client: &Client, routine: &str) -> Result<bool, StoreError> {
    let row = client
        .query_one("SELECT pg_catalog.to_regprocedure($1) IS NOT NULL", &[&routine])
        .await
        .map_err(answered("to_regprocedure"))?;
    Ok(row.get(0))
}

async fn check_contract(client: &Client, url: &DatabaseUrl) -> Result<(), StoreError> {
    if !has(client, "pgbatch.contract_version()").await? {
        return Err(StoreError::NotInstalled { target: url.target() });
    }
    let row = client
        .query_one("SELECT pgbatch.contract_version()", &[])
        .await
        .map_err(answered("contract_version"))?;
    match row.get(0) {
        CONTRACT_VERSION => Ok(()),
        found => Err(StoreError::Contract { found }),
    }
}

/// Takes the lead, or sleeps in PostgreSQL until it is free: on the leader's lock, without a snapshot.
async fn await_lead(client: &Client, health: &Health) -> Result<Lead, StoreError> {
    if let Some(lead) = try_lead(client).await? {
        return Ok(lead);
    }
    info!("another dispatcher leads; standing by");
    health.standing_by();
    let can_sleep = has(client, "pgbatch.await_lead()").await?;
    loop {
        if can_sleep {
            stand_by(client.execute("CALL pgbatch.await_lead()", &[]), health)
                .await
                .map_err(answered("await_lead"))?;
        } else {
            // Installed without the library: a blocked pg_advisory_lock() would hold a snapshot for as long as it
            // waits, and with it every dead row of the database.
            tokio::time::sleep(STANDBY_PERIOD).await;
            health.standing_by();
        }
        if let Some(lead) = try_lead(client).await? {
            return Ok(lead);
        }
    }
}

/// Answers probes while the call sleeps.
async fn stand_by<T>(call: impl Future<Output = T>, health: &Health) -> T {
    let mut call = std::pin::pin!(call);
    loop {
        tokio::select! {
            biased;
            answer = &mut call => return answer,
            () = health.asked() => health.standing_by(),
        }
    }
}

async fn try_lead(client: &Client) -> Result<Option<Lead>, StoreError> {
    let row = client.query_one("SELECT pgbatch.try_lead()", &[]).await.map_err(answered("try_lead"))?;
    let lead: Option<Answer> = row.get(0);
    lead.map(|lead| read("try_lead", lead)).transpose()
}
