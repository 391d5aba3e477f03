//! The loop: wake, observe, plan, apply, record.
//!
//! ```text
//!   doorbell (a commit) ─┐
//!   executor (a Job)    ─┼─> observe ─> plan ─> apply & record ─> again, until the plan is empty
//!   timer (a due time)  ─┘      ^                                            │
//!                               └──────────────── sleep <────────────────────┘
//! ```
//! Events only wake it; each pass reads the world anew. So an event that is lost costs time and never an item, and
//! a dispatcher that starts (again) needs nothing but one pass.
//!
//! Where a queue had nothing waiting, a commit's work is claimed before the look ([`permits`]): its Job is under way a look
//! earlier.
//!
//! PostgreSQL is not asked when only the executor has news that change nothing: whatever changes there rings, so the last
//! look still holds, and a plan made of it says whether there is anything to do. Most of what a Job goes through is such news.

use std::collections::BTreeSet;
use std::future::ready;
use std::time::Duration;

use jiff::Timestamp;
use pgbatch_core::plan::{Plan, permits, plan};
use pgbatch_core::snapshot::{ExecutorView, JobPhase, Snapshot, StoreView};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, info, warn};

use crate::apply::{apply, claim_next, forget_recorded};
use crate::clock;
use crate::config::Config;
use crate::executor::{Executor, ExecutorError, Executors};
use crate::metrics::{Progress, metrics};
use crate::shutdown::Shutdown;
use crate::store::{Database, Session, Store, StoreError};
use crate::trace::traces;
use crate::trigger::{Triggers, kafka};
use crate::web::Health;

/// Between two tries to reach PostgreSQL: doubling from the first to the last.
const RECONNECT_FIRST: Duration = Duration::from_millis(100);
const RECONNECT_LAST: Duration = Duration::from_secs(10);

/// PostgreSQL's functions leave out what another session keeps locked (an open transaction that called
/// `cancel_batch()` or `complete_item()`), and a rollback of it rings nothing: look again after this.
const LOCKED_PAUSE: Duration = Duration::from_secs(1);

/// So long a look waits for the first Job of those that were claimed before it.
const FIRST_JOB_MAX: Duration = Duration::from_millis(20);

/// No timer is armed for longer: tokio's reach two years. What is kept for a week must not wake the loop every day.
const FAR: Duration = Duration::from_hours(24 * 365);

/// Why the dispatcher gives up.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    /// PostgreSQL said something that no retry mends.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The executor cannot be set up.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// The database is another one than at the start: its run numbers mean other runs.
    #[error("the database behind the URL is another pgbatch than before; restart the dispatcher")]
    OtherDatabase,
}

/// Runs until `shutdown`: leaves running Jobs alone, the next dispatcher finds them.
///
/// # Errors
/// Only what no retry mends: another contract version, no cluster configuration, another database.
pub async fn dispatch(config: &Config, mut shutdown: Shutdown, health: &Health) -> Result<(), DispatchError> {
    tokio::select! {
        biased;
        () = shutdown.requested() => {
            info!("stopping; running Jobs go on");
            Ok(())
        }
        error = serve(&config.database_url, &config.executor, &config.triggers, health) => {
            error!(%error, "giving up");
            Err(error)
        }
    }
}

/// Dispatches for ever, session after session. It may be dropped at any of its awaits: nothing but memory is lost.
/// Returns why it gives up, which is only what no retry mends.
pub async fn serve<E: Executors>(
    database: &impl Database,
    executors: &E,
    triggers: &Triggers,
    health: &Health,
) -> DispatchError {
    let mut executor: Option<(String, E::Executor)> = None;
    let mut pause = RECONNECT_FIRST;
    loop {
        health.connecting(None);
        let ended = session(database, executors, triggers, &mut executor, &mut pause, health).await;
        metrics().lead_lost();
        if let Some(traces) = traces() {
            traces.forget();
        }
        match ended {
            Err(DispatchError::Store(error)) if error.may_pass() => {
                warn!(%error, retry_in = ?pause, "no session with PostgreSQL");
                health.connecting(Some(error.to_string()));
            }
            Err(error) => return error,
            Ok(()) => {
                warn!(retry_in = ?pause, "the session with PostgreSQL ended");
                health.connecting(Some("the connection broke".to_owned()));
            }
        }
        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        pause = (pause * 2).min(RECONNECT_LAST);
    }
}

