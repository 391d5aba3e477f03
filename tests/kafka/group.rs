//! The lag of a consumer group is demand for Jobs.

use e2e::wait::until;
use serde_json::{Value, json};

use crate::support::{SOON, Stage, Tested};

/// Watches a group, by a trigger of its name.
pub(crate) async fn watch(stage: &Stage, group: &str, topic: Option<&str>, options: Value) -> Tested {
    let sql = "SELECT pgbatch.watch_kafka($1, 'q', $2, $3, $1, lag_threshold => 10, options => $4)";
    stage.world.client.query(sql, &[&group, &stage.broker.plain(), &topic, &options]).await?;
    Ok(())
}

/// Waits until the lag of a trigger has been noted, and is this.
pub(crate) async fn until_lag(stage: &Stage, group: &str, wanted: i64) {
    let sql = "SELECT last_value::bigint FROM pgbatch.triggers WHERE name = $1";
    until(&format!("a lag of {wanted} of {group}"), SOON, async || {
        let row = stage.world.client.query_one(sql, &[&group]).await.ok()?;
        (row.get::<_, Option<i64>>(0) == Some(wanted)).then_some(())
    })
    .await;
}

/// How many items a trigger has made so far.
async fn items(stage: &Stage, group: &str) -> Tested<i64> {
    let sql = "SELECT coalesce(sum(items), 0) FROM pgbatch.batch WHERE trigger_name = $1";
    Ok(stage.world.client.query_one(sql, &[&group]).await?.get(0))
}

async fn until_items(stage: &Stage, group: &str, wanted: i64) {
    until(&format!("{wanted} items of {group}"), SOON, async || {
        (items(stage, group).await.ok()? == wanted).then_some(())
    })
    .await;
}

/// The runs of the queue go on until somebody ends them, so that what is open is known.
async fn stage(test: &str, partitions: i32) -> Tested<Stage> {
    let stage = Stage::new(test, partitions).await?;
    stage.world.client.batch_execute("SELECT pgbatch.pause_queue('q')").await?;
    Ok(stage)
}

#[tokio::test]
async fn the_lag_asks_for_jobs_and_no_more_than_there_are_partitions() -> Tested {
    let topic = "lag";
    let mut stage = stage(topic, 3).await?;
    stage.kafka.produce(topic, 0, 40).await?;
    for partition in 0..3 {
        stage.kafka.commit("g", topic, partition, 0).await?;
    }
    stage.kafka.commit("g", topic, 0, 35).await?;
    let _dispatcher = stage.world.dispatcher(&[])?;
    watch(&stage, "g", Some(topic), json!({})).await?;
    until_lag(&stage, "g", 5).await;
    until_items(&stage, "g", 1).await;
    let item: Value = stage.world.client.query_one("SELECT item FROM pgbatch.items", &[]).await?.get(0);
    assert_eq!(item, json!({"topic": topic, "consumer_group": "g"}));
    stage.kafka.produce(topic, 1, 12).await?;
    until_lag(&stage, "g", 17).await;
    until_items(&stage, "g", 2).await;
    stage.kafka.produce(topic, 1, 500).await?;
    until_lag(&stage, "g", 517).await;
    until_items(&stage, "g", 3).await;
    Ok(())
}

#[tokio::test]
async fn what_is_committed_is_no_lag_any_more_and_a_run_that_ends_makes_room() -> Tested {
    let topic = "committed";
    let mut stage = Stage::new(topic, 1).await?;
    stage.kafka.commit("g", topic, 0, 0).await?;
    let _dispatcher = stage.world.dispatcher(&[])?;
    // Nothing but the ends of runs and the doorbell makes it look.
    watch(&stage, "g", Some(topic), json!({"poll_ms": 3_600_000})).await?;
    until_lag(&stage, "g", 0).await;
    stage.kafka.produce(topic, 0, 4).await?;
    until_lag(&stage, "g", 4).await;
    stage.until_succeeded("g", 1).await;
    stage.kafka.produce(topic, 0, 1).await?;
    stage.until_succeeded("g", 2).await;
    // The look after the end of that run, and nothing was committed: no run after run.
    assert_eq!(items(&stage, "g").await?, 2);
    stage.kafka.commit("g", topic, 0, 5).await?;
    stage.world.client.batch_execute("SELECT pgbatch.enqueue('q')").await?;
    until_lag(&stage, "g", 0).await;
    Ok(())
}

