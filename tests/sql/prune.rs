//! Retention: ended batches are deleted after their queue's `retain`, with all they had, in small steps.

use pgbatch_core::state::RunState::{Failed, Succeeded};
use tokio_postgres::Client;

use crate::support::{EPOCH, Tested, batch, claim_one, enqueue, finish, observe, outcome, value, with_queue};

async fn prune(client: &Client) -> Tested {
    client.batch_execute(&format!("SELECT pgbatch.prune({EPOCH})")).await?;
    Ok(())
}

/// A batch of two items that has ended: one by a report, the other after a retry.
async fn ended(client: &Client) -> Tested<i64> {
    let id = enqueue(client, 2, "").await?;
    let run = claim_one(client, (id, 1, 2, 1)).await?;
    client.execute("SELECT pgbatch.complete_item($1, $2, 1)", &[&run.run, &run.token]).await?;
    finish(client, &[outcome(run.run, Failed)]).await?;
    let run = claim_one(client, (id, 2, 2, 2)).await?.run;
    finish(client, &[outcome(run, Succeeded)]).await?;
    assert_eq!(batch(client, id).await?, "succeeded: 2 succeeded");
    Ok(id)
}

/// Lets the time of a batch be over.
async fn expire(client: &Client, id: i64) -> Tested {
    let changed = "UPDATE pgbatch.batch SET expires_at = now() WHERE id = $1 AND expires_at IS NOT NULL";
    assert_eq!(client.execute(changed, &[&id]).await?, 1);
    Ok(())
}

const ROWS: &str = "SELECT concat_ws(' ', (SELECT count(*) FROM pgbatch.batch), (SELECT count(*) FROM pgbatch.stored_item),
    (SELECT count(*) FROM pgbatch.run), (SELECT count(*) FROM pgbatch.report), (SELECT count(*) FROM pgbatch.retry),
    (SELECT count(*) FROM pgbatch.pruning))";

async fn rows(client: &Client) -> Tested<String> {
    value(client, ROWS).await
}

#[tokio::test]
async fn an_ended_batch_is_deleted_with_all_it_had() -> Tested {
    let (_database, client) = with_queue("").await?;
    let (gone, kept) = (ended(&client).await?, ended(&client).await?);
    prune(&client).await?;
    assert_eq!(rows(&client).await?, "2 4 4 2 0 0", "not yet");
    expire(&client, gone).await?;
    prune(&client).await?;
    assert_eq!(rows(&client).await?, "1 2 2 1 0 0");
    assert_eq!(batch(&client, kept).await?, "succeeded: 2 succeeded");
    Ok(())
}

#[tokio::test]
async fn the_retries_of_a_cancelled_batch_go_too() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 3, "").await?;
    let run = claim_one(&client, (id, 2 - 1, 2, 1)).await?.run;
    finish(&client, &[outcome(run, Failed)]).await?;
    client.execute("SELECT pgbatch.cancel_batch($1)", &[&id]).await?;
    assert_eq!(rows(&client).await?, "1 3 1 0 1 0");
    expire(&client, id).await?;
    prune(&client).await?;
    assert_eq!(rows(&client).await?, "0 0 0 0 0 0");
    Ok(())
}

#[tokio::test]
async fn the_dispatcher_is_told_when() -> Tested {
    let (_database, client) = with_queue(", retain => '3 days'").await?;
    assert_eq!(observe(&client).await?.prune_at, None, "nothing is kept");
    let id = ended(&client).await?;
    let due = "SELECT expires_at = finished_at + interval '3 days' FROM pgbatch.batch";
    assert!(value::<bool>(&client, due).await?);
    let view = observe(&client).await?;
    assert!(view.prune_at.is_some_and(|at| at > view.now));
    expire(&client, id).await?;
    let view = observe(&client).await?;
    assert!(view.prune_at.is_some_and(|at| at <= view.now));
    Ok(())
}

#[tokio::test]
async fn another_retain_moves_what_has_ended() -> Tested {
    let (_database, client) = with_queue("").await?;
    ended(&client).await?;
    let open = enqueue(&client, 1, "").await?;
    let kept = "SELECT (expires_at - finished_at)::text FROM pgbatch.batch WHERE expires_at IS NOT NULL";
    for (change, expected) in [
        ("alter_queue('q', retain => '1 day')", "1 day"),
        ("alter_queue('q', max_parallel => 3)", "1 day"),
        ("reset_queue('q', 'retain')", "7 days"),
        // The starts of its runs are counted for as long.
        ("alter_queue('q', max_starts_per => '30 days')", "30 days"),
        ("alter_queue('q', retain => '60 days')", "60 days"),
    ] {
        client.batch_execute(&format!("SELECT pgbatch.{change}")).await?;
        assert_eq!(value::<String>(&client, kept).await?, expected, "{change}");
    }
    client
        .batch_execute("SELECT pgbatch.alter_queue('q', retain => '0 s', max_starts_per => '1 ms')")
        .await?;
    e2e::wait::until("the millisecond to be over", crate::support::LIMIT, async || {
        prune(&client).await.ok()?;
        (rows(&client).await.ok()? == "1 1 0 0 0 0").then_some(())
    })
    .await;
    assert_eq!(batch(&client, open).await?, "pending: 1 pending");
    Ok(())
}