/// One session with PostgreSQL, from the lead to the loss of the connection.
async fn session<E: Executors>(
    database: &impl Database,
    executors: &E,
    triggers: &Triggers,
    executor: &mut Option<(String, E::Executor)>,
    pause: &mut Duration,
    health: &Health,
) -> Result<(), DispatchError> {
    let store = database.lead(health).await?;
    let executor = match executor {
        Some((installation, executor)) if installation == store.installation() => {
            executor.begin_session();
            &*executor
        }
        Some(_) => return Err(DispatchError::OtherDatabase),
        None => {
            let made = executors.open(store.installation()).await?;
            &executor.insert((store.installation().to_owned(), made)).1
        }
    };
    health.executor(executor.kind());
    info!(database = %database.target(), executor = executor.kind(), "dispatching");
    let (seen, watched) = watch::channel(kafka::Seen::default());
    tokio::select! {
        // In this order, so that a simulation replays.
        biased;
        ended = lead(&store, executor, &seen, pause, health) => ended,
        error = triggers.serve(&store, watched) => Err(error.into()),
    }
}

/// The loop, until the session ends.
async fn lead(
    store: &impl Session,
    executor: &impl Executor,
    seen: &watch::Sender<kafka::Seen>,
    pause: &mut Duration,
    health: &Health,
) -> Result<(), DispatchError> {
    let mut last_told = Vec::new();
    let mut progress = Progress::default();
    loop {
        let passed = pass(store, executor, seen, &mut last_told, &mut progress, health).await?;
        let (mut next, mut look) = match passed {
            Pass::Idle(look) => (look.next, Some(look)),
            Pass::Again(at) => (Some(at), None),
        };
        // Not earlier: a server whose disk is full lets us in, and then refuses what we write, again and again.
        *pause = RECONNECT_FIRST;
        health.leading(executor.unsynced());
        health.looked();
        loop {
            tokio::select! {
                // In this order, so that a simulation replays; each that is ready leads to a whole pass anyway.
                biased;
                () = store.closed() => return Ok(()),
                () = store.rung() => {
                    metrics().woken("commit");
                    debug!("woken by a commit");
                    let permits = look.as_ref().map(|look| permits(&look.seen)).unwrap_or_default();
                    if !permits.is_empty() {
                        health.working();
                        if claim_next(&permits, store, executor, &mut progress).await? {
                            first_job(store, executor).await;
                        }
                    }
                }
                () = executor.changed() => {
                    metrics().woken("executor");
                    let view = executor.view();
                    progress.see(&view, metrics());
                    if look.as_mut().is_some_and(|look| look.still_holds(view, &mut last_told)) {
                        next = look.as_ref().and_then(|look| look.next);
                        health.leading(executor.unsynced());
                        continue;
                    }
                    debug!("woken by the executor");
                }
                () = sleep_until(next.unwrap_or_else(far_future)), if next.is_some() => {
                    metrics().woken("due_time");
                    debug!("woken by a due time");
                }
                () = health.asked() => {
                    health.leading(executor.unsynced());
                    continue;
                }
                () = health.scraped() => {
                    count(store, health).await;
                    health.leading(executor.unsynced());
                    continue;
                }
            }
            break;
        }
    }
}

/// Reads for a scrape what only PostgreSQL knows, where that may have changed. What is wrong with it does not stop the work: a
/// session that broke is noticed by what comes next.
async fn count(store: &impl Store, health: &Health) {
    if metrics().count() {
        health.working();
        let began = Instant::now();
        match store.observe_counts().await {
            Ok(counts) => metrics().counted(&counts.unwrap_or_default(), began.elapsed()),
            Err(error) => {
                metrics().not_counted();
                warn!(%error, "metrics of items and triggers are old");
            }
        }
    }
    health.counted();
}

/// Waits for the first Job of those that were just claimed, or for the next commit, whichever is sooner. Where the API server
/// and PostgreSQL are on one machine with few processors, a look beside the request that creates the Job makes that one wait.
async fn first_job(store: &impl Session, executor: &impl Executor) {
    tokio::select! {
        // In this order, so that a simulation replays.
        biased;
        () = store.closed() => {}
        () = store.rung() => metrics().woken("commit"),
        () = executor.changed() => metrics().woken("executor"),
        () = tokio::time::sleep(FIRST_JOB_MAX) => {}
    }
}

fn far_future() -> Instant {
    Instant::now() + FAR
}

/// How a pass ended.
enum Pass {
    /// There was nothing left to do.
    Idle(Box<Look>),
    /// The rows are locked by others; to be tried again then.
    Again(Instant),
}

/// The last look at the world, which left nothing to do.
struct Look {
    seen: Snapshot,
    /// The queues whose ended Jobs PostgreSQL was asked about.
    with_history: BTreeSet<String>,
    /// When it was, by the clock of the loop.
    at: Instant,
    /// When to look again at the latest.
    next: Option<Instant>,
}

