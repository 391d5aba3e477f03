//! One item a transaction, from many clients: `enqueue` counts them, `wal` the log that they write.

use std::path::PathBuf;

use e2e::postgres::{Database, Server};
use tokio_postgres::Client;

use crate::bare;
use crate::figures::{Bar, Report, Side};
use crate::peers::PEERS;
use crate::pgbench::{Until, run, script};
use crate::rig::{Armed, Failed, QUEUE, REST, connect, payload, wal_position, with_queue};
use crate::settings::Settings;

const OURS: &str = "pgbatch.enqueue, doorbell armed";
const BARE: &str = "bare INSERT of the same row";
const NOTIFY: &str = "the same INSERT with a NOTIFY trigger";

/// One who enqueues.
struct Enqueuer {
    name: String,
    database: Database,
    script: PathBuf,
    _armed: Armed,
}

impl Enqueuer {
    fn new(name: &str, database: Database, statement: &str, armed: Armed) -> Result<Self, Failed> {
        let script = script(name, statement)?;
        let enqueuer = Self { name: name.to_owned(), database, script, _armed: armed };
        // Each statement is tried before anything is measured.
        run(&enqueuer.database, &enqueuer.script, 1, Until::Transactions(20))?;
        Ok(enqueuer)
    }
}

/// Us, the floor with and without NOTIFY, and the peers that can be had; the others are named in the report.
async fn enqueuers(server: &Server, report: &mut Report) -> Result<Vec<Enqueuer>, Failed> {
    let (database, _) = with_queue(server, "").await?;
    let armed = Armed::doorbell(&database).await?;
    let statement = format!("SELECT pgbatch.enqueue('{QUEUE}', {})", payload(":n::int"));
    let mut all = vec![Enqueuer::new(OURS, database, &statement, armed)?];
    for (name, notify) in [(BARE, false), (NOTIFY, true)] {
        let (database, statement) = bare::database(server, notify).await?;
        let armed = Armed::listening(&database, if notify { &["bell"] } else { &[] }).await?;
        all.push(Enqueuer::new(name, database, &statement, armed)?);
    }
    for peer in PEERS {
        let made = async {
            let database = peer.install(server).await?;
            let armed = Armed::listening(&database, peer.channels).await?;
            Enqueuer::new(&peer.title(), database, &peer.enqueue(), armed)
        };
        match made.await {
            Ok(enqueuer) => all.push(enqueuer),
            Err(why) => report.left_out.push(why.to_string()),
        }
    }
    Ok(all)
}

pub(crate) async fn enqueue(server: &Server, settings: &Settings) -> Result<Report, Failed> {
    let mut report = Report::default();
    let enqueuers = enqueuers(server, &mut report).await?;
    let turn = settings.turn(5);
    // 64 clients: for us and for what we are measured by.
    let turns: Vec<(&Enqueuer, usize)> = enqueuers
        .iter()
        .map(|enqueuer| (enqueuer, 16))
        .chain(enqueuers.iter().take(3).map(|enqueuer| (enqueuer, 64)))
        .collect();
    let mut sides: Vec<Side> = turns
        .iter()
        .map(|(enqueuer, clients)| Side::new(format!("{}, {clients} clients", enqueuer.name), "items/s"))
        .collect();
    for round in 0..settings.rounds {
        // Nobody is always the first after a pause, nor after the same other.
        for turn_no in (0..turns.len()).map(|i| (i + round * 5) % turns.len()) {
            let (enqueuer, clients) = turns[turn_no];
            let counted = run(&enqueuer.database, &enqueuer.script, clients, Until::Time(turn))?;
            sides[turn_no].rounds.push(counted.per_second);
        }
    }
    let peers = &sides[3..enqueuers.len()];
    let best = peers.iter().max_by(|a, b| a.median().total_cmp(&b.median()));
    let what = "enqueue, one item a transaction, 16 clients, doorbell armed, against";
    report.compare(format!("{what} the same rows by bare INSERT"), &sides[0], &sides[1], Bar::AtLeast(0.8));
    if let Some(best) = best {
        report.compare(format!("{what} the best peer"), &sides[0], best, Bar::AtLeast(2.0));
    }
    let more = &sides[enqueuers.len()];
    report.compare("the same at 64 clients against 16 clients", more, &sides[0], Bar::AtLeast(0.9));
    report.notes.push(format!(
        "pgbench -M prepared, {} s a turn. Peers enqueue by the SQL statement that their clients send. Who wakes its \
         workers by NOTIFY has one session in LISTEN; river's notification, at most one in 100 ms of a client, is left \
         out. awa is as its command installs it, before a worker has changed its storage.",
        turn.as_secs()
    ));
    report.sides = sides;
    Ok(report)
}

