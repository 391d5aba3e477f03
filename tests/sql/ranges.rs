//! `enqueue_ranges`: every row in exactly one range, whatever the keys look like, and large tables are not read whole.

use serde_json::Value;
use tokio_postgres::Client;

use crate::support::{Tested, refused, value, with_queue};

/// A database with the queue `q` and the table `t`, made by this statement.
async fn with_table(sql: &str) -> Tested<Client> {
    let (_database, client) = with_queue("").await?;
    client.batch_execute(sql).await?;
    Ok(client)
}

async fn ranges(client: &Client, rows_per_item: i32) -> Tested<Vec<Value>> {
    let enqueue = "SELECT pgbatch.enqueue_ranges('q', 't', 'k', $1)";
    let batch: i64 = client.query_one(enqueue, &[&rows_per_item]).await?.get(0);
    let sql = "SELECT item FROM pgbatch.items WHERE batch_id = $1 ORDER BY item_no";
    Ok(client.query(sql, &[&batch]).await?.iter().map(|row| row.get(0)).collect())
}

/// How many rows are in how many ranges, as `rows in ranges`: `7 in 1` is what is wanted.
async fn cover(client: &Client, key_type: &str) -> Tested<String> {
    let sql = format!(
        "SELECT coalesce(string_agg(rows || ' in ' || ranges, ', ' ORDER BY ranges), '') FROM (
             SELECT count(*) AS rows, ranges FROM (
                 SELECT (SELECT count(*) FROM pgbatch.items i WHERE i.batch_id = b.id
                         AND t.k BETWEEN (i.item ->> 'from')::{key_type} AND (i.item ->> 'to')::{key_type}) AS ranges
                 FROM t, (SELECT max(id) AS id FROM pgbatch.batches) b) r
             GROUP BY ranges) c"
    );
    value(client, &sql).await
}

#[tokio::test]
async fn a_small_table_is_cut_exactly() -> Tested {
    let client = with_table(
        "CREATE TABLE t (k int PRIMARY KEY); INSERT INTO t SELECT 10 * i FROM generate_series(1, 10) i",
    )
    .await?;
    let expected: Vec<Value> =
        [(10, 40), (50, 80), (90, 100)].map(|(from, to)| serde_json::json!({"from": from, "to": to})).into();
    assert_eq!(ranges(&client, 4).await?, expected);
    assert_eq!(cover(&client, "int").await?, "10 in 1");
    Ok(())
}

#[tokio::test]
async fn rows_of_equal_keys_are_in_the_same_range() -> Tested {
    let client = with_table(
        "CREATE TABLE t (k int); CREATE INDEX ON t (k);
         INSERT INTO t SELECT i / 7 FROM generate_series(1, 100) i; INSERT INTO t SELECT 5 FROM generate_series(1, 50)",
    )
    .await?;
    ranges(&client, 4).await?;
    assert_eq!(cover(&client, "int").await?, "150 in 1");
    Ok(())
}

#[tokio::test]
async fn keys_of_other_types_and_partitioned_tables() -> Tested {
    for (table, key_type) in [
        ("CREATE TABLE t (k uuid PRIMARY KEY); INSERT INTO t SELECT gen_random_uuid() FROM generate_series(1, 99)", "uuid"),
        ("CREATE TABLE t (k text PRIMARY KEY); INSERT INTO t SELECT 'k''\"' || i FROM generate_series(1, 99) i", "text"),
        (
            "CREATE TABLE t (k timestamptz PRIMARY KEY);
             INSERT INTO t SELECT now() + i * interval '1.000001 s' FROM generate_series(1, 99) i",
            "timestamptz",
        ),
        (
            "CREATE TABLE t (k bigint PRIMARY KEY) PARTITION BY RANGE (k);
             CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (50); CREATE TABLE t2 PARTITION OF t DEFAULT;
             INSERT INTO t SELECT i FROM generate_series(1, 99) i",
            "bigint",
        ),
    ] {
        let client = with_table(table).await?;
        let ranges = ranges(&client, 10).await?.len();
        assert_eq!((ranges, cover(&client, key_type).await?.as_str()), (10, "99 in 1"), "{key_type}");
    }
    Ok(())
}

#[tokio::test]
async fn an_empty_table_makes_an_empty_batch() -> Tested {
    let client = with_table("CREATE TABLE t (k int PRIMARY KEY)").await?;
    assert_eq!(ranges(&client, 4).await?, Vec::<Value>::new());
    Ok(())
}

