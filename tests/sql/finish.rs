//! Ends of runs: what becomes of their items, and when a batch ends.

use e2e::postgres::OWNER;
use pgbatch_core::state::RunState::{self, Cancelled, Failed, Lost, Succeeded, TimedOut};
use serde_json::{Value, json};
use tokio_postgres::AsyncMessage;

use crate::support::{Tested, batch, claim_one, enqueue, finish, items, observe, outcome, value, with_queue};

#[tokio::test]
async fn success_ends_the_batch_and_says_so() -> Tested {
    let (database, client) = with_queue("").await?;
    let (listener, mut messages) = database.connect_with_messages(OWNER).await?;
    listener.batch_execute("LISTEN pgbatch_done").await?;
    let id = enqueue(&client, 2, ", label => 'nightly'").await?;
    let run = claim_one(&client, (id, 1, 2, 1)).await?.run;
    let mut ended = outcome(run, Succeeded);
    ended.exit_code = Some(0);
    ended.result = Some(json!({"rows": 3}));
    ended.finished_at = Some("2026-01-01T00:00:00Z".parse()?);
    let closed = finish(&client, &[ended]).await?;
    assert_eq!(closed, [json!({"id": id, "queue": "q", "label": "nightly", "state": "succeeded"})]);
    assert_eq!(batch(&client, id).await?, "succeeded: 2 succeeded");
    let result: Value = value(&client, "SELECT result FROM pgbatch.items WHERE item_no = 2").await?;
    assert_eq!(result, json!({"rows": 3}));

    listener.simple_query("").await?;
    let mut said = Vec::new();
    while let Ok(AsyncMessage::Notification(n)) = messages.try_recv() {
        said.push(serde_json::from_str::<Value>(n.payload())?);
    }
    assert_eq!(said, closed);
    Ok(())
}

#[tokio::test]
async fn failures_are_retried_until_no_attempt_is_left() -> Tested {
    let (_database, client) = with_queue(", max_attempts => 3").await?;
    let id = enqueue(&client, 2, "").await?;
    for (attempt, state) in [(1, Failed), (2, TimedOut)] {
        let run = claim_one(&client, (id, 1, 2, attempt)).await?.run;
        let mut ended = outcome(run, state);
        ended.message = Some(format!("failure {attempt}"));
        assert_eq!(finish(&client, &[ended]).await?.len(), 0);
        assert_eq!(batch(&client, id).await?, "running: 2 retrying");
        let error: String = value(&client, "SELECT error FROM pgbatch.items WHERE item_no = 1").await?;
        assert_eq!(error, format!("failure {attempt}"));
    }
    let run = claim_one(&client, (id, 1, 2, 3)).await?.run;
    assert_eq!(batch(&client, id).await?, "running: 2 running");
    let mut ended = outcome(run, Lost);
    ended.reason = Some("Gone".to_owned());
    assert_eq!(finish(&client, &[ended]).await?.len(), 1);
    assert_eq!(batch(&client, id).await?, "failed: 2 failed");
    let item = "SELECT state || attempts || error FROM pgbatch.items WHERE item_no = 2";
    assert_eq!(value::<String>(&client, item).await?, "failed3Gone");
    Ok(())
}

#[tokio::test]
async fn a_retry_is_due_when_the_outcome_says() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 1, "").await?;
    let mut ended = outcome(claim_one(&client, (id, 1, 1, 1)).await?.run, Failed);
    ended.retry_in_ms = 61_500;
    finish(&client, &[ended]).await?;
    let view = observe(&client).await?;
    let left = view.queues[0].retries[0].due_at.duration_since(view.now).as_millis();
    assert!((50_000..=61_500).contains(&left), "{left} ms");
    Ok(())
}

