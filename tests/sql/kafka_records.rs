//! What the dispatcher's looks at a topic become: items, and cursors behind them.

use e2e::postgres::{OWNER, SUPERUSER, Server};
use pgbatch_core::state::RunState::Succeeded;
use serde_json::{Value, json};

use crate::dump::copy;
use crate::support::{Tested, claim_one, finish, outcome, refused, value, with_queue};

/// Looks at a topic as the dispatcher does: partitions as (number, start, end).
async fn take(
    client: &tokio_postgres::Client,
    topic_id: Option<&str>,
    partitions: &[(i32, i64, i64)],
    only_full: bool,
) -> Tested<Value> {
    let partitions: Vec<Value> = partitions
        .iter()
        .map(|(p, start, end)| json!({"partition": p, "start": start, "end": end}))
        .collect();
    let sql = "SELECT pgbatch.take_records((SELECT epoch FROM pgbatch.installation), 'n', $1, $2, true, true, $3, NULL)";
    Ok(client.query_one(sql, &[&topic_id, &Value::from(partitions), &only_full]).await?.get(0))
}

/// The items so far: `0:0-5`.
async fn ranges(client: &tokio_postgres::Client) -> Tested<String> {
    value(
        client,
        "SELECT coalesce(string_agg(format('%s:%s-%s', item ->> 'partition', item ->> 'from', item ->> 'to'), ' '
            ORDER BY batch_id, item_no), '') FROM pgbatch.items",
    )
    .await
}

async fn watched(options: &str) -> Tested<(e2e::postgres::Database, tokio_postgres::Client)> {
    let (database, client) = with_queue("").await?;
    client
        .batch_execute(&format!(
            "SELECT pgbatch.try_lead(); SELECT pgbatch.watch_kafka('n', 'q', 'k:1', 't', records_per_item => 10, options => '{options}')"
        ))
        .await?;
    Ok((database, client))
}

#[tokio::test]
async fn the_first_look_begins_where_it_is_told_to_and_partitions_that_come_later_at_their_beginning()
-> Tested {
    for (options, wanted) in [("{}", "1:2-4"), ("{\"offset_reset\": \"earliest\"}", "0:3-13 0:13-15 1:2-4")] {
        let (_database, client) = watched(options).await?;
        take(&client, Some("a"), &[(0, 3, 15)], false).await?;
        take(&client, Some("a"), &[(0, 3, 15), (1, 2, 4)], false).await?;
        assert_eq!(ranges(&client).await?, wanted, "{options}");
    }
    Ok(())
}

#[tokio::test]
async fn a_topic_that_was_not_there_at_the_first_look_is_all_new() -> Tested {
    let (_database, client) = watched("{}").await?;
    take(&client, None, &[], false).await?;
    take(&client, Some("a"), &[(0, 0, 3)], false).await?;
    assert_eq!(ranges(&client).await?, "0:0-3");
    Ok(())
}

#[tokio::test]
async fn a_topic_that_was_made_again_is_all_new_be_it_longer_than_before() -> Tested {
    let (_database, client) = watched("{\"offset_reset\": \"earliest\"}").await?;
    take(&client, Some("a"), &[(0, 0, 3)], false).await?;
    take(&client, Some("b"), &[(0, 0, 7)], false).await?;
    assert_eq!(ranges(&client).await?, "0:0-3 0:0-7");
    Ok(())
}

#[tokio::test]
async fn full_items_are_cut_at_once_and_the_rest_when_it_is_asked_for() -> Tested {
    let (_database, client) = watched("{\"offset_reset\": \"earliest\"}").await?;
    let taken = take(&client, Some("a"), &[(0, 0, 25), (1, 0, 9)], true).await?;
    assert_eq!(taken, json!({"items": 2, "more": false, "rest": true, "lost": []}));
    assert_eq!(ranges(&client).await?, "0:0-10 0:10-20");
    let taken = take(&client, Some("a"), &[(0, 0, 25), (1, 0, 9)], false).await?;
    assert_eq!(taken, json!({"items": 2, "more": false, "rest": false, "lost": []}));
    assert_eq!(ranges(&client).await?, "0:0-10 0:10-20 0:20-25 1:0-9");
    Ok(())
}