/// Half of the rows within a thousandth of the keys, the other half with gaps; the rows in random order.
#[tokio::test]
async fn a_large_table_with_gaps_and_skew_is_cut_evenly_by_a_sample() -> Tested {
    let client = with_table(
        "CREATE TABLE t (k bigint, filler text DEFAULT repeat('x', 60));
         INSERT INTO t (k) SELECT k FROM (
             SELECT i AS k FROM generate_series(1, 150000) i
             UNION ALL SELECT 1000000 + 1000 * i FROM generate_series(1, 150000) i) k ORDER BY hashint8(k);
         ALTER TABLE t ADD PRIMARY KEY (k); ANALYZE t",
    )
    .await?;
    let read = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 't'";
    client.batch_execute("BEGIN").await?;
    // Not from 0: it still counts what the making of the table read.
    let before: i64 = value(&client, read).await?;
    let ranges = ranges(&client, 10_000).await?.len();
    let read = value::<i64>(&client, read).await? - before;
    client.batch_execute("COMMIT").await?;
    assert!(read < 45_000, "{read} rows of 300000 were read");
    // The sample is of whole pages, some hundred: 30, give or take five times its deviation.
    assert!((15..=45).contains(&ranges), "{ranges} ranges of about 10000 rows");
    let sizes = "SELECT concat_ws(' ', sum(rows), count(DISTINCT rows > 0), bool_and(rows < 25000)) FROM (
        SELECT (SELECT count(*) FROM t WHERE k BETWEEN (item->>'from')::bigint AND (item->>'to')::bigint) AS rows
        FROM pgbatch.items) r";
    assert_eq!(
        value::<String>(&client, sizes).await?,
        "300000 1 t",
        "all rows, once, and no range far too large"
    );
    Ok(())
}

/// As most tables are, whose keys are given in order: a page is full of neighbours.
#[tokio::test]
async fn a_large_table_in_the_order_of_its_keys_is_cut_evenly() -> Tested {
    let client = with_table(
        "CREATE TABLE t (k bigint); INSERT INTO t SELECT i FROM generate_series(1, 2000000) i;
         ALTER TABLE t ADD PRIMARY KEY (k); ANALYZE t",
    )
    .await?;
    let ranges = ranges(&client, 10_000).await?;
    let sizes = ranges.iter().map(|r| Some(r["to"].as_i64()? - r["from"].as_i64()? + 1));
    let sizes: Vec<i64> = sizes.collect::<Option<_>>().ok_or("a range without numbers")?;
    assert_eq!(sizes.iter().sum::<i64>(), 2_000_000, "all rows, once");
    assert!(sizes.iter().all(|rows| *rows < 50_000), "ranges of about 10000 rows: {sizes:?}");
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_cut_is_refused() -> Tested {
    let client = with_table(
        "CREATE TABLE t (k int, n int, i int); CREATE INDEX ON t (k); CREATE INDEX ON t (n); INSERT INTO t VALUES (1, NULL, 1);
         CREATE INDEX ON t (i) WHERE i > 0; CREATE VIEW v AS SELECT 1 AS k",
    )
    .await?;
    for (arguments, code, message) in [
        ("'t', 'k', 0", "22023", "rows_per_item must be at least 1, not 0"),
        ("NULL, 'k', 1", "22023", "source must not be NULL"),
        ("'t', NULL, 1", "22023", "key must not be NULL"),
        ("'v', 'k', 1", "42809", "source is invalid: public.v is no table"),
        ("'t', 'x\" y', 1", "42703", "column \"x\"\" y\" of public.t does not exist"),
        ("'t', 'ctid', 1", "42703", "column ctid of public.t does not exist"),
        ("'t', 'i', 1", "22023", "key is invalid: no index of public.t begins with column i"),
        ("'t', 'n', 1", "22023", "key is invalid: column n of public.t has NULLs"),
    ] {
        let sql = format!("SELECT pgbatch.enqueue_ranges('q', {arguments})");
        let error = refused(client.execute(&sql, &[]).await)?;
        assert_eq!(error.code().code(), code, "{arguments}: {error}");
        assert!(error.message().contains(message), "{arguments}: {error}");
        assert!(error.hint().is_some(), "{arguments}: a hint");
    }
    assert_eq!(value::<i64>(&client, "SELECT count(*) FROM pgbatch.batches").await?, 0);
    Ok(())
}
