//! New records become items.

use serde_json::json;

use crate::support::{Stage, Tested};

#[tokio::test]
async fn a_record_that_is_produced_is_a_run_that_succeeds() -> Tested {
    let mut stage = Stage::new("from-record-to-run", 1).await?;
    stage.kafka.produce("from-record-to-run", 0, 7).await?;
    let _dispatcher = stage.world.dispatcher(&[])?;
    stage.watch(json!({})).await?;
    stage.until_looked("t").await;
    assert_eq!(stage.ranges("t").await?, [], "what was there before does not count");
    stage.kafka.produce("from-record-to-run", 0, 3).await?;
    assert_eq!(stage.until_taken("t", 0, 7, 10).await, [(7, 10)]);
    stage.until_succeeded("t", 1).await;
    stage.kafka.produce("from-record-to-run", 0, 1).await?;
    assert_eq!(stage.until_taken("t", 0, 7, 11).await, [(7, 10), (10, 11)]);
    stage.until_succeeded("t", 2).await;
    Ok(())
}