/// Items of a turn of one item a transaction, and in one batch.
const SINGLE: u32 = 4_000;
const BATCH: i64 = 100_000;

pub(crate) async fn wal(server: &Server, settings: &Settings) -> Result<Report, Failed> {
    let mut report = Report::default();
    let enqueuers = enqueuers(server, &mut report).await?;
    let watcher = connect(&enqueuers[0].database).await?;
    // It writes to the log as well, of the tables of any side, a minute later.
    set_autovacuum(&watcher, "off").await?;
    let floor = connect(&enqueuers[1].database).await?;
    floor
        .batch_execute(
            "CREATE TABLE bare.item (batch_id bigint, item_no int, item jsonb NOT NULL, PRIMARY KEY (batch_id, item_no))",
        )
        .await?;
    let mut sides: Vec<Side> = enqueuers
        .iter()
        .map(|enqueuer| Side::new(format!("{}, one a transaction", enqueuer.name), "bytes/item"))
        .collect();
    let mut batch = Side::new("pgbatch.enqueue_query, a batch of 100,000", "bytes/item");
    let mut bare = Side::new("INSERT ... SELECT of the same items, a primary key", "bytes/item");
    for round in 0..settings.rounds {
        for (enqueuer, side) in enqueuers.iter().zip(&mut sides) {
            // Pages that were not written to since the last checkpoint are logged whole: not in what is counted.
            run(&enqueuer.database, &enqueuer.script, 16, Until::Transactions(100))?;
            let before = wal_position(&watcher).await?;
            let counted = run(&enqueuer.database, &enqueuer.script, 16, Until::Transactions(SINGLE / 16))?;
            let written = wal_position(&watcher).await? - before;
            side.rounds.push(written as f64 / counted.transactions);
        }
        let ours = format!("SELECT pgbatch.enqueue_query('{QUEUE}', $q${}$q$)", source(BATCH));
        batch.rounds.push(written_by(&watcher, &ours).await? / BATCH as f64);
        let theirs = format!(
            "INSERT INTO bare.item SELECT {round}, row_number() OVER (), to_jsonb(s) FROM ({}) s",
            source(BATCH)
        );
        bare.rounds.push(written_by(&floor, &theirs).await? / BATCH as f64);
    }
    set_autovacuum(&watcher, "DEFAULT").await?;
    report.state("WAL bytes per item, one item a transaction", &sides[0], Bar::AtMost(450.0));
    report.state("WAL bytes per item, in a batch of 100,000", &batch, Bar::AtMost(220.0));
    report.notes.push(
        "The distance that the log's insert position moved, commits included; nothing else ran on the server, \
         autovacuum neither."
            .to_owned(),
    );
    sides.extend([batch, bare]);
    report.sides = sides;
    Ok(report)
}

/// Of the whole server; one that is at work is waited for.
async fn set_autovacuum(client: &Client, to: &str) -> Result<(), Failed> {
    client.batch_execute(&format!("ALTER SYSTEM SET autovacuum = {to}")).await?;
    client.batch_execute("SELECT pg_reload_conf()").await?;
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'autovacuum worker'";
    while to == "off" && client.query_one(sql, &[]).await?.get::<_, i64>(0) > 0 {
        tokio::time::sleep(REST).await;
    }
    Ok(())
}

/// A query whose rows are items, the same as one at a time.
pub(crate) fn source(items: i64) -> String {
    format!("SELECT i AS id, 1 AS duration_seconds FROM generate_series(1, {items}) i")
}

async fn written_by(client: &Client, statement: &str) -> Result<f64, Failed> {
    let before = wal_position(client).await?;
    client.batch_execute(statement).await?;
    Ok((wal_position(client).await? - before) as f64)
}
