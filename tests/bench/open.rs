//! An enqueuer while another's transaction that enqueued is open.

use std::time::Instant;

use e2e::postgres::{Database, Server};
use tokio_postgres::Client;

use crate::figures::{Bar, Report, Side, quantile};
use crate::peers::PEERS;
use crate::rig::{Failed, QUEUE, connect, payload, with_queue};
use crate::settings::Settings;

/// Enqueues of a turn, each beside one without an open transaction.
const ENQUEUES: i64 = 200;
/// Longer than any enqueue takes that does not wait, in ms.
const LIMIT: f64 = 1000.0;

struct Pair {
    name: String,
    opens: Client,
    enqueues: Client,
    statement: String,
}

impl Pair {
    async fn new(name: String, database: &Database, statement: &str) -> Result<Self, Failed> {
        let enqueues = connect(database).await?;
        enqueues.batch_execute(&format!("SET statement_timeout = {LIMIT}")).await?;
        Ok(Self {
            name,
            opens: connect(database).await?,
            enqueues,
            statement: statement.replace(":n::int", "1"),
        })
    }

    /// One enqueue in ms; as long as the limit if it waits for longer.
    async fn enqueue(&self) -> Result<f64, Failed> {
        let started = Instant::now();
        match self.enqueues.batch_execute(&self.statement).await {
            Ok(()) => Ok(started.elapsed().as_secs_f64() * 1e3),
            Err(error) if error.code().is_some_and(|code| code.code() == "57014") => Ok(LIMIT),
            Err(error) => Err(error.into()),
        }
    }

    /// The times alone, and those while another's transaction is open.
    async fn turn(&self, enqueues: i64) -> Result<(Vec<f64>, Vec<f64>), Failed> {
        let (mut alone, mut beside) = (vec![], vec![]);
        for _ in 0..enqueues {
            alone.push(self.enqueue().await?);
            self.opens.batch_execute(&format!("BEGIN; {}", self.statement)).await?;
            let waited = self.enqueue().await;
            self.opens.batch_execute("ROLLBACK").await?;
            beside.push(waited?);
            // One who waits does so each time.
            if beside.ends_with(&[LIMIT]) {
                break;
            }
        }
        Ok((alone, beside))
    }
}

pub(crate) async fn open(server: &Server, settings: &Settings) -> Result<Report, Failed> {
    let mut report = Report::default();
    let (database, _) = with_queue(server, "").await?;
    let statement = format!("SELECT pgbatch.enqueue('{QUEUE}', {})", payload("1"));
    let mut pairs = vec![Pair::new("pgbatch".to_owned(), &database, &statement).await?];
    for peer in PEERS {
        let made = async {
            let database = peer.install(server).await?;
            Pair::new(peer.title(), &database, &peer.enqueue()).await
        };
        match made.await {
            Ok(pair) => pairs.push(pair),
            Err(why) => report.left_out.push(why.to_string()),
        }
    }
    let mut sides = vec![];
    for pair in &pairs {
        sides.push(Side::new(format!("{}, alone, p50", pair.name), "ms"));
        sides.push(Side::new(format!("{}, another's transaction open, p50", pair.name), "ms"));
    }
    for _ in 0..settings.rounds {
        for (pair, sides) in pairs.iter().zip(sides.chunks_mut(2)) {
            let (alone, beside) = pair.turn(settings.items(ENQUEUES)).await?;
            sides[0].rounds.push(quantile(&alone, 0.5));
            sides[1].rounds.push(quantile(&beside, 0.5));
        }
    }
    let what = "an enqueuer while another's transaction that enqueued is open, against alone, p50";
    let (alone, beside) = (sides[0].clone(), sides[1].clone());
    report.compare(what, &beside, &alone, Bar::AtMost(1.2));
    report
        .notes
        .push(format!("{LIMIT} ms = waited for the other's end, and was ended by its statement timeout."));
    report.sides = sides;
    Ok(report)
}
