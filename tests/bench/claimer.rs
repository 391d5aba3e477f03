//! The claiming half of a dispatcher, without the Jobs: sleeps on the doorbell, looks, claims all that is fresh, ends the
//! runs at once. By the functions that the dispatcher calls and in its order, so what it measures is PostgreSQL's part.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use e2e::postgres::Database;
use e2e::wait::until;
use pgbatch_core::plan::{Claim, permits};
use pgbatch_core::run::{Outcome, RunSpec};
use pgbatch_core::snapshot::{ExecutorView, Snapshot, StoreView};
use pgbatch_core::state::RunState;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Statement};

use crate::rig::{Failed, QUEUE, REST, connect};

/// A moment of the machine's clock, in microseconds: programs in other languages have the same.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Batches and when something happened to them.
pub(crate) type Moments = Arc<Mutex<Vec<(i64, i64)>>>;

/// Takes what was noted so far.
pub(crate) fn take(moments: &Moments) -> Vec<(i64, i64)> {
    std::mem::take(&mut *moments.lock().unwrap_or_else(PoisonError::into_inner))
}

fn note(moments: &Moments, batches: &[i64]) {
    let at = now();
    let mut moments = moments.lock().unwrap_or_else(PoisonError::into_inner);
    moments.extend(batches.iter().map(|batch| (*batch, at)));
}

/// One session that leads.
pub(crate) struct Session {
    client: Client,
    epoch: i64,
    observe: Statement,
    claim: Statement,
    claim_next: Statement,
    finish: Statement,
}

impl Session {
    /// The lead is free as soon as the server has noticed that the one before has gone.
    pub(crate) async fn lead(database: &Database) -> Result<Self, Failed> {
        let client = connect(database).await?;
        let lead = until("the lead", Duration::from_secs(20), async || {
            let row = client.query_one("SELECT pgbatch.try_lead()", &[]).await.ok()?;
            row.get::<_, Option<Value>>(0)
        })
        .await;
        let epoch = lead["epoch"].as_i64().ok_or("the lead has no epoch")?;
        let observe = client.prepare("SELECT pgbatch.observe($1, $2)").await?;
        let claim = client.prepare("SELECT pgbatch.claim($1, $2)").await?;
        let claim_next = client.prepare("SELECT pgbatch.claim_next($1, $2)").await?;
        let finish = client.prepare("SELECT pgbatch.finish_runs($1, $2)").await?;
        Ok(Self { client, epoch, observe, claim, claim_next, finish })
    }

    /// Like a dispatcher that has an ended Job of the queue to keep.
    pub(crate) async fn look(&self) -> Result<StoreView, Failed> {
        let row = self.client.query_one(&self.observe, &[&self.epoch, &[QUEUE].as_slice()]).await?;
        Ok(serde_json::from_value(row.get(0))?)
    }

    /// What has come since that look.
    async fn claim_next(&self, view: StoreView) -> Result<Vec<RunSpec>, Failed> {
        let (local_now, executor) = (view.now, ExecutorView { synced: true, ..ExecutorView::default() });
        let permits = permits(&Snapshot { store: view, executor, local_now });
        if permits.is_empty() {
            return Ok(vec![]);
        }
        let permits = serde_json::to_value(permits)?;
        let rows = self.client.query(&self.claim_next, &[&self.epoch, &permits]).await?;
        rows.iter().map(|row| Ok(serde_json::from_value(row.get(0))?)).collect()
    }

    /// Fresh items of a queue that a look told of: so many runs at most, one for each batch.
    pub(crate) async fn claim(
        &self,
        view: &StoreView,
        queue: &str,
        at_most: usize,
    ) -> Result<Vec<RunSpec>, Failed> {
        self.claim_in_ranges(view, queue, at_most, u32::MAX).await
    }

    /// The same with runs of so many items at most.
    pub(crate) async fn claim_in_ranges(
        &self,
        view: &StoreView,
        queue: &str,
        at_most: usize,
        size: u32,
    ) -> Result<Vec<RunSpec>, Failed> {
        let fresh = view.queues.iter().filter(|q| q.name == queue).flat_map(|q| &q.fresh);
        let ranges = fresh.flat_map(|f| {
            (f.next_item..=f.items).step_by(size as usize).map(|first| Claim {
                batch: f.batch,
                first_item: first,
                last_item: first.saturating_add(size - 1).min(f.items),
                attempt: 1,
            })
        });
        let claims: Vec<Claim> = ranges.take(at_most).collect();
        if claims.is_empty() {
            return Ok(vec![]);
        }
        let claims = serde_json::to_value(claims)?;
        let rows = self.client.query(&self.claim, &[&self.epoch, &claims]).await?;
        rows.iter().map(|row| Ok(serde_json::from_value(row.get(0))?)).collect()
    }

