//! A million items in one call.

use std::time::Instant;

use e2e::postgres::Server;

use crate::enqueue::source;
use crate::figures::{Bar, Report, Side};
use crate::rig::{Armed, Failed, QUEUE, connect, with_queue};
use crate::settings::Settings;

pub(crate) async fn bulk(server: &Server, settings: &Settings) -> Result<Report, Failed> {
    let items = settings.items(1_000_000);
    let (database, _) = with_queue(server, "").await?;
    let client = connect(&database).await?;
    let _armed = Armed::doorbell(&database).await?;
    client.batch_execute("CREATE SCHEMA bare").await?;
    let mut ours = Side::new("pgbatch.enqueue_query, one call", "items/s");
    let mut theirs = Side::new("INSERT ... SELECT of the same items, a primary key", "items/s");
    for round in 0..settings.rounds {
        client
            .batch_execute(
                "DROP TABLE IF EXISTS bare.item;
                 CREATE TABLE bare.item
                     (batch_id bigint, item_no int, item jsonb NOT NULL, PRIMARY KEY (batch_id, item_no))",
            )
            .await?;
        let query = source(items);
        let call = format!("SELECT pgbatch.enqueue_query('{QUEUE}', $q${query}$q$)");
        let insert =
            format!("INSERT INTO bare.item SELECT 1, row_number() OVER (), to_jsonb(s) FROM ({query}) s");
        let mut turns = [(&mut ours, call), (&mut theirs, insert)];
        if round % 2 == 1 {
            turns.reverse();
        }
        for (side, statement) in turns {
            // What the turn before has left to write is not this one's.
            client.batch_execute("CHECKPOINT").await?;
            let started = Instant::now();
            client.batch_execute(&statement).await?;
            side.rounds.push(items as f64 / started.elapsed().as_secs_f64());
        }
    }
    let stored: i64 = client.query_one("SELECT count(*) FROM pgbatch.stored_item", &[]).await?.get(0);
    if stored != items * i64::try_from(settings.rounds)? {
        return Err(format!("{stored} items are stored").into());
    }
    let what = format!("one call, {items} items, against INSERT ... SELECT into a table with a primary key");
    report_of(what, ours, theirs)
}

fn report_of(what: String, ours: Side, theirs: Side) -> Result<Report, Failed> {
    let mut report = Report::default();
    report.compare(what, &ours, &theirs, Bar::AtLeast(0.8));
    report.notes.push(
        "The same query on both sides, its rows made JSON there and here; the statement with its commit, after a \
         checkpoint. The table has our columns: batch_id, item_no, item."
            .to_owned(),
    );
    report.sides = vec![ours, theirs];
    Ok(report)
}
