//! cancel_batch.

use e2e::postgres::OWNER;
use pgbatch_core::state::RunState::{Cancelled, Failed, Succeeded};
use tokio_postgres::AsyncMessage;

use crate::support::{Tested, batch, claim_one, enqueue, finish, observe, outcome, value, with_queue};

async fn cancel(client: &tokio_postgres::Client, id: i64) -> Tested {
    client.execute("SELECT pgbatch.cancel_batch($1)", &[&id]).await?;
    Ok(())
}

#[tokio::test]
async fn with_nothing_live_it_is_final_at_once() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 4, "").await?;
    let runs = [claim_one(&client, (id, 1, 1, 1)).await?.run, claim_one(&client, (id, 2, 2, 1)).await?.run];
    finish(&client, &[outcome(runs[0], Succeeded), outcome(runs[1], Failed)]).await?;
    assert_eq!(batch(&client, id).await?, "running: 2 pending, 1 retrying, 1 succeeded");
    cancel(&client, id).await?;
    assert_eq!(batch(&client, id).await?, "cancelled: 1 succeeded, 3 cancelled");
    assert_eq!(observe(&client).await?.queues.len(), 0);
    let reason: String = value(&client, "SELECT cancel_reason FROM pgbatch.batches").await?;
    assert_eq!(reason, format!("cancelled by {OWNER}"));
    Ok(())
}

#[tokio::test]
async fn with_live_runs_it_ends_when_they_have_stopped() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 4, "").await?;
    let mut runs = Vec::new();
    for item in 1..=3 {
        runs.push(claim_one(&client, (id, item, item, 1)).await?.run);
    }
    cancel(&client, id).await?;
    assert_eq!(batch(&client, id).await?, "running: 3 running, 1 cancelled");
    let view = observe(&client).await?;
    assert!(view.live.iter().all(|run| run.cancel) && view.queues[0].fresh.is_empty());
    assert_eq!(finish(&client, &[outcome(runs[0], Succeeded), outcome(runs[1], Failed)]).await?.len(), 0);
    assert_eq!(finish(&client, &[outcome(runs[2], Cancelled)]).await?.len(), 1);
    assert_eq!(batch(&client, id).await?, "cancelled: 1 succeeded, 1 failed, 2 cancelled");
    Ok(())
}

#[tokio::test]
async fn what_has_ended_stays_as_it_is_with_a_notice() -> Tested {
    let (database, setup) = with_queue("").await?;
    let id = enqueue(&setup, 0, "").await?;
    observe(&setup).await?;
    let (client, mut messages) = database.connect_with_messages(OWNER).await?;
    cancel(&client, id).await?;
    assert_eq!(batch(&client, id).await?, "succeeded: ");
    let Ok(AsyncMessage::Notice(notice)) = messages.try_recv() else { return Err("no notice".into()) };
    assert!(notice.message().contains("has ended already"));
    Ok(())
}

#[tokio::test]
async fn cancelling_twice_is_cancelling_once() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 1, "").await?;
    let run = claim_one(&client, (id, 1, 1, 1)).await?.run;
    cancel(&client, id).await?;
    cancel(&client, id).await?;
    finish(&client, &[outcome(run, Cancelled)]).await?;
    assert_eq!(batch(&client, id).await?, "cancelled: 1 cancelled");
    Ok(())
}

#[tokio::test]
async fn retries_of_a_batch_being_cancelled_are_over() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 2, "").await?;
    let failed = claim_one(&client, (id, 1, 1, 1)).await?.run;
    let live = claim_one(&client, (id, 2, 2, 1)).await?.run;
    finish(&client, &[outcome(failed, Failed)]).await?;
    cancel(&client, id).await?;
    assert_eq!(batch(&client, id).await?, "running: 1 running, 1 cancelled");
    assert!(observe(&client).await?.queues[0].retries.is_empty());
    finish(&client, &[outcome(live, Cancelled)]).await?;
    assert_eq!(batch(&client, id).await?, "cancelled: 2 cancelled");
    Ok(())
}