#[tokio::test]
async fn reported_items_keep_their_fate_and_the_others_follow_the_run() -> Tested {
    // Item 1 succeeded, 2 failed, 3 failed for good, 4 and 5 said nothing.
    let cases = [
        (Succeeded, 3, "succeeded retrying failed succeeded succeeded"),
        (Failed, 3, "succeeded retrying failed retrying retrying"),
        (Lost, 3, "succeeded retrying failed retrying retrying"),
        (TimedOut, 3, "succeeded retrying failed retrying retrying"),
        (Failed, 1, "succeeded failed failed failed failed"),
        (Cancelled, 1, "succeeded failed failed cancelled cancelled"),
    ];
    for (state, attempts, expected) in cases {
        let (_database, client) = with_queue("").await?;
        let id = enqueue(&client, 5, &format!(", max_attempts => {attempts}")).await?;
        let run = claim_one(&client, (id, 1, 5, 1)).await?;
        client
            .execute("SELECT pgbatch.complete_item($1, $2, 1, '{\"r\": 1}')", &[&run.run, &run.token])
            .await?;
        client.execute("SELECT pgbatch.fail_item($1, $2, 2, 'two')", &[&run.run, &run.token]).await?;
        client
            .execute("SELECT pgbatch.fail_item($1, $2, 3, 'three', false)", &[&run.run, &run.token])
            .await?;
        assert_eq!(items(&client, id).await?, "succeeded running running running running");
        assert_eq!(batch(&client, id).await?, "running: 4 running, 1 succeeded");
        finish(&client, &[outcome(run.run, state)]).await?;
        assert_eq!(items(&client, id).await?, expected, "{state} of {attempts}");
        batch(&client, id).await?;
        let said = "SELECT string_agg(coalesce(error, '-'), ' ' ORDER BY item_no) FROM pgbatch.items WHERE item_no < 4";
        assert_eq!(value::<String>(&client, said).await?, "- two three");
    }
    Ok(())
}

#[tokio::test]
async fn retries_of_one_run_are_contiguous_ranges() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 6, "").await?;
    let run = claim_one(&client, (id, 1, 6, 1)).await?;
    for item in [1, 4] {
        client.execute("SELECT pgbatch.complete_item($1, $2, $3)", &[&run.run, &run.token, &item]).await?;
    }
    finish(&client, &[outcome(run.run, Failed)]).await?;
    let view = observe(&client).await?;
    let ranges: Vec<_> = view.queues[0].retries.iter().map(|r| (r.first_item, r.last_item)).collect();
    assert_eq!(ranges, [(2, 3), (5, 6)]);
    Ok(())
}

#[tokio::test]
async fn finishing_twice_changes_nothing() -> Tested {
    for (first, second) in [(Succeeded, Failed), (Failed, Succeeded)] {
        let (_database, client) = with_queue("").await?;
        let id = enqueue(&client, 3, "").await?;
        let run = claim_one(&client, (id, 1, 2, 1)).await?.run;
        finish(&client, &[outcome(run, first), outcome(run, first)]).await?;
        let before = batch(&client, id).await?;
        assert_eq!(finish(&client, &[outcome(run, second), outcome(run + 1, Failed)]).await?.len(), 0);
        assert_eq!(batch(&client, id).await?, before);
    }
    Ok(())
}

#[tokio::test]
async fn a_batch_without_items_has_succeeded() -> Tested {
    let (_database, client) = with_queue("").await?;
    let query = enqueue(&client, 0, "").await?;
    let array: i64 = value(&client, "SELECT pgbatch.enqueue_batch('q', '{}')").await?;
    assert_eq!(observe(&client).await?.queues.len(), 0, "nothing is left to do");
    for id in [query, array] {
        assert_eq!(batch(&client, id).await?, "succeeded: ");
    }
    Ok(())
}

#[tokio::test]
async fn many_runs_of_many_batches_end_in_one_call() -> Tested {
    let (_database, client) = with_queue("").await?;
    let mut outcomes = Vec::new();
    let mut batches = Vec::new();
    for state in [Succeeded, Failed] {
        let id = enqueue(&client, 4, ", max_attempts => 1").await?;
        batches.push(id);
        for first in [1, 3] {
            outcomes.push(outcome(claim_one(&client, (id, first, first + 1, 1)).await?.run, state));
        }
    }
    assert_eq!(finish(&client, &outcomes).await?.len(), 2);
    assert_eq!(batch(&client, batches[0]).await?, "succeeded: 4 succeeded");
    assert_eq!(batch(&client, batches[1]).await?, "failed: 4 failed");
    let failed: i64 = value(&client, "SELECT failed::bigint FROM pgbatch.queues").await?;
    assert_eq!(failed, 4);
    Ok(())
}

#[tokio::test]
async fn a_message_is_kept_up_to_its_limit() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 1, "").await?;
    let mut ended = outcome(claim_one(&client, (id, 1, 1, 1)).await?.run, RunState::Failed);
    ended.message = Some("ä".repeat(5000));
    finish(&client, &[ended]).await?;
    assert_eq!(value::<i32>(&client, "SELECT length(message) FROM pgbatch.runs").await?, 4096);
    Ok(())
}
