//! What has come since the last look is claimed before the next one, and only what no look could judge otherwise.

use pgbatch_core::run::RunSpec;
use pgbatch_core::state::RunState;
use serde_json::{Value, json};
use tokio_postgres::Client;
use tokio_postgres::types::Json;

use crate::support::{
    EPOCH, Tested, batch, claim_one, enqueue, finish, observe, outcome, refused, with_queue,
};

/// By the permit that a look at the queue `q` as [`with_queue`] makes it gives.
async fn claim_next(client: &Client, runs: i32) -> Tested<Vec<(i64, u32, u32)>> {
    let max_parallel: i32 =
        client.query_one("SELECT max_parallel FROM pgbatch.queues WHERE name = 'q'", &[]).await?.get(0);
    let permit = json!({"queue": "q", "namespace": null, "max_parallel": max_parallel, "runs": runs});
    claim_by(client, &json!([permit])).await
}

async fn claim_by(client: &Client, permits: &Value) -> Tested<Vec<(i64, u32, u32)>> {
    let rows = client.query(&format!("SELECT pgbatch.claim_next({EPOCH}, $1)"), &[permits]).await?;
    let specs = rows.iter().map(|row| Ok(row.try_get::<_, Json<RunSpec>>(0)?.0));
    let specs = specs.collect::<Tested<Vec<RunSpec>>>()?;
    assert!(specs.iter().all(|s| s.attempt == 1 && !s.items.is_empty()));
    Ok(specs.iter().map(|s| (s.batch, s.first_item, s.last_item)).collect())
}

#[tokio::test]
async fn what_came_since_the_look_is_claimed_in_its_order() -> Tested {
    let (_database, client) = with_queue(", items_per_run => 2").await?;
    observe(&client).await?;
    let old = enqueue(&client, 3, "").await?;
    let new = enqueue(&client, 5, "").await?;
    let high = enqueue(&client, 1, ", priority => 1").await?;
    let claimed = claim_next(&client, 4).await?;
    assert_eq!(claimed, [(high, 1, 1), (old, 1, 2), (old, 3, 3), (new, 1, 2)]);
    assert_eq!(batch(&client, new).await?, "running: 3 pending, 2 running");
    let view = observe(&client).await?;
    assert_eq!(view.live.len(), 4, "the next look sees them");
    let fresh = &view.queues[0].fresh;
    assert_eq!((fresh.len(), fresh[0].batch, fresh[0].next_item), (1, new, 3), "and goes on behind them");
    Ok(())
}

#[tokio::test]
async fn a_permit_is_good_once() -> Tested {
    let (_database, client) = with_queue("").await?;
    observe(&client).await?;
    let id = enqueue(&client, 3, "").await?;
    assert_eq!(claim_next(&client, 1).await?, [(id, 1, 1)]);
    assert_eq!(claim_next(&client, 1).await?, [], "it counts on no run but those of the look");
    enqueue(&client, 1, "").await?;
    assert_eq!(claim_next(&client, 1).await?, []);
    observe(&client).await?;
    let later = enqueue(&client, 1, "").await?;
    assert_eq!(claim_next(&client, 1).await?, [(later, 1, 1)]);
    Ok(())
}

#[tokio::test]
async fn what_a_look_has_seen_already_is_left_to_it() -> Tested {
    let (_database, client) = with_queue("").await?;
    let seen = enqueue(&client, 1, "").await?;
    assert_eq!(claim_next(&client, 9).await?, [], "there was no look");
    observe(&client).await?;
    assert_eq!(claim_next(&client, 9).await?, []);
    assert_eq!(batch(&client, seen).await?, "pending: 1 pending");
    Ok(())
}

#[tokio::test]
async fn what_was_open_at_the_look_is_found_when_it_commits() -> Tested {
    let (database, client) = with_queue("").await?;
    let mut other = database.connect().await?;
    let transaction = other.transaction().await?;
    let id: i64 = transaction.query_one("SELECT pgbatch.enqueue('q')", &[]).await?.get(0);
    observe(&client).await?;
    let newer = enqueue(&client, 1, "").await?;
    assert_eq!(claim_next(&client, 1).await?, [(newer, 1, 1)]);
    finish(&client, &[outcome(observe(&client).await?.live[0].run, RunState::Succeeded)]).await?;
    observe(&client).await?;
    transaction.commit().await?;
    assert_eq!(claim_next(&client, 1).await?, [(id, 1, 1)]);
    Ok(())
}

#[tokio::test]
async fn a_queue_that_has_changed_is_left_to_the_look() -> Tested {
    let (_database, client) = with_queue(", max_parallel => 5").await?;
    let permit = json!([{"queue": "q", "namespace": null, "max_parallel": 5, "runs": 5}]);
    for (change, back) in [
        ("pause_queue('q')", "resume_queue('q')"),
        ("alter_queue('q', max_parallel => 4)", "alter_queue('q', max_parallel => 5)"),
        ("alter_queue('q', max_per_key => 1)", "reset_queue('q', 'max_per_key')"),
        ("alter_queue('q', max_starts => 1)", "reset_queue('q', 'max_starts')"),
        ("alter_queue('q', namespace => 'other')", "reset_queue('q', 'namespace')"),
        (
            "create_limit('l', 1), pgbatch.alter_queue('q', limit_name => 'l')",
            "reset_queue('q', 'limit_name')",
        ),
    ] {
        observe(&client).await?;
        let id = enqueue(&client, 1, "").await?;
        client.batch_execute(&format!("SELECT pgbatch.{change}")).await?;
        assert_eq!(claim_by(&client, &permit).await?, [], "{change}");
        client.batch_execute(&format!("SELECT pgbatch.{back}")).await?;
        assert_eq!(claim_by(&client, &permit).await?, [(id, 1, 1)], "{back}");
    }
    Ok(())
}

#[tokio::test]
async fn what_must_not_start_is_not_claimed_and_a_locked_batch_is_not_waited_for() -> Tested {
    let (database, client) = with_queue("").await?;
    observe(&client).await?;
    enqueue(&client, 1, ", not_before => now() + interval '1 h'").await?;
    let cancelled = enqueue(&client, 1, "").await?;
    client.execute("SELECT pgbatch.cancel_batch($1)", &[&cancelled]).await?;
    let (locked, free) = (enqueue(&client, 1, "").await?, enqueue(&client, 1, "").await?);
    let mut other = database.connect().await?;
    let transaction = other.transaction().await?;
    transaction.execute("SELECT pgbatch.cancel_batch($1)", &[&locked]).await?;
    assert_eq!(claim_next(&client, 9).await?, [(free, 1, 1)]);
    transaction.rollback().await?;
    observe(&client).await?;
    claim_one(&client, (locked, 1, 1, 1)).await?;
    Ok(())
}

#[tokio::test]
async fn a_dispatcher_that_does_not_lead_claims_nothing() -> Tested {
    let (_database, client) = with_queue("").await?;
    observe(&client).await?;
    let id = enqueue(&client, 1, "").await?;
    let permits = json!([{"queue": "q", "namespace": null, "max_parallel": 10, "runs": 1}]);
    let asked = client.query("SELECT pgbatch.claim_next(7, $1)", &[&permits]).await;
    let error = refused(asked)?;
    assert_eq!(error.code().code(), "55000", "{error}");
    assert_eq!(batch(&client, id).await?, "pending: 1 pending");
    Ok(())
}
