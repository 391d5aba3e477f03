//! Enqueueing: what is stored, and what the query may do.

use e2e::postgres::{OWNER, SUPERUSER};
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::support::{
    Tested, batch, claim_one, database, enqueue, finish, outcome, refused, until_waiting, value, with_queue,
};

async fn items_of(client: &Client, batch: i64) -> Tested<Vec<Value>> {
    let sql = "SELECT item FROM pgbatch.items WHERE batch_id = $1 ORDER BY item_no";
    Ok(client.query(sql, &[&batch]).await?.iter().map(|row| row.get(0)).collect())
}

#[tokio::test]
async fn one_item_and_many_are_stored_as_given() -> Tested {
    let (_database, client) = with_queue("").await?;
    let one: i64 = value(&client, "SELECT pgbatch.enqueue('q')").await?;
    assert_eq!(items_of(&client, one).await?, [json!({})]);
    let given = [json!({"a": "it's; --"}), json!({"b": [1, null]})];
    let many: i64 =
        client.query_one("SELECT pgbatch.enqueue_batch('q', $1)", &[&given.as_slice()]).await?.get(0);
    assert_eq!(items_of(&client, many).await?, given);
    assert_eq!(batch(&client, many).await?, "pending: 2 pending");
    Ok(())
}

#[tokio::test]
async fn rows_of_a_query_become_items() -> Tested {
    let (_database, client) = with_queue("").await?;
    let cases = [
        ("SELECT 1 AS a, 'x'::text AS b, NULL::int AS c", vec![json!({"a": 1, "b": "x", "c": null})]),
        (
            "SELECT jsonb_build_object('k', i) FROM generate_series(1, 2) i",
            vec![json!({"k": 1}), json!({"k": 2})],
        ),
        ("SELECT '{\"k\": 1}'::json", vec![json!({"k": 1})]),
        ("SELECT '[1]'::jsonb AS list", vec![json!({"list": [1]})]),
        ("SELECT '{\"k\": 1}'::text AS words", vec![json!({"words": "{\"k\": 1}"})]),
        ("SELECT '{\"k\": 1}'::jsonb AS a, 2 AS b", vec![json!({"a": {"k": 1}, "b": 2})]),
        ("SELECT 1 WHERE false", vec![]),
        ("VALUES (1), (2)", vec![json!({"column1": 1}), json!({"column1": 2})]),
        (
            "SELECT 'a''; DROP TABLE x; --$$' AS \"q\"\"'; --\"",
            vec![json!({"q\"'; --": "a'; DROP TABLE x; --$$"})],
        ),
    ];
    for (query, expected) in cases {
        let batch = client.query_one("SELECT pgbatch.enqueue_query('q', $1)", &[&query]).await?.get(0);
        assert_eq!(items_of(&client, batch).await?, expected, "{query}");
    }
    Ok(())
}

#[tokio::test]
async fn a_query_of_several_chunks_keeps_its_order() -> Tested {
    let (_database, client) = with_queue("").await?;
    for rows in [999, 1000, 1001, 2500] {
        let batch = enqueue(&client, rows, "").await?;
        let wrong: i64 = value(
            &client,
            &format!(
                "SELECT count(*) FILTER (WHERE item <> jsonb_build_object('i', item_no))
            + abs(count(*) - {rows}) FROM pgbatch.item WHERE batch_id = {batch}"
            ),
        )
        .await?;
        assert_eq!(wrong, 0, "{rows} rows");
        let items: i32 =
            value(&client, &format!("SELECT items FROM pgbatch.batches WHERE id = {batch}")).await?;
        assert_eq!(items, rows);
    }
    Ok(())
}

