//! `enqueue_on_insert`: which rows become items, in which batch, and what becomes of the trigger.

use e2e::postgres::{OWNER, SUPERUSER, Server, is_sql_only};
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::dump::copy;
use crate::support::{Tested, drop_pgbatch, refused, value, with_queue};

const ENQUEUE: &str = "SELECT pgbatch.enqueue_on_insert('t', 'q')";

/// A database with the queue `q`, after these statements.
async fn after(sql: &str) -> Tested<Client> {
    let (_database, client) = with_queue("").await?;
    client.batch_execute(sql).await?;
    Ok(client)
}

/// The items of every batch, in the order of their numbers.
async fn batches(client: &Client) -> Tested<Value> {
    let sql = "SELECT coalesce(jsonb_agg(b.items ORDER BY b.batch_id), '[]') FROM (
        SELECT batch_id, jsonb_agg(item ORDER BY item_no) AS items FROM pgbatch.items GROUP BY batch_id) b";
    value(client, sql).await
}

#[tokio::test]
async fn the_rows_of_a_statement_are_one_batch_in_their_order() -> Tested {
    let client = after(&format!("CREATE TABLE t (a int, b text); {ENQUEUE}")).await?;
    client
        .batch_execute(
            "INSERT INTO t VALUES (2, 'x'), (1, NULL);
             INSERT INTO t SELECT i FROM generate_series(3, 4) i;
             INSERT INTO t SELECT 5 WHERE false;
             UPDATE t SET a = 6; DELETE FROM t",
        )
        .await?;
    client.batch_execute("BEGIN; INSERT INTO t VALUES (7); ROLLBACK").await?;
    let expected =
        json!([[{"a": 2, "b": "x"}, {"a": 1, "b": null}], [{"a": 3, "b": null}, {"a": 4, "b": null}]]);
    assert_eq!(batches(&client).await?, expected);
    let view = "SELECT concat_ws(' ', name, kind, queue, enabled, last_value, source, error, created_by,
        last_fired_at = (SELECT max(created_at) FROM pgbatch.batches)) FROM pgbatch.triggers";
    assert_eq!(value::<String>(&client, view).await?, format!("t-q insert q t 2 t {OWNER} t"));
    Ok(())
}

/// A batch is counted before its items are made, so an insert that becomes an update must be in neither.
#[tokio::test]
async fn a_conflict_that_updates_is_no_insert() -> Tested {
    let client =
        after(&format!("CREATE TABLE t (a int PRIMARY KEY); {ENQUEUE}; INSERT INTO t VALUES (1)")).await?;
    client
        .batch_execute(
            "INSERT INTO t VALUES (1), (2) ON CONFLICT (a) DO UPDATE SET a = excluded.a;
             MERGE INTO t USING (VALUES (2), (3)) n (a) ON t.a = n.a
                 WHEN MATCHED THEN UPDATE SET a = n.a WHEN NOT MATCHED THEN INSERT VALUES (n.a);
             INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING",
        )
        .await?;
    assert_eq!(batches(&client).await?, json!([[{"a": 1}], [{"a": 2}], [{"a": 3}]]));
    Ok(())
}

