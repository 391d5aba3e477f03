//! From commit to claimed at 50 items a second, beside the worker of graphile-worker.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use e2e::postgres::{Database, SUPERUSER, Server};
use e2e::repository;

use crate::claimer::{Claimer, take};
use crate::figures::{Bar, Report, Side, quantile};
use crate::hold::waits;
use crate::peers::GRAPHILE;
use crate::rig::{Failed, QUEUE, payload, with_queue};
use crate::settings::Settings;
use crate::stream;

pub(crate) const PER_SECOND: u32 = 50;

/// What enqueues one of ours, and returns the batch.
pub(crate) fn statement() -> String {
    format!("SELECT pgbatch.enqueue('{QUEUE}', {})", payload("$1::bigint"))
}

/// The worker, a process of its own.
struct Worker {
    database: Database,
    process: Child,
    output: BufReader<ChildStdout>,
    committed: Vec<HashMap<i64, i64>>,
}

impl Worker {
    async fn start(server: &Server) -> Result<Self, Failed> {
        let database = GRAPHILE.install(server).await?;
        let mut process = Command::new("node")
            .arg(repository().join("tests/bench/peers/graphile-worker.cjs"))
            .arg(database.url(SUPERUSER))
            .env("NODE_PATH", GRAPHILE.dir()?.join("node_modules"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut output = BufReader::new(process.stdout.take().ok_or("the worker has no output")?);
        let mut ready = String::new();
        output.read_line(&mut ready)?;
        if ready != "ready\n" {
            return Err(format!("graphile-worker: its worker did not start: {ready}").into());
        }
        Ok(Self { database, process, output, committed: vec![] })
    }

    /// The numbers of a turn's items are not those of another turn's.
    async fn turn(&mut self, time: Duration) -> Result<(), Failed> {
        let number = format!("($1::bigint + {})", self.committed.len() * 10_000_000);
        let item = payload(&number);
        let statement = format!("SELECT {number} FROM graphile_worker.add_job('bench', {item}::json)");
        self.committed.push(stream::enqueue(&self.database, &statement, PER_SECOND, time).await?);
        Ok(())
    }

    /// Ends it. Returns the waits of each turn.
    fn end(mut self) -> Result<Vec<Vec<f64>>, Failed> {
        drop(self.process.stdin.take());
        let mut said = String::new();
        self.output.read_to_string(&mut said)?;
        self.process.wait()?;
        let began: Vec<(i64, i64)> = said
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(id, at)| Ok((id.parse()?, at.parse()?)))
            .collect::<Result<_, std::num::ParseIntError>>()?;
        self.committed.iter().map(|committed| all_waits(committed, &began)).collect()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It ends with its input; where something failed before, it must not stay.
        let _gone_already = self.process.kill();
        let _status = self.process.wait();
    }
}

/// The waits of a turn, each of whose items must have been claimed.
pub(crate) fn all_waits(committed: &HashMap<i64, i64>, claimed: &[(i64, i64)]) -> Result<Vec<f64>, Failed> {
    let waits: Vec<f64> = waits(committed, claimed).into_iter().map(|(_, wait)| wait).collect();
    if waits.len() != committed.len() {
        return Err(format!("{} of {} items were claimed", waits.len(), committed.len()).into());
    }
    Ok(waits)
}

/// One turn of ours.
pub(crate) async fn our_turn(
    database: &Database,
    claimer: &mut Claimer,
    time: Duration,
) -> Result<Vec<f64>, Failed> {
    let committed = stream::enqueue(database, &statement(), PER_SECOND, time).await?;
    // The last ones are claimed within this, or the turn is a failure.
    tokio::time::sleep(Duration::from_secs(1)).await;
    claimer.check().await?;
    take(&claimer.finished);
    all_waits(&committed, &take(&claimer.claimed))
}

pub(crate) async fn latency(server: &Server, settings: &Settings) -> Result<Report, Failed> {
    let mut report = Report::default();
    let time = settings.turn(15);
    let (database, _) = with_queue(server, ", max_parallel => 1000").await?;
    let mut claimer = Claimer::start(&database).await?;
    let mut worker = match Worker::start(server).await {
        Ok(worker) => Some(worker),
        Err(why) => {
            report.left_out.push(why.to_string());
            None
        }
    };
    let mut ours = vec![];
    // The first round warms both sides.
    for round in 0..=settings.rounds {
        let time = if round == 0 { Duration::from_secs(3) } else { time };
        let waits = our_turn(&database, &mut claimer, time).await?;
        ours.push(waits);
        if let Some(worker) = &mut worker {
            worker.turn(time).await?;
        }
    }
    // Its tasks have begun well before this.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let theirs = worker.map(Worker::end).transpose()?;
    let turns = [("pgbatch", Some(ours)), ("graphile-worker", theirs)];
    for (part, name) in [(0.5, "p50"), (0.99, "p99")] {
        let mut sides = vec![];
        for (who, waits) in &turns {
            let Some(waits) = waits else { continue };
            let mut side = Side::new(format!("{who}, commit to claimed, {name}"), "ms");
            side.rounds = waits[1..].iter().map(|waits| quantile(waits, part)).collect();
            sides.push(side);
        }
        if let [ours, theirs] = &sides[..] {
            let what = format!("commit to claimed at 50/s, {name}, against graphile-worker in the same run");
            report.compare(what, ours, theirs, Bar::Below(1.0));
        }
        report.sides.extend(sides);
    }
    report.notes.push(format!(
        "{} s a turn. From the acknowledgement of the commit to that of the claim, or to the begin of the task in the \
         worker (concurrency 10, its log switched off); both by the machine's clock.",
        time.as_secs()
    ));
    Ok(report)
}