#[tokio::test]
async fn a_batch_that_is_retried_is_kept_until_it_has_ended_again() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 1, ", max_attempts => 1").await?;
    let run = claim_one(&client, (id, 1, 1, 1)).await?.run;
    finish(&client, &[outcome(run, Failed)]).await?;
    expire(&client, id).await?;
    client.execute("SELECT pgbatch.retry_batch($1)", &[&id]).await?;
    prune(&client).await?;
    assert_eq!(batch(&client, id).await?, "running: 1 retrying");
    let run = claim_one(&client, (id, 1, 1, 2)).await?.run;
    finish(&client, &[outcome(run, Succeeded)]).await?;
    prune(&client).await?;
    assert_eq!(batch(&client, id).await?, "succeeded: 1 succeeded", "from its new end on");
    Ok(())
}

#[tokio::test]
async fn a_batch_that_another_one_waits_for_is_kept() -> Tested {
    let (_database, client) = with_queue("").await?;
    let first = ended(&client).await?;
    let long = enqueue(&client, 1, "").await?;
    let after = enqueue(&client, 1, &format!(", after => ARRAY[{first}, {long}]")).await?;
    expire(&client, first).await?;
    prune(&client).await?;
    assert_eq!(batch(&client, first).await?, "succeeded: 2 succeeded");
    let view = observe(&client).await?;
    assert!(view.prune_at.is_some_and(|at| at > view.now), "it is not looked at all the time");
    let run = claim_one(&client, (long, 1, 1, 1)).await?.run;
    finish(&client, &[outcome(run, Succeeded)]).await?;
    observe(&client).await?;
    assert_eq!(batch(&client, after).await?, "pending: 1 pending");
    expire(&client, first).await?;
    prune(&client).await?;
    let left: i64 = value(&client, &format!("SELECT count(*) FROM pgbatch.batch WHERE id = {first}")).await?;
    assert_eq!(left, 0, "nobody waits for it any more");
    Ok(())
}

/// The batch ends to be seen at once, its items go in steps of at most 10,000, and each step says that there is another.
#[tokio::test]
async fn a_large_batch_goes_in_several_steps() -> Tested {
    const ITEMS: i32 = 25_000;
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, ITEMS, "").await?;
    let runs = format!(
        "INSERT INTO pgbatch.run
             (queue, batch_id, first_item, last_item, attempt, max_attempt, state, finished_at, succeeded, failed)
         SELECT 'q', {id}, i, least(i + 2, {ITEMS}), a, 9, 'failed', now(), 0, 0
         FROM generate_series(1, {ITEMS}, 3) i, generate_series(1, 2) a;
         INSERT INTO pgbatch.report (run_id, first_item, last_item, state, retry) SELECT id, first_item, first_item, 'failed', true FROM pgbatch.run;
         UPDATE pgbatch.batch SET state = 'running', has_fresh = false"
    );
    client.batch_execute(&runs).await?;
    client.execute("SELECT pgbatch.cancel_batch($1)", &[&id]).await?;
    expire(&client, id).await?;
    let mut left = Vec::new();
    loop {
        prune(&client).await?;
        let seen = "SELECT (SELECT count(*) FROM pgbatch.batches) + (SELECT count(*) FROM pgbatch.items)
            + (SELECT count(*) FROM pgbatch.runs)";
        assert_eq!(value::<i64>(&client, seen).await?, 0, "nobody sees what is going");
        left.push(rows(&client).await?);
        if observe(&client).await?.prune_at.is_none() {
            break;
        }
    }
    let (half, rest) = (2 * 5_000, 2 * 1_667);
    assert_eq!(left[0], format!("0 15000 {half} {half} 0 1"), "{left:?}");
    assert_eq!(left[1..], [format!("0 5000 {rest} {rest} 0 1"), "0 0 0 0 0 0".to_owned()]);
    Ok(())
}

#[tokio::test]
async fn many_small_batches_go_a_hundred_at_a_time() -> Tested {
    let (_database, client) = with_queue("").await?;
    client
        .batch_execute(
            "INSERT INTO pgbatch.batch (queue, state, items, has_fresh, priority, max_attempts, created_by, finished_at,
                 expires_at, succeeded, failed, cancelled)
             SELECT 'q', 'succeeded', 0, false, 0, 1, 'x', now(), now(), 0, 0, 0 FROM generate_series(1, 250)",
        )
        .await?;
    for left in [150, 50, 0] {
        prune(&client).await?;
        assert_eq!(rows(&client).await?, format!("{left} 0 0 0 0 0"));
    }
    Ok(())
}

/// A dropped queue leaves its ended batches; they go after the default time.
#[tokio::test]
async fn what_is_left_of_a_dropped_queue_goes_too() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = ended(&client).await?;
    client.batch_execute("SELECT pgbatch.drop_queue('q')").await?;
    assert!(observe(&client).await?.prune_at.is_some());
    expire(&client, id).await?;
    prune(&client).await?;
    assert_eq!(rows(&client).await?, "0 0 0 0 0 0");
    Ok(())
}
