//! `watch_rows`: each key of a query once, whenever the tables change, whoever changes them, and whatever fails.

use e2e::postgres::{OWNER, SUPERUSER, Server};
use pgbatch_core::state::RunState::{Failed, Succeeded};
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::dump::copy;
use crate::support::{
    Bell, EPOCH, Tested, claim_one, drop_pgbatch, finish, observe, outcome, refused, until_waiting, value,
    wait_longer_for_locks, with_queue,
};

/// A database with the queue `q`, after these statements.
async fn after(sql: &str) -> Tested<(e2e::postgres::Database, Client)> {
    let (database, client) = with_queue("").await?;
    client.batch_execute(sql).await?;
    Ok((database, client))
}

/// What a dispatcher's look makes of the changes: the items of every batch, in the order of their numbers.
async fn batches(client: &Client) -> Tested<Value> {
    observe(client).await?;
    let sql = "SELECT coalesce(jsonb_agg(b.items ORDER BY b.batch_id), '[]') FROM (
        SELECT batch_id, jsonb_agg(item ORDER BY item_no) AS items FROM pgbatch.items GROUP BY batch_id) b";
    value(client, sql).await
}

async fn error(client: &Client) -> Tested<Option<String>> {
    value(client, "SELECT error FROM pgbatch.triggers WHERE name = 'w'").await
}

/// Lets the time pass that a failed query waits for.
async fn pass_time(client: &Client) -> Tested {
    Ok(client.batch_execute("UPDATE pgbatch.watch_run SET retry_at = now() WHERE failures > 0").await?)
}

#[tokio::test]
async fn each_key_is_one_item_for_ever() -> Tested {
    let (_database, client) = after(
        "CREATE TABLE t (id int, a int); INSERT INTO t VALUES (1, 5), (2, 0);
         CREATE VIEW positive AS SELECT id, a FROM t WHERE a > 0;
         SELECT pgbatch.watch_rows('w', 'q', 'SELECT id, a FROM positive ORDER BY id')",
    )
    .await?;
    let first = json!([{"id": 1, "a": 5}]);
    assert_eq!(batches(&client).await?, json!([first]), "the rows that are there");
    client
        .batch_execute("INSERT INTO t VALUES (10, 1), (9, 1), (9, 1); UPDATE t SET a = 7 WHERE id = 1")
        .await?;
    let second = json!([{"id": 9, "a": 1}, {"id": 10, "a": 1}]);
    assert_eq!(batches(&client).await?, json!([first, second]));
    client
        .batch_execute(
            "UPDATE t SET a = a + 1 WHERE id > 2; DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (1, 6)",
        )
        .await?;
    assert_eq!(batches(&client).await?, json!([first, second]));
    client.batch_execute("UPDATE t SET a = 3 WHERE id = 2").await?;
    assert_eq!(batches(&client).await?, json!([first, second, [{"id": 2, "a": 3}]]));
    client.batch_execute("BEGIN; INSERT INTO t VALUES (11, 1); ROLLBACK; TRUNCATE t").await?;
    assert_eq!(batches(&client).await?.as_array().map(Vec::len), Some(3));
    let view =
        "SELECT concat_ws(' ', name, kind, queue, enabled, last_value, error, created_by, last_fired_at = (
        SELECT max(created_at) FROM pgbatch.batches)) FROM pgbatch.triggers";
    assert_eq!(value::<String>(&client, view).await?, format!("w rows q t 1 {OWNER} t"));
    Ok(())
}