    /// The runs have succeeded.
    pub(crate) async fn finish(&self, runs: &[RunSpec]) -> Result<(), Failed> {
        let outcomes: Vec<Outcome> = runs.iter().map(|run| succeeded(run.run)).collect();
        let outcomes = serde_json::to_value(outcomes)?;
        self.client.query(&self.finish, &[&self.epoch, &outcomes]).await?;
        Ok(())
    }
}

fn succeeded(run: i64) -> Outcome {
    Outcome {
        run,
        state: RunState::Succeeded,
        started_at: None,
        finished_at: None,
        exit_code: Some(0),
        reason: None,
        message: None,
        result: None,
        retry_in_ms: 0,
        disrupted: false,
    }
}

/// A running one; it ends with the value.
pub(crate) struct Claimer {
    /// When each batch's claim had committed.
    pub(crate) claimed: Moments,
    /// When each batch's end had.
    pub(crate) finished: Moments,
    tasks: [JoinHandle<String>; 2],
}

impl Claimer {
    pub(crate) async fn start(database: &Database) -> Result<Self, Failed> {
        let (claimed, finished) = (Moments::default(), Moments::default());
        let rung = Arc::new(Notify::new());
        let bell = connect(database).await?;
        let ring = rung.clone();
        let bell = tokio::spawn(async move {
            let Err(error) = ring_on_commit(&bell, &ring).await;
            error.to_string()
        });
        let session = Session::lead(database).await?;
        let (on_claim, on_finish) = (claimed.clone(), finished.clone());
        let turns = tokio::spawn(async move {
            let mut last = None;
            loop {
                match turn(&session, last, &on_claim, &on_finish).await {
                    Ok(view) => last = Some(view),
                    Err(error) => return error.to_string(),
                }
                rung.notified().await;
            }
        });
        Ok(Self { claimed, finished, tasks: [bell, turns] })
    }

    /// Why it does not go on, if it does not.
    pub(crate) async fn check(&mut self) -> Result<(), Failed> {
        for task in &mut self.tasks {
            if task.is_finished() {
                return Err(format!("the claimer ended: {}", task.await?).into());
            }
        }
        Ok(())
    }
}

impl Drop for Claimer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// The dispatcher's doorbell: see `dispatcher/src/store/doorbell.rs`.
async fn ring_on_commit(client: &Client, rung: &Notify) -> Result<Infallible, tokio_postgres::Error> {
    let wait = client.prepare("CALL pgbatch.wait($1)").await?;
    let read = client.prepare("SELECT pgbatch.doorbell_seq()").await?;
    let mut seq: i64 = client.query_one(&read, &[]).await?.get(0);
    rung.notify_one();
    loop {
        client.execute(&wait, &[&seq]).await?;
        rung.notify_one();
        tokio::time::sleep(REST).await;
        let now: i64 = client.query_one(&read, &[]).await?.get(0);
        if now != seq + 1 {
            rung.notify_one();
        }
        seq = now;
    }
}

/// What has come since the last look, and then looks until nothing is left. Returns the last one.
async fn turn(
    session: &Session,
    last: Option<StoreView>,
    claimed: &Moments,
    finished: &Moments,
) -> Result<StoreView, Failed> {
    let end = async |runs: Vec<RunSpec>| -> Result<(), Failed> {
        let batches: Vec<i64> = runs.iter().map(|run| run.batch).collect();
        note(claimed, &batches);
        session.finish(&runs).await?;
        note(finished, &batches);
        Ok(())
    };
    if let Some(view) = last {
        let runs = session.claim_next(view).await?;
        if !runs.is_empty() {
            end(runs).await?;
        }
    }
    loop {
        let view = session.look().await?;
        let runs = session.claim(&view, QUEUE, usize::MAX).await?;
        if runs.is_empty() {
            return Ok(view);
        }
        end(runs).await?;
    }
}