#[tokio::test]
async fn more_than_a_batch_should_have_is_taken_in_several_and_in_turn() -> Tested {
    let (_database, client) = watched("{\"offset_reset\": \"earliest\"}").await?;
    let topic = [(0, 0, 150_000), (1, 0, 30)];
    assert_eq!(take(&client, Some("a"), &topic, false).await?["more"], json!(true));
    let first: Vec<String> = ranges(&client).await?.split(' ').take(4).map(str::to_owned).collect();
    assert_eq!(first, ["0:0-10", "1:0-10", "0:10-20", "1:10-20"]);
    assert_eq!(
        take(&client, Some("a"), &topic, false).await?,
        json!({"items": 5003, "more": false, "rest": false, "lost": []})
    );
    let sql = "SELECT count(*) FILTER (WHERE item ->> 'partition' = '0') FROM pgbatch.items";
    assert_eq!(value::<i64>(&client, sql).await?, 15_000);
    Ok(())
}

#[tokio::test]
async fn records_that_are_lost_stop_a_partition_until_somebody_says_how_to_go_on() -> Tested {
    let (_database, client) = watched("{\"offset_reset\": \"earliest\"}").await?;
    take(&client, Some("a"), &[(0, 0, 10), (1, 0, 10)], false).await?;
    take(&client, Some("a"), &[(0, 15, 20), (1, 0, 12)], false).await?;
    assert_eq!(ranges(&client).await?, "0:0-10 1:0-10 1:10-12", "the other partition goes on");
    let error = "SELECT error FROM pgbatch.triggers";
    let words: String = value(&client, error).await?;
    assert_eq!(
        words,
        "partition 0: records from offset 10 to 14 are lost, its log begins at 15 now; go on with pgbatch.seek_kafka('n', 0, 15)"
    );
    client.batch_execute("SELECT pgbatch.seek_kafka('n', 0, 15)").await?;
    take(&client, Some("a"), &[(0, 15, 20), (1, 0, 12)], false).await?;
    assert_eq!(ranges(&client).await?, "0:0-10 1:0-10 1:10-12 0:15-20");
    assert_eq!(value::<Option<String>>(&client, error).await?, None);
    Ok(())
}

#[tokio::test]
async fn lost_records_are_skipped_where_that_is_wanted() -> Tested {
    let (_database, client) = watched("{\"offset_reset\": \"earliest\", \"on_lost\": \"skip\"}").await?;
    take(&client, Some("a"), &[(0, 0, 10)], false).await?;
    let taken = take(&client, Some("a"), &[(0, 15, 20)], false).await?;
    assert_eq!(taken["lost"], json!(["partition 0: records from offset 10 to 14 are lost"]));
    assert_eq!(ranges(&client).await?, "0:0-10 0:15-20");
    Ok(())
}

#[tokio::test]
async fn a_log_that_ends_before_the_cursor_is_an_error_and_takes_nothing() -> Tested {
    let (_database, client) = watched("{\"offset_reset\": \"earliest\"}").await?;
    take(&client, Some("a"), &[(0, 0, 10)], false).await?;
    take(&client, Some("a"), &[(0, 0, 4)], false).await?;
    assert_eq!(ranges(&client).await?, "0:0-10");
    let words: String = value(&client, "SELECT error FROM pgbatch.triggers").await?;
    assert!(
        words.starts_with("partition 0 ends at offset 4, before 10, which was to be next: its log was cut"),
        "{words}"
    );
    Ok(())
}

