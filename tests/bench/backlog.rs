//! What a deep backlog costs those who are not behind it.

use std::time::{Duration, Instant};

use e2e::postgres::{Database, Server};

use crate::bare;
use crate::claimer::{Claimer, Session};
use crate::figures::{Bar, Report, Side, quantile};
use crate::latency::our_turn;
use crate::rig::{Failed, connect, with_queue};
use crate::settings::Settings;

/// The queue that has the backlog; as many runs as it may have are live.
const BEHIND: &str = "backlog";
const STEP: i64 = 1_000_000;

pub(crate) async fn backlog(server: &Server, settings: &Settings) -> Result<Report, Failed> {
    let pending = settings.items(10_000_000);
    let time = settings.turn(10);
    let (empty, _) = with_queue(server, ", max_parallel => 1000").await?;
    let (full, _) = with_queue(server, ", max_parallel => 1000").await?;
    let filled = Instant::now();
    fill(&full, pending, "sql => 'SELECT 1'").await?;
    let filled = filled.elapsed().as_secs();

    let names = ["nothing pending".to_owned(), format!("{pending} items pending")];
    let mut p50 =
        names.clone().map(|name| Side::new(format!("pgbatch, commit to claimed, p50, {name}"), "ms"));
    let mut p99 =
        names.clone().map(|name| Side::new(format!("pgbatch, commit to claimed, p99, {name}"), "ms"));
    let mut first =
        names.map(|name| Side::new(format!("pgbatch, first look of a new session, {name}"), "ms"));
    for round in 0..=settings.rounds {
        for (number, database) in [&empty, &full].into_iter().enumerate() {
            let session = Session::lead(database).await?;
            let started = Instant::now();
            session.look().await?;
            let looked = started.elapsed().as_secs_f64() * 1e3;
            drop(session);
            let mut claimer = Claimer::start(database).await?;
            let turn = if round == 0 { Duration::from_secs(2) } else { time };
            let waits = our_turn(database, &mut claimer, turn).await?;
            // The first round warms.
            if round > 0 {
                first[number].rounds.push(looked);
                p50[number].rounds.push(quantile(&waits, 0.5));
                p99[number].rounds.push(quantile(&waits, 0.99));
            }
        }
    }
    let mut report = Report::default();
    let what = format!("commit to claimed with {pending} pending items, against none");
    report.compare(format!("{what}, p50"), &p50[1], &p50[0], Bar::AtMost(1.2));
    report.compare(format!("{what}, p99"), &p99[1], &p99[0], Bar::AtMost(1.2));
    let what = format!("first look of a new session with {pending} pending items");
    report.state(what, &first[1], Bar::AtMost(2000.0));
    report.notes.push(format!(
        "The pending items are batches of one item each in another queue, all of whose runs are taken: {filled} s to \
         copy them in, then VACUUM ANALYZE. {} s a turn at 50/s.",
        time.as_secs()
    ));
    report.sides = [p50, p99, first].into_iter().flatten().collect();
    Ok(report)
}

/// Enqueues one item and copies its row; claims one run, which is all that the queue may have. `work` is what it runs, as
/// an argument of create_queue().
pub(crate) async fn fill(database: &Database, pending: i64, work: &str) -> Result<(), Failed> {
    let client = connect(database).await?;
    client
        .batch_execute(&format!("SELECT pgbatch.create_queue('{BEHIND}', {work}, max_parallel => 1)"))
        .await?;
    let (id, columns) = bare::sample(&client, BEHIND).await?;
    let session = Session::lead(database).await?;
    let mut left = pending;
    while left > 0 {
        let step = left.min(STEP);
        let sql = format!(
            "INSERT INTO pgbatch.batch ({columns}) SELECT {columns} FROM pgbatch.batch, generate_series(1, {step})
             WHERE id = {id}"
        );
        client.batch_execute(&sql).await?;
        left -= step;
    }
    let view = session.look().await?;
    let runs = session.claim(&view, BEHIND, 1).await?;
    if runs.len() != 1 {
        return Err("the queue of the backlog has no run".into());
    }
    client.batch_execute("VACUUM ANALYZE pgbatch.batch").await?;
    Ok(())
}