/// With KEDA's count a retried Job may be given another row, and another Job this one.
#[tokio::test]
async fn every_attempt_has_the_row_that_the_first_one_had() -> Tested {
    let (_database, client) = after(
        "CREATE TABLE t (id int, done bool DEFAULT false); INSERT INTO t VALUES (7);
         SELECT pgbatch.watch_rows('w', 'q', 'SELECT id FROM t WHERE NOT done')",
    )
    .await?;
    assert_eq!(batches(&client).await?, json!([[{"id": 7}]]));
    let first = claim_one(&client, (1, 1, 1, 1)).await?;
    // Rows that come, and its own that changes and goes, meanwhile.
    client.batch_execute("INSERT INTO t VALUES (3), (8); UPDATE t SET done = true WHERE id = 7").await?;
    finish(&client, &[outcome(first.run, Failed)]).await?;
    assert_eq!(batches(&client).await?.as_array().map(Vec::len), Some(2), "the new rows are another batch");
    client.batch_execute("DELETE FROM t WHERE id = 7").await?;
    let second = claim_one(&client, (1, 1, 1, 2)).await?;
    for (spec, attempt) in [(&first, 1), (&second, 2)] {
        let item: Value = serde_json::from_str(spec.items[0].json())?;
        assert_eq!((spec.attempt, spec.items.len(), item), (attempt, 1, json!({"id": 7})));
    }
    finish(&client, &[outcome(second.run, Succeeded)]).await?;
    assert_eq!(crate::support::batch(&client, 1).await?, "succeeded: 1 succeeded");
    Ok(())
}

/// Else the rows that are there would wait for the next change.
#[tokio::test]
async fn a_new_watch_rings() -> Tested {
    let (database, client) = after("CREATE TABLE t (id int)").await?;
    let mut bell = Bell::of(&database).await?;
    let before = bell.rings().await?;
    client.batch_execute("SELECT pgbatch.watch_rows('w', 'q', 'SELECT id FROM t')").await?;
    assert!(bell.rings().await? > before);
    Ok(())
}

#[tokio::test]
async fn a_pair_of_key_and_jsonb_is_taken_as_it_is() -> Tested {
    let (_database, client) = after(
        "CREATE TABLE t (id uuid DEFAULT gen_random_uuid(), j jsonb); INSERT INTO t (j) VALUES ('{\"a\": [1]}');
         SELECT pgbatch.watch_rows('w', 'q', 'SELECT id AS key, j AS item FROM t')",
    )
    .await?;
    assert_eq!(batches(&client).await?, json!([[{"a": [1]}]]));
    Ok(())
}

#[tokio::test]
async fn every_way_to_change_a_table_rings_and_is_seen() -> Tested {
    let (database, client) = after(
        "CREATE TABLE t (id int PRIMARY KEY, r text) ; CREATE TABLE c (id int REFERENCES t ON DELETE SET NULL);
         CREATE TABLE p (id int, r text) PARTITION BY LIST (r); CREATE TABLE p_x PARTITION OF p FOR VALUES IN ('x');
         CREATE TABLE parent (id int); CREATE TABLE child () INHERITS (parent);
         INSERT INTO t VALUES (1); INSERT INTO c VALUES (1);
         SELECT pgbatch.watch_rows('w', 'q', $q$ WITH n AS (SELECT count(*) AS n FROM t)
             SELECT 't' || n AS key FROM n UNION ALL SELECT 'c' || count(id) FROM c UNION ALL SELECT 'p' || count(*) FROM p
             UNION ALL SELECT 'i' || (SELECT count(*) FROM parent) $q$)",
    )
    .await?;
    let mut bell = Bell::of(&database).await?;
    observe(&client).await?;
    for (change, key) in [
        ("INSERT INTO t SELECT i FROM generate_series(2, 4) i", "t4"),
        ("INSERT INTO p VALUES (1, 'x'), (2, 'x')", "p2"),
        ("INSERT INTO p_x VALUES (3, 'x')", "p3"),
        ("INSERT INTO child VALUES (1)", "i1"),
        (
            "MERGE INTO t USING (VALUES (7)) n (id) ON t.id = n.id WHEN NOT MATCHED THEN INSERT VALUES (n.id)",
            "t5",
        ),
        // The table c is changed by its foreign key.
        ("DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (1)", "c0"),
        ("TRUNCATE t CASCADE", "t0"),
    ] {
        let before = bell.rings().await?;
        client.batch_execute(change).await?;
        assert!(bell.rings().await? > before, "{change} did not ring");
        assert!(batches(&client).await?.to_string().contains(&format!("\"{key}\"")), "{change}: no {key}");
    }
    Ok(())
}

