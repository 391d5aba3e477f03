//! New records become items, each in exactly one.

use serde_json::json;

use crate::group::{until_lag, watch};
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

/// The dispatcher dies again and again, a random moment after records were written, and two dispatchers overlap.
#[tokio::test]
async fn every_record_is_in_exactly_one_item_whoever_is_killed() -> Tested {
    const ROUNDS: i64 = 12;
    let topic = "killed-in-the-middle";
    let mut stage = Stage::new(topic, 3).await?;
    stage.watch_at("t", &stage.broker.plain(), 2, json!({"offset_reset": "earliest"})).await?;
    let mut dispatcher = stage.world.dispatcher(&[])?;
    stage.until_looked("t").await;
    for round in 0..ROUNDS {
        for partition in 0..3 {
            stage.kafka.produce(topic, partition, 7).await?;
        }
        // Until the first of the round are taken, or it is killed before; the next one comes beside it.
        if round % 3 != 0 {
            stage.until_taken("t", 0, 0, 7 * round + 1).await;
        }
        let next = stage.world.dispatcher(&[])?;
        dispatcher.kill()?;
        dispatcher = next;
    }
    for partition in 0..3 {
        // It checks that the ranges follow each other without a gap or an overlap.
        let ranges = stage.until_taken("t", partition, 0, 7 * ROUNDS).await;
        assert!(ranges.iter().all(|(from, to)| (1..=2).contains(&(to - from))), "{ranges:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_an_open_transaction_has_written_is_no_item_before_its_commit() -> Tested {
    let topic = "transactional";
    let mut stage = Stage::new(topic, 2).await?;
    let mut dispatcher = stage.world.dispatcher(&[])?;
    stage.watch(json!({"offset_reset": "earliest"})).await?;
    stage.until_looked("t").await;
    let mut transaction = stage.kafka.begin("transactional", topic, 0).await?;
    stage.kafka.produce_in(&mut transaction, topic, 0, 4).await?;
    // Behind the open one, and so not to be read either.
    stage.kafka.produce(topic, 0, 1).await?;
    // By the time that this one is an item, the others would have been.
    stage.kafka.produce(topic, 1, 1).await?;
    stage.until_taken("t", 1, 0, 1).await;
    assert_eq!(stage.ranges("t").await?, [(1, 0, 1)], "by the doorbell");
    dispatcher.kill()?;
    stage.kafka.produce(topic, 1, 1).await?;
    let _next = stage.world.dispatcher(&[])?;
    stage.until_taken("t", 1, 0, 2).await;
    assert_eq!(stage.ranges("t").await?, [(1, 0, 1), (1, 1, 2)], "by a look");
    stage.kafka.end(transaction, true).await?;
    // The end of a transaction has an offset too.
    assert_eq!(stage.until_taken("t", 0, 0, 6).await, [(0, 6)]);
    Ok(())
}

#[tokio::test]
async fn partitions_that_come_later_are_read_from_their_beginning() -> Tested {
    let topic = "more-partitions";
    let mut stage = Stage::new(topic, 1).await?;
    let _dispatcher = stage.world.dispatcher(&[])?;
    stage.watch(json!({"refresh_ms": 500})).await?;
    stage.until_looked("t").await;
    stage.kafka.grow_topic(topic, 3).await?;
    stage.kafka.produce(topic, 2, 5).await?;
    assert_eq!(stage.until_taken("t", 2, 0, 5).await, [(0, 5)]);
    // It rings now.
    stage.kafka.produce(topic, 2, 1).await?;
    stage.until_taken("t", 2, 0, 6).await;
    Ok(())
}

#[tokio::test]
async fn a_topic_that_is_deleted_and_made_again_is_all_new() -> Tested {
    let topic = "made-again";
    let mut stage = Stage::new(topic, 1).await?;
    let _dispatcher = stage.world.dispatcher(&[])?;
    stage.watch(json!({})).await?;
    stage.until_looked("t").await;
    stage.kafka.produce(topic, 0, 3).await?;
    stage.until_taken("t", 0, 0, 3).await;
    stage.kafka.delete_topic(topic).await?;
    let error = stage.until_error("t", |error| error.is_some()).await;
    assert_eq!(error.as_deref(), Some("topic made-again: it does not exist"));
    stage.kafka.create_topic(topic, 1, &[]).await?;
    // More than the old one had: its offsets alone do not tell that it is another one.
    stage.kafka.produce(topic, 0, 5).await?;
    stage.until_error("t", |error| error.is_none()).await;
    e2e::wait::until("the new records", crate::support::SOON, async || {
        let ranges = stage.ranges("t").await.ok()?;
        (ranges == [(0, 0, 3), (0, 0, 5)]).then_some(())
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn a_topic_that_comes_after_its_trigger_is_all_new() -> Tested {
    let mut stage = Stage::new("unrelated", 1).await?;
    stage.topic = "comes-later".to_owned();
    let _dispatcher = stage.world.dispatcher(&[])?;
    stage.watch(json!({"refresh_ms": 500})).await?;
    stage.until_error("t", |error| error == Some("topic comes-later: it does not exist")).await;
    stage.kafka.create_topic("comes-later", 1, &[]).await?;
    stage.kafka.produce("comes-later", 0, 2).await?;
    assert_eq!(stage.until_taken("t", 0, 0, 2).await, [(0, 2)]);
    Ok(())
}

#[tokio::test]
async fn records_that_retention_has_deleted_before_they_were_items_are_an_error() -> Tested {
    let topic = "retention";
    let mut stage = Stage::new(topic, 1).await?;
    stage.watch(json!({"offset_reset": "earliest"})).await?;
    let dispatcher = stage.world.dispatcher(&[])?;
    stage.until_looked("t").await;
    stage.kafka.produce(topic, 0, 3).await?;
    stage.until_taken("t", 0, 0, 3).await;
    drop(dispatcher);
    stage.kafka.produce(topic, 0, 10).await?;
    stage.kafka.delete_records(topic, 0, 8).await?;
    let _dispatcher = stage.world.dispatcher(&[])?;
    let error = stage.until_error("t", |error| error.is_some()).await.unwrap_or_default();
    assert!(
        error.contains("records from offset 3 to 7 are lost") && error.contains("seek_kafka('t', 0, 8)"),
        "{error}"
    );
    stage.world.client.batch_execute("SELECT pgbatch.seek_kafka('t', 0, 8)").await?;
    stage.until_error("t", |error| error.is_none()).await;
    assert_eq!(stage.ranges("t").await?, [(0, 0, 3), (0, 8, 13)]);
    Ok(())
}

#[tokio::test]
async fn a_cursor_beyond_the_end_is_an_error_until_it_is_set() -> Tested {
    let topic = "beyond-the-end";
    let mut stage = Stage::new(topic, 1).await?;
    let _dispatcher = stage.world.dispatcher(&[])?;
    stage.watch(json!({})).await?;
    stage.until_looked("t").await;
    stage.world.client.batch_execute("SELECT pgbatch.seek_kafka('t', 0, 1000)").await?;
    let error = stage.until_error("t", |error| error.is_some()).await.unwrap_or_default();
    assert!(error.starts_with("partition 0 ends at offset 0, before 1000"), "{error}");
    stage.kafka.produce(topic, 0, 2).await?;
    stage.world.client.batch_execute("SELECT pgbatch.seek_kafka('t', 0, 0)").await?;
    assert_eq!(stage.until_taken("t", 0, 0, 2).await, [(0, 2)]);
    stage.until_error("t", |error| error.is_none()).await;
    Ok(())
}

/// A compacted log has holes, and ranges are of offsets: whoever reads them passes over the holes.
#[tokio::test]
async fn what_compaction_takes_away_is_a_hole_in_a_range_and_nothing_is_left_out() -> Tested {
    let topic = "compacted";
    let mut stage = Stage::new("compacted-stage", 1).await?;
    // As soon as there is a new segment, which each record begins that comes 50 ms after the one before.
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "50"),
        ("min.cleanable.dirty.ratio", "0"),
        ("max.compaction.lag.ms", "1"),
    ];
    stage.kafka.create_topic(topic, 1, &settings).await?;
    topic.clone_into(&mut stage.topic);
    let mut dispatcher = stage.world.dispatcher(&[])?;
    stage.watch_at("t", &stage.broker.plain(), 4, json!({})).await?;
    stage.until_looked("t").await;
    // The same six keys again and again, until of the first six records none is left.
    let kafka = &mut stage.kafka;
    let end = e2e::wait::until("the first records to be gone", crate::support::SOON, async || {
        let end = kafka.produce(topic, 0, 6).await.ok()? + 6;
        let offsets = kafka.offsets(topic, 0).await.ok()?;
        (!offsets.is_empty() && offsets.iter().all(|offset| *offset >= 6)).then_some(end)
    })
    .await;
    let ranges = stage.until_taken("t", 0, 0, end).await;
    assert!(ranges.iter().all(|(from, to)| (1..=4).contains(&(to - from))), "{ranges:?}");
    let left = stage.kafka.offsets(topic, 0).await?;
    assert!(left.iter().all(|offset| (6..end).contains(offset)), "{left:?} of {end}");

    // Whoever has to begin anew cuts the same offsets, the holes among them; and then the bell rings on.
    stage.watch_at("late", &stage.broker.plain(), 1000, json!({"offset_reset": "earliest"})).await?;
    assert_eq!(stage.until_taken("late", 0, 0, end).await, [(0, end)]);
    dispatcher.kill()?;
    let _next = stage.world.dispatcher(&[])?;
    stage.kafka.produce(topic, 0, 1).await?;
    stage.until_taken("t", 0, 0, end + 1).await;
    stage.until_taken("late", 0, 0, end + 1).await;
    stage.until_error("t", |error| error.is_none()).await;

    // A lag is of offsets too, as Kafka itself counts it.
    stage.kafka.commit("g", topic, 0, 2).await?;
    watch(&stage, "g", Some(topic), json!({})).await?;
    until_lag(&stage, "g", end - 1).await;
    Ok(())
}

#[tokio::test]
async fn less_than_an_item_lingers_and_a_full_one_does_not() -> Tested {
    let topic = "lingering";
    let mut stage = Stage::new(topic, 1).await?;
    let _dispatcher = stage.world.dispatcher(&[])?;
    // One that lingers for an hour, and one that does a little.
    stage.watch_at("long", &stage.broker.plain(), 5, json!({"linger_ms": 3_600_000})).await?;
    stage.watch_at("short", &stage.broker.plain(), 5, json!({"linger_ms": 200})).await?;
    stage.until_looked("long").await;
    stage.until_looked("short").await;
    stage.kafka.produce(topic, 0, 8).await?;
    assert_eq!(stage.until_taken("short", 0, 0, 8).await, [(0, 5), (5, 8)]);
    assert_eq!(stage.until_taken("long", 0, 0, 5).await, [(0, 5)]);
    stage.kafka.produce(topic, 0, 2).await?;
    assert_eq!(stage.until_taken("long", 0, 0, 10).await, [(0, 5), (5, 10)]);
    Ok(())
}

#[tokio::test]
async fn triggers_of_one_topic_do_not_take_from_each_other() -> Tested {
    let topic = "shared-topic";
    let mut stage = Stage::new(topic, 1).await?;
    let _dispatcher = stage.world.dispatcher(&[])?;
    stage.watch_at("one", &stage.broker.plain(), 3, json!({})).await?;
    stage.watch_at("two", &stage.broker.plain(), 100, json!({})).await?;
    stage.until_looked("one").await;
    stage.until_looked("two").await;
    stage.kafka.produce(topic, 0, 7).await?;
    assert_eq!(stage.until_taken("one", 0, 0, 7).await, [(0, 3), (3, 6), (6, 7)]);
    assert_eq!(stage.until_taken("two", 0, 0, 7).await, [(0, 7)]);
    // A dropped one gets nothing any more.
    stage.world.client.batch_execute("SELECT pgbatch.drop_trigger('two')").await?;
    stage.kafka.produce(topic, 0, 1).await?;
    stage.until_taken("one", 0, 0, 8).await;
    assert_eq!(stage.ranges("two").await?, [(0, 0, 7)]);
    Ok(())
}

#[tokio::test]
async fn a_thousand_partitions_ring() -> Tested {
    let topic = "a-thousand";
    let mut stage = Stage::new(topic, 1000).await?;
    let _dispatcher = stage.world.dispatcher(&[])?;
    stage.watch(json!({})).await?;
    stage.until_looked("t").await;
    for partition in [999, 0, 500] {
        stage.kafka.produce(topic, partition, 2).await?;
        stage.until_taken("t", i64::from(partition), 0, 2).await;
    }
    // A group is behind on all of them, and the doorbell tells of one.
    watch(&stage, "g", Some(topic), json!({"offset_reset": "earliest", "poll_ms": 3_600_000})).await?;
    until_lag(&stage, "g", 6).await;
    stage.kafka.produce(topic, 731, 3).await?;
    until_lag(&stage, "g", 9).await;
    Ok(())
}
