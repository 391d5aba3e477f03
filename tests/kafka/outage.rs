//! The broker is gone, and comes back.

use serde_json::json;

use crate::support::{Stage, Tested};

#[tokio::test]
async fn a_broker_that_is_killed_is_missed_and_watched_again_when_it_is_back() -> Tested {
    let mut stage = Stage::on_own_broker("outage", 2).await?;
    let mut dispatcher = stage.world.dispatcher(&[])?;
    stage.watch(json!({})).await?;
    stage.until_looked("t").await;
    stage.kafka.produce("outage", 0, 3).await?;
    stage.until_taken("t", 0, 0, 3).await;
    stage.broker.kill()?;
    let error = stage.until_error("t", |error| error.is_some()).await.unwrap_or_default();
    assert!(
        error.contains("no bootstrap server can be used") && error.contains("Connection refused"),
        "{error}"
    );
    // The rest of the dispatcher's work goes on.
    stage.world.client.batch_execute("SELECT pgbatch.enqueue('q')").await?;
    let done = "SELECT count(*) FROM pgbatch.batches WHERE state = 'succeeded' AND label IS NULL";
    e2e::wait::until("other work to be done", crate::support::SOON, async || {
        let row = stage.world.client.query_one(done, &[]).await.ok()?;
        (row.get::<_, i64>(0) == 1).then_some(())
    })
    .await;
    stage.broker.restart()?;
    stage.kafka = stage.broker.client().await?;
    stage.until_error("t", |error| error.is_none()).await;
    stage.kafka.produce("outage", 1, 2).await?;
    stage.until_taken("t", 1, 0, 2).await;
    assert_eq!(stage.ranges("t").await?, [(0, 0, 3), (1, 0, 2)]);
    let said = dispatcher.logged()?.matches("the trigger cannot be watched").count();
    assert!((1..=3).contains(&said), "it was logged {said} times");
    assert!(dispatcher.is_running()?);
    Ok(())
}
