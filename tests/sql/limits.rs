//! Limits: caps on the live runs of several queues together.

use pgbatch_core::plan::plan;
use pgbatch_core::snapshot::{ExecutorView, Snapshot};
use pgbatch_core::state::RunState::Succeeded;
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::support::{EPOCH, Tested, claim_one, database, finish, observe, outcome, refused, value};

/// A database with the limit `l` of 3, the queues `a` and `b` under it, and `c`, which is not.
async fn limited() -> Tested<(e2e::postgres::Database, Client)> {
    let database = database().await?;
    let client = database.connect().await?;
    client
        .batch_execute(
            "SELECT pgbatch.create_limit('l', 3), pgbatch.create_queue('a', sql => 'x', limit_name => 'l'),
                 pgbatch.create_queue('b', sql => 'x', limit_name => 'l'), pgbatch.create_queue('c', sql => 'x')",
        )
        .await?;
    Ok((database, client))
}

async fn enqueue(client: &Client, queue: &str, items: i32) -> Tested<i64> {
    let sql = format!("SELECT pgbatch.enqueue_query('{queue}', 'SELECT FROM generate_series(1, {items})')");
    value(client, &sql).await
}

/// What a dispatcher claims now, carried out: the runs.
async fn carry_out(client: &Client) -> Tested<Vec<i64>> {
    let store = observe(client).await?;
    let executor = ExecutorView { synced: true, ..ExecutorView::default() };
    let claims = serde_json::to_value(plan(&Snapshot { local_now: store.now, store, executor }).claims)?;
    let rows =
        client.query(&format!("SELECT (pgbatch.claim({EPOCH}, $1) ->> 'run')::bigint"), &[&claims]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

const RUNNING: &str = "SELECT running FROM pgbatch.limits";

#[tokio::test]
async fn a_limit_holds_its_queues_together_exactly() -> Tested {
    let (_database, client) = limited().await?;
    for queue in ["a", "b", "c"] {
        enqueue(&client, queue, 4).await?;
    }
    let first = carry_out(&client).await?;
    assert_eq!(first.len(), 3 + 4, "three of a and b, and all of c");
    assert_eq!(value::<i32>(&client, RUNNING).await?, 3);
    assert_eq!(carry_out(&client).await?.len(), 0, "it is full");
    let held: i64 = value(&client, "SELECT min(id) FROM pgbatch.runs WHERE queue <> 'c'").await?;
    finish(&client, &[outcome(held, Succeeded)]).await?;
    assert_eq!(carry_out(&client).await?.len(), 1, "one ended, one starts");
    client.batch_execute("SELECT pgbatch.alter_limit('l', 5)").await?;
    assert_eq!(carry_out(&client).await?.len(), 2);
    client.batch_execute("SELECT pgbatch.alter_limit('l', 1)").await?;
    assert_eq!(
        (carry_out(&client).await?.len(), value::<i32>(&client, RUNNING).await?),
        (0, 5),
        "live runs go on"
    );
    Ok(())
}

/// What is counted are live runs, of whatever queue names the limit, also of one that has nothing else to do.
#[tokio::test]
async fn the_dispatcher_is_told_of_all_live_runs_under_a_limit() -> Tested {
    let (_database, client) = limited().await?;
    let (a, b) = (enqueue(&client, "a", 1).await?, enqueue(&client, "b", 1).await?);
    claim_one(&client, (a, 1, 1, 1)).await?;
    client.batch_execute("SELECT pgbatch.alter_queue('c', limit_name => 'l')").await?;
    let c = enqueue(&client, "c", 2).await?;
    claim_one(&client, (c, 1, 1, 1)).await?;
    let view = observe(&client).await?;
    let limits: Vec<_> = view
        .queues
        .iter()
        .map(|q| (q.name.as_str(), q.limit.as_ref().map(|l| (l.name.as_str(), l.max_parallel, l.live))))
        .collect();
    let limit = Some(("l", 3, 2));
    assert_eq!(limits, [("a", limit), ("b", limit), ("c", limit)], "batch {b} too");
    Ok(())
}

#[tokio::test]
async fn the_view_shows_who_shares_it_and_how_far_it_is_used() -> Tested {
    let (_database, client) = limited().await?;
    client.batch_execute("SELECT pgbatch.create_limit('unused', 9)").await?;
    let a = enqueue(&client, "a", 1).await?;
    claim_one(&client, (a, 1, 1, 1)).await?;
    let rows: Value =
        value(&client, "SELECT jsonb_agg(to_jsonb(l) - 'created_at' ORDER BY name) FROM pgbatch.limits l")
            .await?;
    let expected = json!([
        {"name": "l", "max_parallel": 3, "running": 1, "queues": ["a", "b"], "created_by": "owner"},
        {"name": "unused", "max_parallel": 9, "running": 0, "queues": [], "created_by": "owner"}
    ]);
    assert_eq!(rows, expected);
    Ok(())
}

#[tokio::test]
async fn a_limit_that_is_used_is_not_dropped() -> Tested {
    let (_database, client) = limited().await?;
    let drop = "SELECT pgbatch.drop_limit('l')";
    let error = refused(client.batch_execute(drop).await)?;
    assert_eq!((error.code().code(), error.message()), ("55006", "limit \"l\" is used by \"a\", \"b\""));
    assert!(error.hint().is_some_and(|hint| hint.contains("pgbatch.reset_queue(..., 'limit_name')")));
    client.batch_execute("SELECT pgbatch.reset_queue('a', 'limit_name'), pgbatch.drop_queue('b')").await?;
    client.batch_execute(drop).await?;
    assert_eq!(value::<i64>(&client, "SELECT count(*) FROM pgbatch.limits").await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_queue_is_taken_off_a_limit_with_what_runs() -> Tested {
    let (_database, client) = limited().await?;
    enqueue(&client, "a", 9).await?;
    assert_eq!(carry_out(&client).await?.len(), 3);
    client.batch_execute("SELECT pgbatch.reset_queue('a', 'limit_name')").await?;
    enqueue(&client, "b", 9).await?;
    assert_eq!(value::<i32>(&client, RUNNING).await?, 0);
    assert_eq!(carry_out(&client).await?.len(), 6 + 3, "each by its own limit");
    Ok(())
}