#[tokio::test]
async fn a_transaction_leaves_one_mark_and_many_are_one_batch() -> Tested {
    let (_database, client) =
        after("CREATE TABLE t (id int); SELECT pgbatch.watch_rows('w', 'q', 'SELECT id FROM t')").await?;
    observe(&client).await?;
    let loops = "DO $$ BEGIN FOR i IN 1..100 LOOP INSERT INTO t VALUES (i); END LOOP; COMMIT;
        FOR i IN 101..105 LOOP INSERT INTO t VALUES (i); COMMIT; END LOOP; END $$";
    client.batch_execute(loops).await?;
    assert_eq!(value::<i64>(&client, "SELECT count(*) FROM pgbatch.watch_mark").await?, 6);
    assert_eq!(batches(&client).await?.as_array().map(Vec::len), Some(1));
    assert_eq!(value::<i64>(&client, "SELECT count(*) FROM pgbatch.stored_item").await?, 105);
    assert_eq!(value::<i64>(&client, "SELECT count(*) FROM pgbatch.watch_mark").await?, 0);
    Ok(())
}

/// Neither of two transactions sees the other's half of a join: the look after both does.
#[tokio::test]
async fn what_is_committed_between_two_looks_is_not_lost() -> Tested {
    let (database, client) = after(
        "CREATE TABLE a (id int); CREATE TABLE b (id int);
         SELECT pgbatch.watch_rows('w', 'q', 'SELECT a.id FROM a JOIN b USING (id)')",
    )
    .await?;
    let (first, second) = (database.connect().await?, database.connect().await?);
    second.batch_execute("SET statement_timeout = '20 s'").await?;
    first.batch_execute("BEGIN; INSERT INTO a VALUES (1)").await?;
    assert_eq!(batches(&client).await?, json!([]));
    second.batch_execute("BEGIN; INSERT INTO b VALUES (1); INSERT INTO a VALUES (2)").await?;
    first.batch_execute("COMMIT").await?;
    assert_eq!(batches(&client).await?, json!([]));
    client.batch_execute("INSERT INTO b VALUES (7)").await?;
    assert_eq!(batches(&client).await?, json!([]));
    second.batch_execute("COMMIT").await?;
    assert_eq!(batches(&client).await?, json!([[{"id": 1}]]));
    Ok(())
}

#[tokio::test]
async fn two_dispatchers_looks_at_once_take_a_key_once() -> Tested {
    let (database, client) =
        after("CREATE TABLE t (id int); INSERT INTO t VALUES (1); SELECT pgbatch.watch_rows('w', 'q', 'SELECT id FROM t')").await?;
    let (other, watcher) = (database.connect().await?, database.connect().await?);
    wait_longer_for_locks(&watcher).await?;
    client.batch_execute(&format!("BEGIN; SELECT pgbatch.run_watches({EPOCH})")).await?;
    let (seen, ()) = tokio::join!(batches(&other), async {
        until_waiting(&watcher, "Lock").await;
        let _ = client.batch_execute("COMMIT").await;
    });
    seen?;
    assert_eq!(batches(&client).await?, json!([[{"id": 1}]]));
    assert_eq!(error(&client).await?, None);
    Ok(())
}

#[tokio::test]
async fn a_look_without_a_change_writes_nothing() -> Tested {
    let (_database, client) =
        after("CREATE TABLE t (id int); SELECT pgbatch.watch_rows('w', 'q', 'SELECT id FROM t')").await?;
    observe(&client).await?;
    let row = "SELECT concat(ctid, xmin) FROM pgbatch.watch_run";
    let before: String = value(&client, row).await?;
    client.batch_execute("BEGIN").await?;
    observe(&client).await?;
    assert!(value::<bool>(&client, "SELECT pg_current_xact_id_if_assigned() IS NULL").await?);
    client.batch_execute("COMMIT; INSERT INTO t SELECT 1 WHERE false").await?;
    observe(&client).await?;
    assert_ne!(value::<String>(&client, row).await?, before, "after a change");
    Ok(())
}

