//! `observe_counts`: what `/metrics` shows and only PostgreSQL knows.

use e2e::postgres::SUPERUSER;
use pgbatch_core::state::RunState::Failed;
use serde_json::{Value, json};

use crate::support::{Tested, claim_one, enqueue, finish, observe, outcome, value, with_queue};

const COUNTS: &str = "SELECT pgbatch.observe_counts()";

#[tokio::test]
async fn items_are_counted_by_queue_and_state() -> Tested {
    let (_database, client) = with_queue(", max_attempts => 2").await?;
    client.batch_execute("SELECT pgbatch.create_queue('idle', sql => 'SELECT 1')").await?;
    let id = enqueue(&client, 9, "").await?;
    for item in [1, 2] {
        finish(&client, &[outcome(claim_one(&client, (id, item, item, 1)).await?.run, Failed)]).await?;
    }
    client.batch_execute("UPDATE pgbatch.retry SET due_at = now()").await?;
    finish(&client, &[outcome(claim_one(&client, (id, 1, 1, 2)).await?.run, Failed)]).await?;
    claim_one(&client, (id, 3, 5, 1)).await?;
    enqueue(&client, 7, ", not_before => now() + interval '1 day'").await?;
    let made: Value = value(&client, "SELECT to_json(created_at) FROM pgbatch.batch WHERE id = 1").await?;
    let counts: Value = value(&client, COUNTS).await?;
    assert_eq!(
        counts["queues"],
        json!([
            {"name": "idle", "pending": 0, "running": 0, "retrying": 0, "failed": 0, "oldest_pending": null},
            {"name": "q", "pending": 4 + 7, "running": 3, "retrying": 1, "failed": 1, "oldest_pending": made}])
    );
    Ok(())
}

#[tokio::test]
async fn each_kind_of_trigger_says_whether_it_works_what_it_read_and_when_it_fired() -> Tested {
    let (_database, client) = with_queue("").await?;
    client
        .batch_execute(
            "CREATE TABLE bought (id int); CREATE TABLE work (n int);
             SELECT pgbatch.enqueue_on_insert('bought', 'q', name => 'a');
             SELECT pgbatch.watch_count('b', 'q', 'SELECT coalesce(sum(n), 0) FROM work');
             SELECT pgbatch.watch_rows('c', 'q', 'SELECT 1 / n AS id FROM work');
             SELECT pgbatch.schedule('d', 'q', '@daily');
             SELECT pgbatch.watch_kafka('e', 'q', 'nobody:9092', 'topic');
             UPDATE pgbatch.kafka_trigger SET lag = 5, error = 'no broker';
             INSERT INTO bought VALUES (1), (2)",
        )
        .await?;
    observe(&client).await?;
    client.batch_execute("INSERT INTO work VALUES (0), (3)").await?;
    observe(&client).await?;
    let counts: Value = value(&client, COUNTS).await?;
    let told: Vec<String> = counts["triggers"]
        .as_array()
        .ok_or("no triggers")?
        .iter()
        .map(|t| {
            let [kind, name, error, value] =
                ["kind", "name", "is_in_error", "value"].map(|key| t[key].to_string());
            format!("{kind} {name} {error} {value} {}", t["fired_at"].is_string())
        })
        .collect();
    assert_eq!(
        told,
        [
            r#""insert" "a" false 2 true"#,
            r#""count" "b" false 3 true"#,
            r#""rows" "c" true null false"#,
            r#""schedule" "d" false null false"#,
            r#""kafka" "e" true 5 false"#,
        ]
    );
    Ok(())
}

#[tokio::test]
async fn a_number_that_json_has_no_word_for_is_left_out() -> Tested {
    let (_database, client) = with_queue("").await?;
    client
        .batch_execute(
            "CREATE TABLE work (n float8); SELECT pgbatch.watch_count('w', 'q', 'SELECT max(n) FROM work')",
        )
        .await?;
    for number in ["NaN", "Infinity", "-Infinity"] {
        client.execute("UPDATE pgbatch.demand SET value = $1::text::float8", &[&number]).await?;
        let counts: Value = value(&client, COUNTS).await?;
        assert_eq!(counts["triggers"][0]["value"], Value::Null, "{number}");
    }
    Ok(())
}

/// Its cost is that of the batches that run: ten thousand that wait are only added up.
#[tokio::test]
async fn what_waits_costs_next_to_nothing() -> Tested {
    let (database, client) = with_queue("").await?;
    let id = enqueue(&client, 2, "").await?;
    claim_one(&client, (id, 1, 1, 1)).await?;
    for _ in 0..50 {
        enqueue(&client, 1, "").await?;
    }
    let mut superuser = database.connect_as(SUPERUSER).await?;
    let transaction = superuser.transaction().await?;
    transaction.batch_execute("SET LOCAL track_functions = 'all'; SELECT pgbatch.observe_counts()").await?;
    let calls = "SELECT calls FROM pg_stat_xact_user_functions WHERE funcname = 'peek_progress'";
    assert_eq!(transaction.query_one(calls, &[]).await?.get::<_, i64>(0), 1);
    Ok(())
}