impl Look {
    /// Whether there is still nothing to do, with what the executor sees now, and PostgreSQL as it was.
    fn still_holds(&mut self, view: ExecutorView, last_told: &mut Vec<String>) -> bool {
        if with_history(&view) != self.with_history {
            return false;
        }
        let (now, before) = (Instant::now(), self.at);
        self.at = now;
        self.seen.store.now += now - before;
        self.seen.executor = view;
        self.seen.local_now = clock::now();
        let plan = plan(&self.seen);
        if !plan.is_empty() {
            return false;
        }
        tell_what_is_held(&plan, last_told);
        self.next = plan.wake_at.map(|at| now + until(self.seen.store.now, at));
        true
    }
}

/// Observes, plans and applies until nothing is left to do now.
async fn pass(
    store: &impl Store,
    executor: &impl Executor,
    told: &watch::Sender<kafka::Seen>,
    last_told: &mut Vec<String>,
    progress: &mut Progress,
    health: &Health,
) -> Result<Pass, DispatchError> {
    let mut done: Option<(Plan, Snapshot)> = None;
    loop {
        health.working();
        let observed_at = Instant::now();
        let (seen, with_history) = observe(store, executor).await?;
        progress.see(&seen.executor, metrics());
        if let Some((done, before)) = &done {
            forget_recorded(done, before, &seen, executor);
        }
        let plan = plan(&seen);
        tell_kafka(told, &seen, &plan);
        tell_what_is_held(&plan, last_told);
        if plan.is_empty() {
            let next = plan.wake_at.map(|at| observed_at + until(seen.store.now, at));
            return Ok(Pass::Idle(Box::new(Look { seen, with_history, at: observed_at, next })));
        }
        if done.as_ref().is_some_and(|(done, _)| *done == plan) {
            debug!(again_in = ?LOCKED_PAUSE, "the last pass changed nothing: rows are locked by others");
            return Ok(Pass::Again(observed_at + LOCKED_PAUSE));
        }
        health.working();
        apply(&plan, &seen, store, executor, progress).await?;
        // With much to do, it may be long before the loop sleeps.
        tokio::select! {
            biased;
            () = health.scraped() => count(store, health).await,
            () = ready(()) => {}
        }
        done = Some((plan, seen));
    }
}

/// Wakes those who watch Kafka, when that is about them.
fn tell_kafka(told: &watch::Sender<kafka::Seen>, seen: &Snapshot, plan: &Plan) {
    told.send_if_modified(|known| {
        let ends = if seen.store.kafka.is_some() { plan.ends.len() } else { 0 };
        let changed = ends > 0 || known.triggers != seen.store.kafka;
        known.ends += u64::try_from(ends).unwrap_or(u64::MAX);
        known.triggers.clone_from(&seen.store.kafka);
        changed
    });
}

/// Also the queues whose ended Jobs it asked about.
async fn observe(
    store: &impl Store,
    executor: &impl Executor,
) -> Result<(Snapshot, BTreeSet<String>), DispatchError> {
    let with_history = with_history(&executor.view());
    let store_view: StoreView = store.observe(&Vec::from_iter(with_history.clone())).await?;
    metrics().looked(&store_view);
    executor.watch_namespaces(&store_view.namespaces);
    // Viewed last: it must know whether those namespaces have been read.
    let seen = Snapshot { store: store_view, executor: executor.view(), local_now: clock::now() };
    Ok((seen, with_history))
}

/// The queues that have ended Jobs: for as long as they do, their history limits are needed, their work may be over.
fn with_history(view: &ExecutorView) -> BTreeSet<String> {
    let ended = view.jobs.values().filter(|job| matches!(job.phase, JobPhase::Ended(_)));
    ended.map(|job| job.queue.clone()).collect()
}

/// How long from `now` to `at`, both by the database's clock; a little later, never earlier.
fn until(now: Timestamp, at: Timestamp) -> Duration {
    let ms = at.duration_since(now).as_millis().max(0);
    Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX).saturating_add(1)).min(FAR)
}

/// Says why work waits, once for each new reason.
fn tell_what_is_held(plan: &Plan, last_told: &mut Vec<String>) {
    metrics().held(&plan.held);
    let told: Vec<String> = plan.held.iter().map(|h| format!("{}: {}", h.queue, h.reason)).collect();
    for (held, words) in plan.held.iter().zip(&told) {
        if !last_told.contains(words) {
            debug!(queue = %held.queue, reason = %held.reason, "held");
        }
    }
    *last_told = told;
}

#[cfg(test)]
mod tests;