#[tokio::test]
async fn a_query_that_fails_is_tried_again_and_stops_nobody() -> Tested {
    let (database, client) = after(
        "CREATE TABLE t (id int, a text); CREATE TABLE u (id int);
         SELECT pgbatch.watch_rows('v', 'q', 'SELECT id FROM u'), pgbatch.watch_rows('w', 'q', 'SELECT id, a::int AS a FROM t')",
    )
    .await?;
    client.batch_execute("INSERT INTO t VALUES (1, 'x'); INSERT INTO u VALUES (7)").await?;
    assert_eq!(batches(&client).await?, json!([[{"id": 7}]]));
    assert_eq!(error(&client).await?.as_deref(), Some("invalid input syntax for type integer: \"x\""));
    assert!(observe(&client).await?.next_not_before.is_some(), "when to try again");
    client.batch_execute("UPDATE t SET a = '5'").await?;
    // A second is short on a busy machine.
    client.batch_execute("UPDATE pgbatch.watch_run SET retry_at = retry_at + '1 hour'").await?;
    assert_eq!(batches(&client).await?, json!([[{"id": 7}]]), "not at once");
    pass_time(&client).await?;
    assert_eq!(batches(&client).await?, json!([[{"id": 7}], [{"id": 1, "a": 5}]]));
    assert_eq!(error(&client).await?, None);
    assert!(observe(&client).await?.next_not_before.is_none());

    for (change, says) in [
        ("INSERT INTO t VALUES (NULL, '6')", "the key, column id, is NULL in some row"),
        (
            "UPDATE t SET id = 2, a = repeat('x', 70000) WHERE id IS NULL",
            "invalid input syntax for type integer",
        ),
    ] {
        client.batch_execute(change).await?;
        pass_time(&client).await?;
        observe(&client).await?;
        assert!(
            error(&client).await?.is_some_and(|e| e.starts_with(says)),
            "{change}: {:?}",
            error(&client).await?
        );
    }
    let wait: f64 = value(
        &client,
        "SELECT extract(epoch FROM retry_at - ran_at)::float8 FROM pgbatch.watch_run WHERE failures = 2",
    )
    .await?;
    assert!((1.9..2.1).contains(&wait), "the second wait is {wait} s");

    client.batch_execute("DELETE FROM t WHERE id = 2").await?;
    let locker = database.connect().await?;
    locker.batch_execute("BEGIN; LOCK TABLE t").await?;
    pass_time(&client).await?;
    observe(&client).await?;
    assert_eq!(error(&client).await?.as_deref(), Some("canceling statement due to lock timeout"));
    locker.batch_execute("COMMIT").await?;
    pass_time(&client).await?;
    observe(&client).await?;
    assert_eq!(error(&client).await?, None);
    Ok(())
}

#[tokio::test]
async fn an_item_that_may_not_be_is_an_error() -> Tested {
    let (_database, client) = after(
        "CREATE TABLE t (id int, j jsonb); INSERT INTO t VALUES (1, '[]');
         SELECT pgbatch.watch_rows('w', 'q', 'SELECT id, j FROM t')",
    )
    .await?;
    assert_eq!(batches(&client).await?, json!([]));
    assert_eq!(error(&client).await?.as_deref(), Some("items[1] is invalid: array, expected a JSON object"));
    client.batch_execute("UPDATE t SET j = jsonb_build_object('x', repeat('x', 65536))").await?;
    pass_time(&client).await?;
    assert_eq!(batches(&client).await?, json!([]));
    assert!(error(&client).await?.is_some_and(|e| e.starts_with("items[1] is too large: ")));
    Ok(())
}