#[tokio::test]
async fn the_last_offset_there_can_be_is_no_overflow() -> Tested {
    let (_database, client) = with_queue("").await?;
    client
        .batch_execute(
            "SELECT pgbatch.try_lead(); SELECT pgbatch.watch_kafka('n', 'q', 'k:1', 't',
                records_per_item => 9223372036854775807, options => '{\"offset_reset\": \"earliest\"}')",
        )
        .await?;
    take(&client, Some("a"), &[(0, 5, 9)], false).await?;
    assert_eq!(ranges(&client).await?, "0:5-9");
    Ok(())
}

#[tokio::test]
async fn a_trigger_is_dumped_and_restored_with_its_cursors() -> Tested {
    for role in [OWNER, SUPERUSER] {
        let (database, client) = watched("{\"offset_reset\": \"earliest\"}").await?;
        take(&client, Some("a"), &[(0, 0, 7)], false).await?;
        let copied = Server::shared()?.empty_database().await?;
        copy(&database, &copied, role)?;
        let restored = copied.connect_as(role).await?;
        take(&restored, Some("a"), &[(0, 0, 9)], false).await?;
        assert_eq!(ranges(&restored).await?, "0:0-7 0:7-9");
    }
    Ok(())
}

#[tokio::test]
async fn what_a_lag_has_made_is_counted_until_it_has_ended() -> Tested {
    let (_database, client) =
        with_queue(", max_parallel => 7, items_per_run => 2, max_attempts => 1").await?;
    client
        .batch_execute("SELECT pgbatch.try_lead(); SELECT pgbatch.watch_kafka('g', 'q', 'k:1', 't', 'group')")
        .await?;
    let epoch = "(SELECT epoch FROM pgbatch.installation)";
    let counted =
        async || value::<Option<Value>>(&client, &format!("SELECT pgbatch.kafka_items({epoch}, 'g')")).await;
    assert_eq!(counted().await?, Some(json!({"open": 0, "pending": 0, "most": 7, "combined": []})));
    client.execute(&format!("SELECT pgbatch.take_lag({epoch}, 'g', 50, NULL, 5, 'words')"), &[]).await?;
    assert_eq!(counted().await?, Some(json!({"open": 5, "pending": 5, "most": 7, "combined": []})));
    // Others of the queue are not its own.
    let batch = value::<i64>(&client, "SELECT max(id) FROM pgbatch.batch").await?;
    client.execute("SELECT pgbatch.enqueue('q')", &[]).await?;
    let run = claim_one(&client, (batch, 1, 2, 1)).await?.run;
    assert_eq!(
        counted().await?,
        Some(json!({"open": 5, "pending": 5, "most": 7, "combined": []})),
        "it has no container yet"
    );
    client
        .execute(
            &format!("SELECT pgbatch.start_runs({epoch}, $1)"),
            &[&json!([{"run": run, "started_at": "2026-01-01T00:00:00Z"}])],
        )
        .await?;
    assert_eq!(counted().await?, Some(json!({"open": 5, "pending": 3, "most": 7, "combined": []})));
    let conditions =
        "SELECT pgbatch.alter_queue('q', options => '{\"pending_pod_conditions\": [\"Ready\"]}')";
    client.batch_execute(conditions).await?;
    assert_eq!(counted().await?, Some(json!({"open": 5, "pending": 5, "most": 7, "combined": []})));
    client
        .execute(
            &format!("SELECT pgbatch.ready_runs({epoch}, $1)"),
            &[&json!([{"run": run, "is_ready": true}])],
        )
        .await?;
    assert_eq!(counted().await?, Some(json!({"open": 5, "pending": 3, "most": 7, "combined": []})));
    finish(&client, &[outcome(run, Succeeded)]).await?;
    assert_eq!(counted().await?, Some(json!({"open": 3, "pending": 3, "most": 7, "combined": []})));
    let row = client.query_one("SELECT last_value::int, error FROM pgbatch.triggers", &[]).await?;
    assert_eq!((row.get(0), row.get(1)), (50, "words"));
    client.execute("SELECT pgbatch.drop_trigger('g')", &[]).await?;
    assert_eq!(counted().await?, None);
    Ok(())
}