#[tokio::test]
async fn a_condition_chooses_the_rows() -> Tested {
    let client = after(
        "CREATE TYPE status AS ENUM ('new', 'done'); CREATE DOMAIN amount AS numeric CHECK (value > 0);
         CREATE TABLE t (id int, a amount, s status, \"we\"\"ird\" text, at timestamptz DEFAULT '2020-01-01 12:00 UTC');
         SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'SQL, DMY';
         SELECT pgbatch.enqueue_on_insert('t', 'q', $c$
             new.a > 100 AND s = 'new' AND \"we\"\"ird\" LIKE 'a\\_%' AND at > '01/02/2019'$c$)",
    )
    .await?;
    client
        .batch_execute(
            "SET TimeZone = 'UTC'; SET DateStyle = 'SQL, MDY'; SET standard_conforming_strings = off;
             INSERT INTO t (id, a, s, \"we\"\"ird\") VALUES (1, 100, 'new', 'a_'), (2, 101, 'new', 'a_'),
                 (3, 101, 'done', 'a_'), (4, 101, 'new', 'ab'), (5, NULL, 'new', 'a_'), (7, 102, 'new', 'a_b');
             INSERT INTO t VALUES (6, 101, 'new', 'a_', '2019-01-31 12:00 UTC');
             INSERT INTO t VALUES (8, 1, 'new', 'a_')",
        )
        .await?;
    let ids = "SELECT string_agg(concat(batch_id, item ->> 'id'), ' ' ORDER BY item_no) FROM pgbatch.items";
    assert_eq!(value::<String>(&client, ids).await?, "12 17");
    Ok(())
}

#[tokio::test]
async fn columns_of_all_kinds_and_names() -> Tested {
    let client = after(
        r#"CREATE TYPE status AS ENUM ('new'); CREATE DOMAIN code AS char(5); CREATE DOMAIN codes AS code;
           CREATE TYPE pair AS (a int, b text); CREATE TYPE span AS RANGE (subtype = int);
           CREATE TABLE "we ""ird'T" (new int, i int, "%I" codes, "a' b" bit varying(7), gone int, s status, ss status[],
               p pair, no_pair pair, r span, j jsonb, l int[], g int GENERATED ALWAYS AS (i * 2) STORED);
           ALTER TABLE "we ""ird'T" DROP gone;
           SELECT pgbatch.enqueue_on_insert('"we ""ird''T"', 'q', '"new" = 1 AND "%I" = ''ab'' AND "a'' b" = b''101''');
           INSERT INTO "we ""ird'T" VALUES
               (1, 2, 'ab', b'101', 'new', '{new}', (1, 'x'), NULL, '[1,2)', '{"k": [null]}', '{1,2}')"#,
    )
    .await?;
    let expected = json!([[{"new": 1, "i": 2, "%I": "ab   ", "a' b": "101", "s": "new", "ss": "{new}", "p": "(1,x)",
        "no_pair": null, "r": "[1,2)", "j": {"k": [null]}, "l": [1, 2], "g": 4}]]);
    assert_eq!(batches(&client).await?, expected);
    let row = client.query_one("SELECT name FROM pgbatch.triggers", &[]).await?;
    client.query("SELECT pgbatch.drop_trigger($1)", &[&row.get::<_, String>(0)]).await?;
    Ok(())
}

#[tokio::test]
async fn partitions_and_children() -> Tested {
    let client = after(
        "CREATE TABLE t (a int, r text) PARTITION BY LIST (r);
         CREATE TABLE t_x PARTITION OF t FOR VALUES IN ('x'); CREATE TABLE t_y (r text, a int);
         ALTER TABLE t ATTACH PARTITION t_y FOR VALUES IN ('y');
         CREATE TABLE z (a int); CREATE TABLE c (c int) INHERITS (z)",
    )
    .await?;
    client
        .batch_execute(
            "SELECT pgbatch.enqueue_on_insert(r, 'q') FROM unnest('{t,t_y,c}'::regclass[]) r;
             INSERT INTO t VALUES (1, 'x'), (2, 'y'); UPDATE t SET r = 'x';
             INSERT INTO t_y VALUES ('y', 3); INSERT INTO t_x VALUES (4, 'x'); INSERT INTO c VALUES (5, 6)",
        )
        .await?;
    let expected =
        json!([[{"a": 1, "r": "x"}, {"a": 2, "r": "y"}], [{"r": "y", "a": 3}], [{"a": 5, "c": 6}]]);
    assert_eq!(batches(&client).await?, expected);
    Ok(())
}

#[tokio::test]
async fn a_million_rows_of_a_statement_are_one_batch() -> Tested {
    let (database, client) = with_queue("").await?;
    client.batch_execute(&format!("CREATE TABLE t (a int); {ENQUEUE}")).await?;
    let superuser = database.connect_as(SUPERUSER).await?;
    superuser.batch_execute("SET work_mem = '64kB'; COPY t FROM PROGRAM 'seq 1000000'").await?;
    client.batch_execute("INSERT INTO t SELECT n FROM generate_series(1, 1000000) n").await?;
    let sql =
        "SELECT string_agg(concat_ws(' ', batch_id, items, are_in_order), ', ' ORDER BY batch_id) FROM (
        SELECT batch_id, count(*) AS items, bool_and(item = jsonb_build_object('a', item_no)) AS are_in_order
        FROM pgbatch.stored_item GROUP BY batch_id) b";
    assert_eq!(value::<String>(&client, sql).await?, "1 1000000 t, 2 1000000 t");
    let counted = "SELECT string_agg(items::text, ' ') FROM pgbatch.batches WHERE state = 'pending'";
    assert_eq!(value::<String>(&client, counted).await?, "1000000 1000000");
    Ok(())
}

#[tokio::test]
async fn a_row_that_is_too_large_stores_nothing() -> Tested {
    let client = after(&format!("CREATE TABLE t (a text); {ENQUEUE}")).await?;
    let insert = "INSERT INTO t SELECT repeat('x', i * 30000) FROM generate_series(1, 5) i";
    let error = refused(client.batch_execute(insert).await)?;
    assert_eq!(error.code().code(), "22023");
    assert_eq!(error.message(), "items[3] is too large: 90009 bytes as text, at most 65536 are allowed");
    assert!(error.hint().is_some());
    let stored = "SELECT (SELECT count(*) FROM t) + (SELECT count(*) FROM pgbatch.batch) + (SELECT count(*) FROM pgbatch.stored_item)";
    assert_eq!(value::<i64>(&client, stored).await?, 0);
    Ok(())
}

#[tokio::test]
async fn who_inserts_at_the_same_time_does_not_wait() -> Tested {
    let (database, client) = with_queue("").await?;
    client.batch_execute(&format!("CREATE TABLE t (a int); {ENQUEUE}")).await?;
    let other = database.connect().await?;
    client.batch_execute("BEGIN; INSERT INTO t VALUES (1)").await?;
    other.batch_execute("SET statement_timeout = '20 s'; INSERT INTO t VALUES (2)").await?;
    other.batch_execute("SELECT pgbatch.create_queue('r', sql => 'SELECT 1')").await?;
    client.batch_execute("COMMIT").await?;
    assert_eq!(batches(&client).await?, json!([[{"a": 1}], [{"a": 2}]]));
    Ok(())
}

#[tokio::test]
async fn a_dropped_trigger_enqueues_no_more_and_may_be_made_again() -> Tested {
    let client = after(&format!("CREATE TABLE t (a int); {ENQUEUE}; INSERT INTO t VALUES (1)")).await?;
    client.batch_execute("SELECT pgbatch.drop_trigger('t-q'); INSERT INTO t VALUES (2)").await?;
    assert_eq!(value::<i64>(&client, "SELECT count(*) FROM pgbatch.triggers").await?, 0);
    client.batch_execute(&format!("{ENQUEUE}; INSERT INTO t VALUES (3)")).await?;
    client.batch_execute("DROP TRIGGER pgbatch_q ON t; INSERT INTO t VALUES (4)").await?;
    assert_eq!(value::<i64>(&client, "SELECT count(*) FROM pgbatch.triggers").await?, 0);
    client
        .batch_execute("SELECT pgbatch.enqueue_on_insert('t', 'q', 'a < 6'); INSERT INTO t VALUES (5), (6)")
        .await?;
    client.batch_execute("ALTER TABLE t DISABLE TRIGGER pgbatch_q; INSERT INTO t VALUES (5)").await?;
    assert!(!value::<bool>(&client, "SELECT enabled FROM pgbatch.triggers").await?);
    assert_eq!(batches(&client).await?, json!([[{"a": 1}], [{"a": 3}], [{"a": 5}]]));
    Ok(())
}

#[tokio::test]
async fn a_dropped_table_takes_its_trigger_along() -> Tested {
    let client = after(&format!("CREATE TABLE t (a int); {ENQUEUE}; DROP TABLE t")).await?;
    assert_eq!(value::<i64>(&client, "SELECT count(*) FROM pgbatch.triggers").await?, 0);
    client.batch_execute(&format!("CREATE TABLE t (b int); {ENQUEUE}; INSERT INTO t VALUES (1)")).await?;
    assert_eq!(batches(&client).await?, json!([[{"b": 1}]]));
    client.batch_execute("DROP TABLE t; SELECT pgbatch.drop_queue('q', force => true)").await?;
    assert_eq!(value::<i64>(&client, "SELECT count(*) FROM pgbatch.trigger").await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_renamed_table_and_column_go_on() -> Tested {
    let client = after(&format!("CREATE TABLE t (a int); {ENQUEUE}")).await?;
    client
        .batch_execute("ALTER TABLE t RENAME TO u; ALTER TABLE u RENAME a TO b; ALTER TABLE u ADD c int")
        .await?;
    client
        .batch_execute("CREATE SCHEMA s; ALTER TABLE u SET SCHEMA s; INSERT INTO s.u VALUES (1, 2)")
        .await?;
    assert_eq!(batches(&client).await?, json!([[{"b": 1, "c": 2}]]));
    assert_eq!(value::<String>(&client, "SELECT source FROM pgbatch.triggers").await?, "s.u");
    Ok(())
}

#[tokio::test]
async fn a_queue_that_is_fed_is_not_dropped() -> Tested {
    let client = after(&format!("CREATE TABLE t (a int); {ENQUEUE}")).await?;
    let error = refused(client.batch_execute("SELECT pgbatch.drop_queue('q', force => true)").await)?;
    assert_eq!(
        (error.code().code(), error.message()),
        ("55006", "trigger \"t-q\" on public.t feeds queue \"q\"")
    );
    let error = refused(client.batch_execute(drop_pgbatch()).await)?;
    // Of the dependants of a schema, PostgreSQL names the functions only, and that the others go with them.
    let dependant = if is_sql_only() { "function pgbatch" } else { "trigger pgbatch_q on table t" };
    assert!(error.detail().is_some_and(|d| d.contains(dependant) && d.contains("depends on")), "{error:?}");
    client.batch_execute("SELECT pgbatch.drop_trigger('t-q'); SELECT pgbatch.drop_queue('q')").await?;
    let cascade = if is_sql_only() { "CASCADE" } else { "" };
    client.batch_execute(&format!("{} {cascade}; INSERT INTO t VALUES (1)", drop_pgbatch())).await?;
    Ok(())
}

#[tokio::test]
async fn an_extension_that_is_dropped_with_all_lets_the_table_go_on() -> Tested {
    let client = after(&format!("CREATE TABLE t (a int); {ENQUEUE}; {} CASCADE", drop_pgbatch())).await?;
    client.batch_execute("INSERT INTO t VALUES (1)").await?;
    Ok(())
}

#[tokio::test]
async fn a_trigger_is_dumped_and_restored() -> Tested {
    for role in [OWNER, SUPERUSER] {
        let (database, client) = with_queue("").await?;
        client
            .batch_execute(
                "CREATE SCHEMA s; CREATE TABLE s.t (a int); CREATE TABLE gone (); INSERT INTO s.t VALUES (1);
                 SELECT pgbatch.enqueue_on_insert('s.t', 'q', 'a > 1', name => 'it''s \"mine\"');
                 SELECT pgbatch.enqueue_on_insert('gone', 'q'); DROP TABLE gone",
            )
            .await?;
        let copied = Server::shared()?.empty_database().await?;
        copy(&database, &copied, role)?;
        let restored = copied.connect_as(role).await?;
        assert_eq!(batches(&restored).await?, json!([]), "the restore itself enqueues nothing");
        restored.batch_execute("INSERT INTO s.t VALUES (1), (2)").await?;
        assert_eq!(batches(&restored).await?, json!([[{"a": 2}]]));
        let row = "SELECT concat_ws(' ', name, source, condition) FROM pgbatch.triggers";
        assert_eq!(value::<String>(&restored, row).await?, "it's \"mine\" s.t (a > 1)");
    }
    Ok(())
}
