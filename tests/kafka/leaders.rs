//! A partition gets another leader.

use e2e::kafka::KafkaClient;
use e2e::wait::until;
use serde_json::json;

use crate::group::until_lag;
use crate::support::{SOON, Stage, Tested};

/// Neither a poll nor the refresh comes within the test: what is seen was told by a doorbell.
const HOUR_MS: u64 = 3_600_000;

async fn move_to(kafka: &mut KafkaClient, topic: &str, broker: i32) -> Tested {
    kafka.give_to(topic, 0, broker).await?;
    until(&format!("broker {broker} to lead"), SOON, async || {
        (kafka.leader(topic, 0).await.ok()? == broker).then_some(())
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn the_doorbell_and_the_lag_go_on_with_the_next_leader() -> Tested {
    let topic = "leaders";
    let mut stage = Stage::on_own_broker(topic, 1).await?;
    stage.world.client.batch_execute("SELECT pgbatch.pause_queue('q')").await?;
    // The topic of committed offsets comes with the first of them, while there is one broker.
    stage.kafka.commit("g", topic, 0, 0).await?;
    let second = stage.broker.join()?;
    let mut dispatcher = stage.world.dispatcher(&[])?;
    let options = json!({"refresh_ms": HOUR_MS, "poll_ms": HOUR_MS});
    stage.watch(options.clone()).await?;
    let group = "SELECT pgbatch.watch_kafka('g', 'q', $1, $2, 'g', options => $3)";
    stage.world.client.execute(group, &[&stage.broker.plain(), &topic, &options]).await?;
    stage.until_looked("t").await;
    until_lag(&stage, "g", 0).await;
    stage.kafka.produce(topic, 0, 3).await?;
    stage.until_taken("t", 0, 0, 3).await;
    until_lag(&stage, "g", 3).await;

    move_to(&mut stage.kafka, topic, 2).await?;
    let mut there = second.client().await?;
    there.produce(topic, 0, 2).await?;
    stage.until_taken("t", 0, 0, 5).await;
    until_lag(&stage, "g", 5).await;

    move_to(&mut stage.kafka, topic, 1).await?;
    stage.kafka.produce(topic, 0, 4).await?;
    assert_eq!(stage.until_taken("t", 0, 0, 9).await, [(0, 3), (3, 5), (5, 9)]);
    until_lag(&stage, "g", 9).await;

    // A broker that leads nothing may go.
    drop(second);
    stage.kafka.produce(topic, 0, 1).await?;
    stage.until_taken("t", 0, 0, 10).await;
    stage.until_error("t", |error| error.is_none()).await;
    stage.until_error("g", |error| error.is_none()).await;
    assert!(dispatcher.is_running()?);
    Ok(())
}
