//! How long it takes from a record to a claim. The figures are printed (`--nocapture`), for people.

use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

use crate::support::{Stage, Tested};

/// Records, one at a time, each after the one before has been done.
const RECORDS: i64 = 40;

#[tokio::test]
async fn a_record_is_claimed_without_a_poll() -> Tested {
    let topic = "latency";
    let mut stage = Stage::new(topic, 1).await?;
    let _dispatcher = stage.world.dispatcher(&["--log=info"])?;
    stage.watch(json!({"refresh_ms": 86_400_000})).await?;
    stage.until_looked("t").await;
    let mut to_claim = Vec::new();
    let mut to_answer = Vec::new();
    for number in 0..RECORDS {
        let (at, began) = (SystemTime::now(), Instant::now());
        stage.kafka.produce(topic, 0, 1).await?;
        to_answer.push(began.elapsed());
        stage.until_succeeded("t", number + 1).await;
        let claimed = "SELECT max(created_at) FROM pgbatch.runs";
        let claimed: SystemTime = stage.world.client.query_one(claimed, &[]).await?.get(0);
        // Its own clock is this one; a claim is dated by the beginning of its transaction.
        to_claim.push(claimed.duration_since(at).unwrap_or_default());
    }
    let figures = |what: &str, mut times: Vec<Duration>| {
        times.sort_unstable();
        let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        eprintln!("{what}: p50 {p50:?}, p99 {p99:?}, n {}", times.len());
    };
    figures("record sent to record stored", to_answer);
    figures("record sent to run claimed", to_claim);
    Ok(())
}
