//! Batches that wait: for a time, for other batches.

use pgbatch_core::state::RunState::{Failed, Succeeded};
use tokio_postgres::Client;

use crate::support::{Tested, batch, claim_one, enqueue, finish, observe, outcome, value, with_queue};

async fn state(client: &Client, id: i64) -> Tested<String> {
    value(client, &format!("SELECT state FROM pgbatch.batches WHERE id = {id}")).await
}

async fn run_to(client: &Client, id: i64, end: pgbatch_core::state::RunState) -> Tested {
    let run = claim_one(client, (id, 1, 1, 1)).await?.run;
    finish(client, &[outcome(run, end)]).await?;
    Ok(())
}

#[tokio::test]
async fn not_before_holds_a_batch_until_then() -> Tested {
    let (_database, client) = with_queue("").await?;
    let late = enqueue(&client, 1, ", not_before => '2999-01-02 00:00+00'").await?;
    let later = enqueue(&client, 1, ", not_before => '2999-01-03 00:00+00'").await?;
    let past = enqueue(&client, 1, ", not_before => '2000-01-01 00:00+00'").await?;
    assert_eq!(state(&client, past).await?, "pending");
    let view = observe(&client).await?;
    assert_eq!(view.next_not_before, Some("2999-01-02T00:00:00Z".parse()?));
    assert_eq!(view.queues[0].fresh.len(), 1);
    client.execute("UPDATE pgbatch.batch SET not_before = now() WHERE id = $1", &[&late]).await?;
    let view = observe(&client).await?;
    assert_eq!(view.next_not_before, Some("2999-01-03T00:00:00Z".parse()?));
    assert_eq!(
        (state(&client, late).await?, state(&client, later).await?),
        ("pending".into(), "waiting".into())
    );
    Ok(())
}

#[tokio::test]
async fn a_batch_after_others_starts_when_all_have_succeeded() -> Tested {
    let (_database, client) = with_queue("").await?;
    let first = enqueue(&client, 1, "").await?;
    let second = enqueue(&client, 1, "").await?;
    let after = enqueue(&client, 1, &format!(", after => ARRAY[{first}, {second}, {first}]")).await?;
    let timed =
        enqueue(&client, 1, &format!(", after => ARRAY[{first}], not_before => now() + interval '1 h'"))
            .await?;
    run_to(&client, first, Succeeded).await?;
    observe(&client).await?;
    assert_eq!(state(&client, after).await?, "waiting");
    run_to(&client, second, Succeeded).await?;
    observe(&client).await?;
    assert_eq!(state(&client, after).await?, "pending");
    assert_eq!(state(&client, timed).await?, "waiting", "its time has not come");
    Ok(())
}

#[tokio::test]
async fn chains_settle_in_one_look() -> Tested {
    let (_database, client) = with_queue("").await?;
    let start = enqueue(&client, 1, ", max_attempts => 1").await?;
    let good = enqueue(&client, 1, "").await?;
    let mut hopeless = vec![enqueue(&client, 1, &format!(", after => ARRAY[{start}, {good}]")).await?];
    let mut empty = vec![enqueue(&client, 0, &format!(", after => ARRAY[{good}]")).await?];
    for _ in 0..5 {
        hopeless
            .push(enqueue(&client, 1, &format!(", after => ARRAY[{}]", hopeless[hopeless.len() - 1])).await?);
        empty.push(enqueue(&client, 0, &format!(", after => ARRAY[{}]", empty[empty.len() - 1])).await?);
    }
    run_to(&client, start, Failed).await?;
    run_to(&client, good, Succeeded).await?;
    assert_eq!(observe(&client).await?.queues.len(), 0, "nothing is open");
    for id in &hopeless {
        assert_eq!(batch(&client, *id).await?, "cancelled: 1 cancelled");
    }
    for id in empty {
        assert_eq!(batch(&client, id).await?, "succeeded: ");
    }
    let reasons: String = value(
        &client,
        "SELECT string_agg(cancel_reason, ',' ORDER BY id) FROM pgbatch.batches WHERE cancel_reason IS NOT NULL",
    )
    .await?;
    let rest = hopeless[..5].iter().map(|id| format!(",batch {id} was cancelled")).collect::<String>();
    assert_eq!(reasons, format!("batch {start} failed{rest}"));
    Ok(())
}

#[tokio::test]
async fn what_comes_after_a_dropped_batch_does_not_run() -> Tested {
    let (_database, client) = with_queue("").await?;
    client.batch_execute("SELECT pgbatch.create_queue('other', sql => 'SELECT 1')").await?;
    let dropped: i64 = value(&client, "SELECT pgbatch.enqueue('other')").await?;
    let after = enqueue(&client, 1, &format!(", after => ARRAY[{dropped}]")).await?;
    client.batch_execute("SELECT pgbatch.drop_queue('other', force => true)").await?;
    observe(&client).await?;
    assert_eq!(batch(&client, after).await?, "cancelled: 1 cancelled");
    Ok(())
}

/// The end of somebody's lock may ring nothing (a rollback), so the dispatcher is told to look again.
#[tokio::test]
async fn a_batch_that_somebody_has_locked_is_looked_at_again() -> Tested {
    let (database, client) = with_queue("").await?;
    let other = database.connect().await?;
    let id = enqueue(&client, 1, ", not_before => now() + interval '1 h'").await?;
    client.batch_execute("UPDATE pgbatch.batch SET not_before = now()").await?;
    other.batch_execute(&format!("BEGIN; SELECT pgbatch.cancel_batch({id})")).await?;
    let view = observe(&client).await?;
    assert!(view.next_not_before.is_some_and(|t| t > view.now));
    other.batch_execute("ROLLBACK").await?;
    let view = observe(&client).await?;
    assert_eq!((view.next_not_before, view.queues[0].fresh.len()), (None, 1));
    Ok(())
}
