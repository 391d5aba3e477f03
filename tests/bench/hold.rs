//! A queue that goes through 800 items a second while somebody's transaction stays open.

use std::collections::HashMap;
use std::time::Duration;

use e2e::postgres::Server;
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::claimer::{Claimer, now, take};
use crate::figures::{Bar, Report, Side, quantile};
use crate::rig::{Failed, QUEUE, connect, payload, with_queue};
use crate::settings::Settings;
use crate::stream;

const PER_SECOND: u32 = 800;

/// Whose transaction stays open: what it begins with.
const HELD: [(&str, &str); 3] = [
    ("nothing held", ""),
    (
        "a REPEATABLE READ snapshot held",
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pgbatch.batches",
    ),
    ("a transaction with an XID held", "BEGIN; SELECT pg_current_xact_id()"),
];

/// What a turn came to.
struct Turn {
    /// Items ended per second, in the last third.
    throughput: f64,
    /// From commit to claimed in ms, in the last third.
    p99: f64,
    /// The latter by second of the turn, for the plot.
    curve: Vec<(f64, f64)>,
}

pub(crate) async fn hold(server: &Server, settings: &Settings) -> Result<Report, Failed> {
    let time = settings.turn(30);
    let mut throughput = HELD.map(|(name, _)| Side::new(format!("pgbatch, {name}, last third"), "items/s"));
    let mut latency = HELD.map(|(name, _)| Side::new(format!("pgbatch, {name}, p99, last third"), "ms"));
    let mut curves: Vec<Value> = vec![];
    for round in 0..settings.rounds {
        for number in (0..HELD.len()).map(|i| (i + round) % HELD.len()) {
            let (name, begin) = HELD[number];
            let turn = turn(server, begin, time).await?;
            throughput[number].rounds.push(turn.throughput);
            latency[number].rounds.push(turn.p99);
            if round == 0 {
                curves.push(json!({"name": name, "points": turn.curve}));
            }
        }
    }
    let mut report = Report::default();
    for (number, what) in [(1, "a REPEATABLE READ snapshot"), (2, "a transaction with an XID")] {
        let rate = format!(
            "throughput of enqueue, claim and finish at 800 items/s with {what} held, against without"
        );
        report.compare(rate, &throughput[number], &throughput[0], Bar::AtLeast(0.95));
        let late = format!("commit to claimed, p99, with {what} held, against without");
        report.compare(late, &latency[number], &latency[0], Bar::AtMost(1.5));
    }
    report.notes.push(format!(
        "{} s a turn, each in a new database; 8 sessions enqueue one item a transaction, one claims and ends them. A \
         commit counts from its acknowledgement.",
        time.as_secs()
    ));
    report.plots.push(
        json!({"title": "commit to claimed, p99 by second: ms over s", "x": "s", "y": "ms", "curves": curves}),
    );
    report.sides = throughput.into_iter().chain(latency).collect();
    Ok(report)
}

async fn turn(server: &Server, begin: &str, time: Duration) -> Result<Turn, Failed> {
    let (database, _) = with_queue(server, ", max_parallel => 1000").await?;
    let mut claimer = Claimer::start(&database).await?;
    let holder = connect(&database).await?;
    holder.batch_execute(begin).await?;
    let started = now();
    let statement = format!("SELECT pgbatch.enqueue('{QUEUE}', {})", payload("$1::bigint"));
    let committed = stream::enqueue(&database, &statement, PER_SECOND, time).await?;
    let ended = now();
    await_end(&holder, &mut claimer, committed.len(), time * 2 + Duration::from_secs(120)).await?;
    let finished = take(&claimer.finished);
    let waits = waits(&committed, &take(&claimer.claimed));
    let late = started + (ended - started) * 2 / 3;
    let in_time = finished.iter().filter(|(_, at)| *at > late && *at <= ended).count();
    let of_late: Vec<f64> = waits.iter().filter(|(at, _)| *at > late).map(|(_, wait)| *wait).collect();
    Ok(Turn {
        throughput: in_time as f64 / ((ended - late) as f64 / 1e6),
        p99: quantile(&of_late, 0.99),
        curve: by_second(&waits, started),
    })
}

/// Until everything that was committed has been claimed and ended: nothing may be lost or doubled.
async fn await_end(
    client: &Client,
    claimer: &mut Claimer,
    committed: usize,
    limit: Duration,
) -> Result<(), Failed> {
    client.batch_execute("ROLLBACK").await?;
    let sql = "SELECT count(*) FROM pgbatch.batches WHERE state = 'succeeded'";
    let deadline = tokio::time::Instant::now() + limit;
    loop {
        claimer.check().await?;
        let ended: i64 = client.query_one(sql, &[]).await?.get(0);
        if usize::try_from(ended)? == committed {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            return Err(format!("{ended} of {committed} items ended").into());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// From commit to claimed: when it was committed, in microseconds, and the wait in milliseconds.
pub(crate) fn waits(committed: &HashMap<i64, i64>, claimed: &[(i64, i64)]) -> Vec<(i64, f64)> {
    claimed
        .iter()
        .filter_map(|(batch, at)| committed.get(batch).map(|from| (*from, (at - from).max(0) as f64 / 1e3)))
        .collect()
}

fn by_second(waits: &[(i64, f64)], started: i64) -> Vec<(f64, f64)> {
    let mut seconds: HashMap<i64, Vec<f64>> = HashMap::new();
    for (at, wait) in waits {
        seconds.entry((at - started) / 1_000_000).or_default().push(*wait);
    }
    let mut curve: Vec<(f64, f64)> =
        seconds.into_iter().map(|(second, waits)| (second as f64, quantile(&waits, 0.99))).collect();
    curve.sort_by(|a, b| a.0.total_cmp(&b.0));
    curve
}