#[tokio::test]
async fn without_an_offset_the_policy_says_what_counts() -> Tested {
    let topic = "no-offset";
    let mut stage = stage(topic, 2).await?;
    let _dispatcher = stage.world.dispatcher(&[])?;
    let groups = [
        ("latest", json!({}), [0, 1]),
        ("earliest", json!({"offset_reset": "earliest"}), [0, 7]),
        ("zero", json!({"offset_reset": "earliest", "scale_to_zero_on_invalid_offset": true}), [0, 0]),
        ("keda", json!({"keda_parity": true}), [2, 2]),
    ];
    for (group, options, [empty, _]) in &groups {
        watch(&stage, group, Some(topic), options.clone()).await?;
        until_lag(&stage, group, *empty).await;
    }
    stage.kafka.produce(topic, 0, 7).await?;
    for (group, _, [_, filled]) in &groups {
        until_lag(&stage, group, *filled).await;
        assert!(items(&stage, group).await? <= 1, "{group}");
    }
    until_items(&stage, "latest", 1).await;
    until_items(&stage, "keda", 1).await;
    assert_eq!(items(&stage, "zero").await?, 0);
    Ok(())
}

#[tokio::test]
async fn an_offset_beyond_the_end_hides_nothing_unless_it_is_to_be_as_with_keda() -> Tested {
    let topic = "group-beyond";
    let mut stage = stage(topic, 2).await?;
    stage.kafka.produce(topic, 0, 5).await?;
    stage.kafka.produce(topic, 1, 8).await?;
    let _dispatcher = stage.world.dispatcher(&[])?;
    for (group, options, lag) in [
        ("latest", json!({}), 8),
        ("earliest", json!({"offset_reset": "earliest"}), 13),
        ("keda", json!({"keda_parity": true}), -92),
    ] {
        stage.kafka.commit(group, topic, 0, 105).await?;
        stage.kafka.commit(group, topic, 1, 0).await?;
        watch(&stage, group, Some(topic), options).await?;
        until_lag(&stage, group, lag).await;
        until_items(
            &stage,
            group,
            if group == "keda" { 0 } else { i64::from(lag > 0) + i64::from(lag > 10) },
        )
        .await;
    }
    Ok(())
}

#[tokio::test]
async fn records_of_an_open_transaction_are_no_lag_unless_it_is_to_be_as_with_keda() -> Tested {
    let topic = "group-transaction";
    let mut stage = stage(topic, 1).await?;
    let _dispatcher = stage.world.dispatcher(&[])?;
    for group in ["ours", "keda"] {
        stage.kafka.commit(group, topic, 0, 0).await?;
    }
    let mut transaction = stage.kafka.begin("group-transaction", topic, 0).await?;
    stage.kafka.produce_in(&mut transaction, topic, 0, 3).await?;
    watch(&stage, "ours", Some(topic), json!({})).await?;
    watch(&stage, "keda", Some(topic), json!({"keda_parity": true})).await?;
    until_lag(&stage, "keda", 3).await;
    until_lag(&stage, "ours", 0).await;
    stage.kafka.end(transaction, true).await?;
    until_lag(&stage, "ours", 4).await;
    Ok(())
}

#[tokio::test]
async fn partitions_may_be_chosen_and_a_group_without_a_topic_has_its_own() -> Tested {
    let topic = "chosen";
    let mut stage = stage(topic, 3).await?;
    stage.kafka.create_topic("chosen-too", 1, &[]).await?;
    for partition in 0..3 {
        stage.kafka.produce(topic, partition, 2).await?;
        stage.kafka.commit("g", topic, partition, 0).await?;
        stage.kafka.commit("all", topic, partition, 0).await?;
    }
    let _dispatcher = stage.world.dispatcher(&[])?;
    watch(&stage, "g", Some(topic), json!({"partition_limitation": "0,2-5"})).await?;
    watch(&stage, "all", None, json!({"refresh_ms": 500})).await?;
    until_lag(&stage, "g", 4).await;
    until_lag(&stage, "all", 6).await;
    stage.kafka.commit("all", "chosen-too", 0, 0).await?;
    stage.kafka.produce("chosen-too", 0, 5).await?;
    until_lag(&stage, "all", 11).await;
    Ok(())
}

