//! Ranges of a large table's key: how long it takes, how much of the table is read, and whether each row is in one. By hand
//! only: a hundred million rows take ten minutes to make.

use std::time::Instant;

use e2e::postgres::Server;
use tokio_postgres::Client;

use crate::figures::{Bar, Report, Side};
use crate::rig::{Failed, QUEUE, connect, with_queue};
use crate::settings::Settings;

/// The ranges that are asked for.
const RANGES: i64 = 1000;

/// A table's name, and its keys by the number of the row, from 0 on; `rows` is how many there are.
const LAYOUTS: [(&str, &str); 2] = [
    ("dense", "i"),
    // Two fifths follow each other, two fifths have gaps of 1000 to 2000, and a fifth is a few keys of many rows.
    (
        "with gaps and skew",
        "CASE WHEN i % 5 < 2 THEN i WHEN i % 5 < 4 THEN rows + 1000 * i + (hashint8(i) & 1023) ELSE -(hashint8(i) & 1023) END",
    ),
];

pub(crate) async fn ranges(server: &Server, settings: &Settings) -> Result<Report, Failed> {
    let rows = settings.items(10_000_000);
    let (database, _) = with_queue(server, "").await?;
    let client = connect(&database).await?;
    let mut report = Report::default();
    for (layout, key) in LAYOUTS {
        make(&client, rows, key).await?;
        let [mut seconds, mut share, mut largest] = [
            ("enqueue_ranges", "s"),
            ("pages read of the table's", "%"),
            ("rows of the largest range of those asked for", "times"),
        ]
        .map(|(what, unit)| Side::new(format!("{what}, {rows} rows, {layout}"), unit));
        for _ in 0..settings.rounds {
            let cut = cut(&client, rows).await?;
            seconds.rounds.push(cut.seconds);
            share.rounds.push(cut.share);
            largest.rounds.push(cut.largest);
        }
        let what = format!("enqueue_ranges over {rows} rows, {layout}: pages read of the table's");
        report.state(what, &share, Bar::AtMost(10.0));
        report.sides.extend([seconds, share, largest]);
    }
    report.notes.push(format!(
        "{RANGES} ranges; a page that is read twice counts twice. Each time all rows were found, each in exactly one range."
    ));
    Ok(report)
}

async fn make(client: &Client, rows: i64, key: &str) -> Result<(), Failed> {
    client
        .batch_execute(&format!(
            "DROP TABLE IF EXISTS rows;
             CREATE UNLOGGED TABLE rows (k bigint, amount int) WITH (autovacuum_enabled = false);
             INSERT INTO rows SELECT {}, 1 FROM generate_series(0::bigint, {rows} - 1) i;
             SET maintenance_work_mem = '1GB';
             CREATE INDEX ON rows (k)",
            key.replace("rows", &rows.to_string())
        ))
        .await?;
    // Alone, as it runs in no transaction.
    client.batch_execute("VACUUM ANALYZE rows").await.map_err(Into::into)
}

struct Cut {
    seconds: f64,
    /// Pages read, in per cent of the table's.
    share: f64,
    /// The largest range, in times of the size that was asked for.
    largest: f64,
}

async fn cut(client: &Client, rows: i64) -> Result<Cut, Failed> {
    let size = i32::try_from((rows / RANGES).max(1))?;
    let before = pages_read(client).await?;
    let began = Instant::now();
    let sql = "SELECT pgbatch.enqueue_ranges($1, 'rows', 'k', $2)";
    let batch: i64 = client.query_one(sql, &[&QUEUE, &size]).await?.get(0);
    let seconds = began.elapsed().as_secs_f64();
    let read = pages_read(client).await? - before;
    let pages: i64 =
        client.query_one("SELECT relpages::bigint FROM pg_class WHERE relname = 'rows'", &[]).await?.get(0);
    // Ranges that do not overlap, in which there are as many rows as the table has: each row is in exactly one.
    let row = client
        .query_one(
            "WITH range AS MATERIALIZED (
                 SELECT (item ->> 'from')::bigint AS a, (item ->> 'to')::bigint AS z FROM pgbatch.items WHERE batch_id = $1
             ), follow AS (
                 SELECT bool_and(a <= z) AND bool_and(coalesce(z < next, true)) AS apart
                 FROM (SELECT a, z, lead(a) OVER (ORDER BY a) AS next FROM range) f)
             SELECT sum(n)::bigint, max(n), (SELECT apart FROM follow)
             FROM (SELECT (SELECT count(*) FROM rows WHERE k BETWEEN a AND z) AS n FROM range) c",
            &[&batch],
        )
        .await?;
    let (found, largest, apart): (i64, i64, bool) = (row.get(0), row.get(1), row.get(2));
    if found != rows || !apart {
        return Err(
            format!("{found} of {rows} rows are in ranges; ranges that do not overlap: {apart}").into()
        );
    }
    Ok(Cut { seconds, share: 100.0 * read as f64 / pages as f64, largest: largest as f64 / f64::from(size) })
}

/// The pages of the table that were read or found in memory so far.
async fn pages_read(client: &Client) -> Result<i64, Failed> {
    client.batch_execute("SELECT pg_stat_force_next_flush()").await?;
    let sql = "SELECT heap_blks_read + heap_blks_hit FROM pg_statio_user_tables WHERE relname = 'rows'";
    Ok(client.query_one(sql, &[]).await?.get(0))
}
