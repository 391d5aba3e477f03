//! No wake-up is lost, for minutes. Clients commit in waves: each at a random moment, and the next wave when all batches of
//! the one before were claimed, so a last commit that is slept through stops them all for ever. The claimer is the
//! dispatcher's half: it reads the bell, looks, and sleeps when there is nothing to claim.
//!
//! `PGBATCH_DOORBELL_SECONDS` is how long (5 by default; minutes by hand).

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use pgbatch_core::state::RunState::Succeeded;
use serde_json::Value;
use tokio::sync::{Barrier, watch};
use tokio::task::JoinSet;
use tokio_postgres::Client;

use crate::support::{Bell, LIMIT, Tested, claim, finish, observe, outcome, value, with_queue};

const WRITERS: usize = 64;
/// The length of a wave: some looks.
const WAVE: Duration = Duration::from_millis(20);

fn time() -> Tested<Duration> {
    let seconds = std::env::var("PGBATCH_DOORBELL_SECONDS").unwrap_or_else(|_| "5".to_owned());
    Ok(Duration::from_secs(seconds.parse()?))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_claimer_sleeps_through_none_of_the_commits_of_64_clients() -> Tested {
    let (database, claimer) = with_queue(", max_parallel => 1000").await?;
    let mut bell = Bell::of(&database).await?;
    let waves = Arc::new(Waves::until(Instant::now() + time()?));
    let (show, claimed) = watch::channel(HashSet::new());
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        writers.spawn(write(database.connect().await?, number, claimed.clone(), waves.clone()));
    }
    let all = async {
        let mut batches = 0;
        while let Some(written) = writers.join_next().await {
            batches += written??;
        }
        Ok::<u64, Box<dyn std::error::Error>>(batches)
    };
    let batches = tokio::select! {
        batches = all => batches?,
        broken = claim_all(&claimer, &mut bell, &show, &waves.sleeps) => match broken? {},
    };
    let sleeps = waves.sleeps.load(Relaxed);
    eprintln!("{WRITERS} clients committed {batches} batches; their claimer slept {sleeps} times");
    assert!(sleeps > 0, "a claimer that never sleeps shows nothing");
    Ok(())
}

/// The clients wait for each other between two waves.
struct Waves {
    end: Instant,
    /// How often the claimer slept.
    sleeps: AtomicU64,
    is_over: AtomicBool,
    all: Barrier,
}

impl Waves {
    fn until(end: Instant) -> Self {
        Self { end, sleeps: AtomicU64::new(0), is_over: AtomicBool::new(false), all: Barrier::new(WRITERS) }
    }

    /// Whether there is one more: the same for all. A slow machine may need longer until the claimer has slept at all.
    async fn next(&self) -> bool {
        if self.all.wait().await.is_leader() {
            let end = if self.sleeps.load(Relaxed) > 0 { self.end } else { self.end + LIMIT };
            self.is_over.store(Instant::now() > end, Relaxed);
        }
        self.all.wait().await;
        !self.is_over.load(Relaxed)
    }
}

/// Every other client takes something back first, which must leave nobody asleep either.
async fn write(
    client: Client,
    number: usize,
    mut claimed: watch::Receiver<HashSet<i64>>,
    waves: Arc<Waves>,
) -> Result<u64, String> {
    const ENQUEUE: &str = "SELECT pgbatch.enqueue('q')";
    let mut batches = 0;
    while waves.next().await {
        tokio::time::sleep(WAVE.mul_f64(fastrand::f64())).await;
        if number.is_multiple_of(2) {
            let back = format!("BEGIN; {ENQUEUE}; ROLLBACK");
            client.batch_execute(&back).await.map_err(|e| e.to_string())?;
        }
        let row = client.query_one(ENQUEUE, &[]).await.map_err(|e| e.to_string())?;
        let id: i64 = row.get(0);
        let seen = claimed.wait_for(|ids| ids.contains(&id));
        if tokio::time::timeout(LIMIT, seen).await.is_err() {
            return Err(format!("batch {id}, of client {number}, was slept through"));
        }
        batches += 1;
    }
    Ok(batches)
}

async fn claim_all(
    client: &Client,
    bell: &mut Bell,
    show: &watch::Sender<HashSet<i64>>,
    sleeps: &AtomicU64,
) -> Tested<Infallible> {
    value::<Value>(client, "SELECT pgbatch.try_lead()").await?;
    loop {
        let rings = bell.rings().await?;
        let view = observe(client).await?;
        let fresh = view.queues.iter().flat_map(|q| &q.fresh).map(|f| (f.batch, 1, 1, 1));
        let runs = claim(client, &fresh.collect::<Vec<_>>()).await?;
        if runs.is_empty() {
            sleeps.fetch_add(1, Relaxed);
            bell.rung_since(rings).await?;
            continue;
        }
        let ends: Vec<_> = runs.iter().map(|run| outcome(run.run, Succeeded)).collect();
        finish(client, &ends).await?;
        show.send_modify(|ids| ids.extend(runs.iter().map(|run| run.batch)));
    }
}