#[tokio::test]
async fn the_lags_of_triggers_that_are_combined_are_one_demand() -> Tested {
    let (_database, client) = with_queue(", max_parallel => 7").await?;
    let epoch = "(SELECT epoch FROM pgbatch.installation)";
    client.batch_execute("SELECT pgbatch.try_lead()").await?;
    for (name, options) in [("a", r#"{"combine": "sum"}"#), ("b", r#"{"combine": "sum"}"#), ("alone", "{}")] {
        let watch = format!(
            "SELECT pgbatch.watch_kafka('{name}', 'q', 'k:1', 't-{name}', 'g', options => '{options}')"
        );
        client.batch_execute(&watch).await?;
    }
    let counted = async |name: &str| {
        value::<Value>(&client, &format!("SELECT pgbatch.kafka_items({epoch}, '{name}')")).await
    };
    let take = async |name: &str, value: i64, items: i32| {
        let reading = json!({"value": value, "target": 10, "is_active": value > 0});
        let sql = format!("SELECT pgbatch.take_lag({epoch}, $1, $2, $3, $4, NULL)");
        client.execute(&sql, &[&name, &value, &reading, &items]).await
    };
    let made = "SELECT string_agg(concat_ws(' ', trigger_name, items), ', ' ORDER BY id) FROM pgbatch.batch";
    take("a", 30, 3).await?;
    take("alone", 90, 2).await?;
    let reading = |value: i64| json!({"value": value, "target": 10, "is_active": true});
    let both = |open: i64, b: Value| {
        json!({"open": open, "pending": open, "most": 7,
            "combined": [{"name": "a", "reading": reading(30)}, {"name": "b", "reading": b}]})
    };
    assert_eq!(counted("b").await?, both(3, Value::Null));
    // It is said to be of the one that asks for most, whoever was looked at.
    take("b", 20, 1).await?;
    assert_eq!(counted("a").await?, both(4, reading(20)));
    assert_eq!(counted("alone").await?, json!({"open": 2, "pending": 2, "most": 7, "combined": []}));
    assert_eq!(value::<String>(&client, made).await?, "a 3, alone 2, a 1");
    take("b", 40, 1).await?;
    assert_eq!(value::<String>(&client, made).await?, "a 3, alone 2, a 1, b 1");

    let other = "SELECT pgbatch.watch_kafka('c', 'q', 'k:1', 't', 'g', options => $1)";
    for options in [json!({"combine": "max"}), json!({"combine": "sum", "strategy": "eager"})] {
        let error = refused(client.query(other, &[&options]).await)?;
        assert_eq!(error.message(), "queue \"q\" has another combination or strategy by trigger \"a\"");
    }
    client.batch_execute("SELECT pgbatch.drop_trigger('a'); SELECT pgbatch.drop_trigger('b')").await?;
    client.query(other, &[&json!({"combine": "min"})]).await?;
    for (value, wanted) in [(5, "c"), (0, "c")] {
        take("c", value, 1).await?;
        let last = "SELECT trigger_name FROM pgbatch.batch ORDER BY id DESC LIMIT 1";
        assert_eq!(crate::support::value::<String>(&client, last).await?, wanted);
    }
    Ok(())
}

#[tokio::test]
async fn a_dispatcher_that_does_not_lead_takes_nothing() -> Tested {
    let (_database, client) = watched("{}").await?;
    for call in [
        "take_records(0, 'n', 'a', '[]', true, true, false, NULL)",
        "kafka_triggers(0)",
        "note_kafka(0, 'n', 'x')",
        "kafka_items(0, 'n')",
        "take_lag(0, 'n', 1, NULL, 1, NULL)",
    ] {
        let error = refused(client.query(&format!("SELECT pgbatch.{call}"), &[]).await)?;
        assert_eq!(error.code().code(), "55000", "{call}");
    }
    Ok(())
}