#[tokio::test]
async fn a_query_is_one_statement_that_returns_rows() -> Tested {
    let (_database, client) = with_queue("").await?;
    for query in ["SELECT 1; DROP TABLE pgbatch.queue", "", "CREATE TABLE x ()", "SELECT 1) TO STDOUT; --"] {
        refused(client.query_one("SELECT pgbatch.enqueue_query('q', $1)", &[&query]).await)?;
    }
    assert_eq!(value::<i64>(&client, "SELECT count(*) FROM pgbatch.batches").await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_query_runs_as_its_caller_and_with_his_names() -> Tested {
    let (database, client) = with_queue("").await?;
    let superuser = database.connect_as(SUPERUSER).await?;
    let role = format!("caller_{}", database.name);
    superuser.batch_execute(&format!("CREATE ROLE {role} LOGIN; CREATE TABLE public.secret ()")).await?;
    client
        .batch_execute(&format!(
            "SELECT pgbatch.grant('q', '{role}', 'enqueue');
             CREATE SCHEMA mine; CREATE TABLE mine.source AS SELECT 5 AS v;
             GRANT USAGE ON SCHEMA mine TO {role}; GRANT SELECT ON mine.source TO {role}"
        ))
        .await?;
    let caller = database.connect_as(&role).await?;
    caller.batch_execute("SET search_path = mine").await?;
    let batch =
        caller.query_one("SELECT pgbatch.enqueue_query('q', 'SELECT * FROM source')", &[]).await?.get(0);
    assert_eq!(items_of(&client, batch).await?, [json!({"v": 5})]);
    for forbidden in ["SELECT * FROM public.secret", "SELECT name FROM pgbatch.queue"] {
        let error = refused(caller.query_one("SELECT pgbatch.enqueue_query('q', $1)", &[&forbidden]).await)?;
        assert_eq!(error.code().code(), "42501", "{forbidden}: {error}");
    }
    let by: String = value(&client, "SELECT created_by FROM pgbatch.batches").await?;
    assert_eq!(by, role);
    Ok(())
}

#[tokio::test]
async fn nobody_adds_items_to_a_batch_of_another_transaction() -> Tested {
    let (_database, client) = with_queue("").await?;
    let batch = enqueue(&client, 1, "").await?;
    for call in [
        format!("add_query_items({batch}, 2, ARRAY['{{}}'::jsonb])"),
        format!("close_query_batch({batch}, 9)"),
    ] {
        let error = refused(client.batch_execute(&format!("SELECT pgbatch.{call}")).await)?;
        assert_eq!(error.code().code(), "42501");
    }
    Ok(())
}

#[tokio::test]
async fn a_query_is_enqueued_inside_a_savepoint() -> Tested {
    let (_database, client) = with_queue("").await?;
    client.batch_execute("BEGIN; SAVEPOINT s").await?;
    let id = enqueue(&client, 3, "").await?;
    client.batch_execute("RELEASE s; COMMIT").await?;
    assert_eq!(batch(&client, id).await?, "pending: 3 pending");
    Ok(())
}

#[tokio::test]
async fn a_unique_key_holds_while_its_batch_is_open() -> Tested {
    let (_database, client) = with_queue("").await?;
    let first = enqueue(&client, 2, ", unique_key => 'u'").await?;
    assert_eq!(enqueue(&client, 5, ", unique_key => 'u'").await?, first);
    assert_eq!(value::<i64>(&client, "SELECT pgbatch.enqueue('q', unique_key => 'u')").await?, first);
    assert_eq!(batch(&client, first).await?, "pending: 2 pending", "nothing was added");
    let run = claim_one(&client, (first, 1, 2, 1)).await?.run;
    finish(&client, &[outcome(run, pgbatch_core::state::RunState::Succeeded)]).await?;
    let second = enqueue(&client, 1, ", unique_key => 'u'").await?;
    assert_ne!(second, first);
    assert_eq!(enqueue(&client, 1, ", unique_key => 'u'").await?, second, "the open one, not the older one");
    Ok(())
}

#[tokio::test]
async fn a_unique_key_holds_against_an_open_transaction() -> Tested {
    let (database, first) = with_queue("").await?;
    let second = database.connect().await?;
    let watcher = database.connect().await?;
    for (end, same) in [("COMMIT", true), ("ROLLBACK", false)] {
        let sql = format!("SELECT pgbatch.enqueue('q', unique_key => '{end}')");
        first.batch_execute("BEGIN").await?;
        let id: i64 = value(&first, &sql).await?;
        let (other, ()) = tokio::join!(value::<i64>(&second, &sql), async {
            until_waiting(&watcher, "Lock").await;
            let _ = first.batch_execute(end).await;
        });
        assert_eq!(other? == id, same, "{end}");
    }
    Ok(())
}

#[tokio::test]
async fn the_caller_is_the_role_of_set_role() -> Tested {
    let database = database().await?;
    let superuser = database.connect_as(SUPERUSER).await?;
    superuser
        .batch_execute(&format!("SET ROLE {OWNER}; SELECT pgbatch.create_queue('q', sql => 'SELECT 1')"))
        .await?;
    assert_eq!(value::<String>(&superuser, "SELECT created_by FROM pgbatch.queues").await?, OWNER);
    Ok(())
}