#[tokio::test]
async fn partitions_that_come_later_count_too() -> Tested {
    let topic = "group-grows";
    let mut stage = stage(topic, 1).await?;
    stage.kafka.produce(topic, 0, 3).await?;
    let _dispatcher = stage.world.dispatcher(&[])?;
    watch(&stage, "g", Some(topic), json!({"offset_reset": "earliest", "refresh_ms": 500})).await?;
    until_lag(&stage, "g", 3).await;
    stage.kafka.grow_topic(topic, 3).await?;
    stage.kafka.produce(topic, 2, 4).await?;
    until_lag(&stage, "g", 7).await;
    // It rings now, and what the group commits of it counts.
    stage.kafka.commit("g", topic, 2, 3).await?;
    stage.kafka.produce(topic, 2, 1).await?;
    until_lag(&stage, "g", 5).await;
    Ok(())
}

/// What the group had committed is of the topic that is gone.
#[tokio::test]
async fn a_topic_that_is_deleted_and_made_again_is_behind_by_all_of_the_new_one() -> Tested {
    let topic = "group-made-again";
    let mut stage = stage(topic, 1).await?;
    stage.kafka.produce(topic, 0, 9).await?;
    stage.kafka.commit("g", topic, 0, 4).await?;
    let mut dispatcher = stage.world.dispatcher(&[])?;
    watch(&stage, "g", Some(topic), json!({"offset_reset": "earliest", "refresh_ms": 500})).await?;
    until_lag(&stage, "g", 5).await;
    stage.kafka.delete_topic(topic).await?;
    let error = stage.until_error("g", |error| error.is_some()).await;
    assert_eq!(error.as_deref(), Some("topic group-made-again: it does not exist"));
    stage.kafka.create_topic(topic, 1, &[]).await?;
    stage.kafka.produce(topic, 0, 7).await?;
    stage.until_error("g", |error| error.is_none()).await;
    until_lag(&stage, "g", 7).await;
    assert!(dispatcher.is_running()?);
    Ok(())
}

/// KEDA's `multipleScalersCalculation`, of two groups of which one is behind by a Job's work and the other by two.
#[tokio::test]
async fn groups_that_are_combined_are_one_demand() -> Tested {
    let topic = "combined";
    let mut stage = Stage::new(topic, 2).await?;
    for combine in ["sum", "max"] {
        let queue = format!(
            "SELECT pgbatch.create_queue('{combine}', sql => 'SELECT 1'), pgbatch.pause_queue('{combine}')"
        );
        stage.world.client.batch_execute(&queue).await?;
        for group in ["one", "two"] {
            for partition in 0..2 {
                stage.kafka.commit(&format!("{combine}-{group}"), topic, partition, 0).await?;
            }
        }
        stage.kafka.commit(&format!("{combine}-one"), topic, 0, 5).await?;
        stage.kafka.commit(&format!("{combine}-one"), topic, 1, 10).await?;
    }
    stage.kafka.produce(topic, 0, 10).await?;
    stage.kafka.produce(topic, 1, 10).await?;
    let _dispatcher = stage.world.dispatcher(&[])?;
    let sql = "SELECT pgbatch.watch_kafka($1, $2, $3, $4, $1, lag_threshold => 10, options => jsonb_build_object('combine', $2::text))";
    for combine in ["sum", "max"] {
        for (group, lag) in [("one", 5), ("two", 20)] {
            let group = format!("{combine}-{group}");
            stage.world.client.execute(sql, &[&group, &combine, &stage.broker.plain(), &topic]).await?;
            until_lag(&stage, &group, lag).await;
        }
    }
    // Looked at one after the other: 5 of the lag is a Job, and then 25 are three; or 20 are two.
    until_items(&stage, "sum-one", 1).await;
    until_items(&stage, "sum-two", 2).await;
    until_items(&stage, "max-one", 1).await;
    until_items(&stage, "max-two", 1).await;
    // The open ones are those of both: nothing more is asked for when there is more of what they are enough for.
    stage.kafka.produce(topic, 0, 4).await?;
    for (group, lag) in [("sum-one", 9), ("sum-two", 24), ("max-one", 9), ("max-two", 24)] {
        until_lag(&stage, group, lag).await;
    }
    until_items(&stage, "sum-two", 3).await;
    until_items(&stage, "max-two", 2).await;
    assert_eq!((items(&stage, "sum-one").await?, items(&stage, "max-one").await?), (1, 1));
    Ok(())
}