#[tokio::test]
async fn a_partition_that_is_added_is_said_not_to_be_watched() -> Tested {
    let (_database, client) = after(
        "CREATE TABLE p (id int, r text) PARTITION BY LIST (r); CREATE TABLE p_x PARTITION OF p FOR VALUES IN ('x');
         SELECT pgbatch.watch_rows('w', 'q', 'SELECT id FROM p'); CREATE TABLE p_y PARTITION OF p FOR VALUES IN ('y');
         INSERT INTO p VALUES (1, 'y')",
    )
    .await?;
    assert_eq!(batches(&client).await?, json!([[{"id": 1}]]));
    assert!(error(&client).await?.is_some_and(|e| e.starts_with("changes of public.p_y are not noticed")));
    Ok(())
}

#[tokio::test]
async fn a_dropped_trigger_leaves_nothing() -> Tested {
    let (_database, client) = after(
        "CREATE TABLE t (id int); CREATE TABLE u (id int); INSERT INTO t VALUES (1);
         SELECT pgbatch.watch_rows('w', 'q', 'SELECT id FROM t UNION SELECT id FROM u')",
    )
    .await?;
    observe(&client).await?;
    for (statement, code) in [
        ("DROP TABLE t", "2BP01"),
        ("SELECT pgbatch.drop_queue('q', force => true)", "55006"),
        (drop_pgbatch(), "2BP01"),
        ("SELECT pgbatch.watch_rows('w', 'q', 'SELECT id FROM t')", "42710"),
    ] {
        assert_eq!(refused(client.batch_execute(statement).await)?.code().code(), code, "{statement}");
    }
    const LEFT: &str = "SELECT (SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'pgbatch%') + (SELECT count(*) FROM pgbatch.trigger)
        + (SELECT count(*) FROM pg_views WHERE viewname LIKE 'watched%') + (SELECT count(*) FROM pgbatch.watched_key)
        + (SELECT count(*) FROM pgbatch.watch_run) + (SELECT count(*) FROM pgbatch.watch_mark)";
    client.batch_execute("INSERT INTO t VALUES (2); SELECT pgbatch.drop_trigger('w')").await?;
    assert_eq!(value::<i64>(&client, LEFT).await?, 0);

    // By force: what is left on other tables does no harm, and goes with the next look.
    client
        .batch_execute("SELECT pgbatch.watch_rows('w', 'q', 'SELECT t.id FROM t, u'); DROP TABLE t CASCADE")
        .await?;
    assert_eq!(value::<i64>(&client, "SELECT count(*) FROM pgbatch.triggers").await?, 0);
    client.batch_execute("INSERT INTO u VALUES (1)").await?;
    observe(&client).await?;
    client.batch_execute("INSERT INTO u VALUES (2)").await?;
    assert_eq!(value::<i64>(&client, LEFT).await?, 1, "the trigger on u");
    client.batch_execute("SELECT pgbatch.drop_queue('q', force => true)").await?;
    Ok(())
}

#[tokio::test]
async fn a_watch_is_dumped_and_restored_with_its_keys() -> Tested {
    for role in [OWNER, SUPERUSER] {
        let (database, client) = after(
            "CREATE SCHEMA s; CREATE TABLE s.t (id int PRIMARY KEY, a int); INSERT INTO s.t VALUES (1, 1);
             SELECT pgbatch.watch_rows('it''s \"w\"', 'q', 'SELECT id, a FROM s.t GROUP BY id')",
        )
        .await?;
        assert_eq!(batches(&client).await?, json!([[{"id": 1, "a": 1}]]));
        // Marked and not yet looked at.
        client.batch_execute("INSERT INTO s.t VALUES (2, 2)").await?;
        let copied = Server::shared()?.empty_database().await?;
        copy(&database, &copied, role)?;
        let restored = copied.connect_as(role).await?;
        let both = json!([[{"id": 1, "a": 1}], [{"id": 2, "a": 2}]]);
        assert_eq!(batches(&restored).await?, both);
        restored.batch_execute("INSERT INTO s.t VALUES (3, 3)").await?;
        assert_eq!(batches(&restored).await?.as_array().map(Vec::len), Some(3));
    }
    Ok(())
}
