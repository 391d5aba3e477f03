//! Fetch and complete items that need no work, a thousand a call, from two sessions.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use e2e::postgres::{Database, Server};
use pgbatch_core::run::RunSpec;
use tokio::task::JoinSet;
use tokio_postgres::Client;

use crate::claimer::Session;
use crate::enqueue::source;
use crate::figures::{Bar, Report, Side};
use crate::peers::{GRAPHILE, PGMQ, Peer};
use crate::rig::{Failed, QUEUE, connect, with_queue};
use crate::settings::Settings;

/// Who fetches and completes at the same time.
const SESSIONS: usize = 2;
/// Items a call.
const CALL: i64 = 1000;
/// Runs that are claimed at once.
const RUNS: usize = 50;

/// A peer's statements: what fills it, what fetches (id, payload), and what completes an array of ids.
struct Statements {
    fill: fn(&str) -> String,
    fetch: String,
    complete: &'static str,
    count: &'static str,
}

fn statements(peer: Peer) -> Statements {
    if peer.name == PGMQ.name {
        return Statements {
            fill: |source| {
                format!(
                    "SELECT count(*) FROM pgmq.send_batch('bench', (SELECT array_agg(to_jsonb(s)) FROM ({source}) s))"
                )
            },
            fetch: format!("SELECT msg_id, message::text FROM pgmq.read('bench', 60, {})", CALL),
            complete: "SELECT pgmq.delete('bench', $1::bigint[])",
            count: "SELECT count(*) FROM pgmq.q_bench",
        };
    }
    // What its worker sends: see dist/sql/getJobs.js and completeJobs.js.
    Statements {
        fill: |source| {
            format!(
                "SELECT count(*) FROM graphile_worker.add_jobs((SELECT array_agg(ROW('bench', to_json(s), NULL, NULL, \
                 NULL, NULL, NULL, NULL)::graphile_worker.job_spec) FROM ({source}) s))"
            )
        },
        fetch: format!(
            "WITH j AS (
                 SELECT jobs.job_queue_id, jobs.priority, jobs.run_at, jobs.id
                 FROM graphile_worker._private_jobs AS jobs
                 WHERE jobs.is_available = true AND run_at <= now()
                     AND task_id = ANY (ARRAY(SELECT id FROM graphile_worker._private_tasks))
                     AND (jobs.job_queue_id IS NULL OR jobs.job_queue_id IN (
                         SELECT id FROM graphile_worker._private_job_queues AS job_queues
                         WHERE job_queues.is_available = true FOR UPDATE SKIP LOCKED))
                 ORDER BY priority ASC, run_at ASC LIMIT {CALL} FOR UPDATE SKIP LOCKED
             ), q AS (
                 UPDATE graphile_worker._private_job_queues AS job_queues SET locked_by = 'bench', locked_at = now()
                 FROM j WHERE job_queues.id = j.job_queue_id
             ), taken AS (
                 UPDATE graphile_worker._private_jobs AS jobs
                 SET attempts = jobs.attempts + 1, locked_by = 'bench', locked_at = now()
                 FROM j WHERE jobs.id = j.id RETURNING jobs.*
             )
             SELECT id, payload::text FROM taken"
        ),
        complete: "DELETE FROM graphile_worker._private_jobs AS jobs USING unnest($1::bigint[]) n (n) WHERE id = n",
        count: "SELECT count(*) FROM graphile_worker._private_jobs",
    }
}

pub(crate) async fn drain(server: &Server, settings: &Settings) -> Result<Report, Failed> {
    let mut report = Report::default();
    let items = settings.items(1_000_000);
    let (database, _) =
        with_queue(server, &format!(", max_parallel => {RUNS}, items_per_run => {CALL}")).await?;
    let mut ours = Side::new("pgbatch, next_item and complete_item", "items/s");
    let mut theirs = vec![];
    for peer in [PGMQ, GRAPHILE] {
        match peer.install(server).await {
            Ok(database) => theirs.push((peer, database, Side::new(peer.title(), "items/s"))),
            Err(why) => report.left_out.push(why.to_string()),
        }
    }
    for _ in 0..settings.rounds {
        ours.rounds.push(our_turn(&database, items).await?);
        for (peer, database, side) in &mut theirs {
            side.rounds.push(their_turn(*peer, database, items).await?);
        }
    }
    let sides = theirs.into_iter().map(|(_, _, side)| side);
    report.sides = std::iter::once(ours).chain(sides).collect();
    let (ours, theirs) = (report.sides[0].clone(), report.sides[1..].to_vec());
    if let Some(best) = theirs.iter().max_by(|a, b| a.median().total_cmp(&b.median())) {
        let what = format!("fetch and complete {items} no-op items, against the best row-mutating peer");
        report.compare(what, &ours, best, Bar::AtLeast(2.0));
    }
    report.notes.push(format!(
        "{SESSIONS} sessions, {CALL} items a call, the fetch and the completion a transaction each. Ours includes what a \
         dispatcher does for the runs, {CALL} items each: the looks, the claims and the ends."
    ));
    Ok(report)
}

async fn our_turn(database: &Database, items: i64) -> Result<f64, Failed> {
    let client = connect(database).await?;
    let call = format!("SELECT pgbatch.enqueue_query('{QUEUE}', $q${}$q$)", source(items));
    client.batch_execute(&format!("{call}; CHECKPOINT")).await?;
    let session = Session::lead(database).await?;
    let mut sessions = vec![];
    for _ in 0..SESSIONS {
        sessions.push(Arc::new(connect(database).await?));
    }
    let started = Instant::now();
    let mut done = 0;
    loop {
        let runs = claim(&session).await?;
        if runs.is_empty() {
            break;
        }
        let queue = Arc::new(Mutex::new(VecDeque::from(runs.clone())));
        let mut workers = JoinSet::new();
        for client in &sessions {
            let (client, queue) = (client.clone(), queue.clone());
            workers.spawn(async move { work(&client, &queue).await.map_err(|e| e.to_string()) });
        }
        while let Some(worked) = workers.join_next().await {
            done += worked??;
        }
        session.finish(&runs).await?;
    }
    if done != items {
        return Err(format!("{done} of {items} items were completed").into());
    }
    Ok(items as f64 / started.elapsed().as_secs_f64())
}

/// As the plan does: ranges of so many items, as many runs as the queue may have.
async fn claim(session: &Session) -> Result<Vec<RunSpec>, Failed> {
    let view = session.look().await?;
    let size = u32::try_from(CALL)?;
    session.claim_in_ranges(&view, QUEUE, RUNS, size).await
}

/// The runs of a queue, one after the other; each asks until nothing is left.
async fn work(client: &Client, queue: &Mutex<VecDeque<RunSpec>>) -> Result<i64, Failed> {
    let fetch = client.prepare("SELECT * FROM pgbatch.next_item($1, $2, 0, $3)").await?;
    let complete = client.prepare("SELECT pgbatch.complete_items($1, $2, $3)").await?;
    let at_most = i32::try_from(CALL)?;
    let mut done = 0;
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(run) = next else { return Ok(done) };
        loop {
            let rows = client.query(&fetch, &[&run.run, &run.token, &at_most]).await?;
            if rows.is_empty() {
                break;
            }
            let numbers: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
            client.execute(&complete, &[&run.run, &run.token, &numbers]).await?;
            done += i64::try_from(numbers.len())?;
        }
    }
}

async fn their_turn(peer: Peer, database: &Database, items: i64) -> Result<f64, Failed> {
    let statements = statements(peer);
    let client = connect(database).await?;
    // In steps: an array has its limits.
    let mut left = items;
    while left > 0 {
        let step = left.min(100_000);
        client.batch_execute(&(statements.fill)(&source(step))).await?;
        left -= step;
    }
    client.batch_execute("CHECKPOINT").await?;
    let mut sessions = vec![];
    for _ in 0..SESSIONS {
        sessions.push(connect(database).await?);
    }
    let started = Instant::now();
    let mut workers = JoinSet::new();
    for client in sessions {
        let (fetch, complete) = (statements.fetch.clone(), statements.complete);
        workers.spawn(async move { fetch_and_complete(&client, &fetch, complete).await });
    }
    let mut done = 0;
    while let Some(worked) = workers.join_next().await {
        done += worked??;
    }
    let took = started.elapsed().as_secs_f64();
    let rest: i64 = client.query_one(statements.count, &[]).await?.get(0);
    if rest != 0 || done != items {
        return Err(format!("{}: {done} of {items} items were completed, {rest} are left", peer.name).into());
    }
    Ok(items as f64 / took)
}

async fn fetch_and_complete(
    client: &Client,
    fetch: &str,
    complete: &str,
) -> Result<i64, tokio_postgres::Error> {
    let (fetch, complete) = (client.prepare(fetch).await?, client.prepare(complete).await?);
    let mut done = 0;
    loop {
        let ids: Vec<i64> = client.query(&fetch, &[]).await?.iter().map(|row| row.get(0)).collect();
        if ids.is_empty() {
            return Ok(done);
        }
        client.execute(&complete, &[&ids]).await?;
        done += ids.len() as i64;
    }
}
