//! Words and shapes agree: SQL's constraints and JSON, and Rust's types.

use std::collections::BTreeSet;

use pgbatch_core::item::Item;
use pgbatch_core::run::RunSpec;
use pgbatch_core::state::{BatchState, RunState};
use serde_json::json;
use tokio_postgres::types::Json;

use crate::support::{
    Tested, claim, claim_one, database, enqueue, finish, observe, outcome, value, with_queue,
};

async fn words_of(constraint: &str) -> Tested<BTreeSet<String>> {
    let client = database().await?.connect().await?;
    let definition: String = value(
        &client,
        &format!("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = '{constraint}'"),
    )
    .await?;
    Ok(definition.split('\'').skip(1).step_by(2).map(str::to_owned).collect())
}

#[tokio::test]
async fn states_of_batches_are_the_same_in_sql_and_rust() -> Tested {
    let rust = BatchState::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(words_of("batch_state").await?, rust);
    Ok(())
}

#[tokio::test]
async fn states_of_runs_are_the_same_in_sql_and_rust() -> Tested {
    let rust = RunState::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(words_of("run_state").await?, rust);
    Ok(())
}

#[tokio::test]
async fn every_final_state_is_one_that_finish_runs_takes() -> Tested {
    let (_database, client) = with_queue("").await?;
    for state in RunState::ALL.iter().filter(|s| s.is_final()) {
        let batch = enqueue(&client, 1, ", max_attempts => 1").await?;
        let run = claim_one(&client, (batch, 1, 1, 1)).await?.run;
        finish(&client, &[outcome(run, *state)]).await?;
        let stored: String =
            value(&client, &format!("SELECT state FROM pgbatch.runs WHERE id = {run}")).await?;
        assert_eq!(stored, state.word());
    }
    Ok(())
}

/// Every field set once, so that no name and no type of the JSON is left unseen by serde's strict reading.
#[tokio::test]
async fn observe_and_claim_are_what_the_dispatcher_reads() -> Tested {
    let (_database, client) = with_queue(
        ", items_per_run => 2, max_per_key => 3, max_starts => 4, max_starts_per => '90 s', run_timeout => '1.5 s',
         namespace => 'jobs', priority => 7, keep_failed => 0",
    )
    .await?;
    let first = enqueue(&client, 5, ", priority => 2, key => 'k'").await?;
    enqueue(&client, 1, ", not_before => now() + interval '1 h'").await?;
    let runs = claim(&client, &[(first, 1, 2, 1), (first, 3, 4, 1)]).await?;
    assert_eq!(runs.len(), 2);
    let (failing, live) = (&runs[0], &runs[1]);
    assert_eq!((failing.first_item, failing.last_item, failing.attempt), (1, 2, 1));
    assert_eq!(failing.items.iter().map(Item::json).collect::<Vec<_>>(), [r#"{"i": 1}"#, r#"{"i": 2}"#]);
    assert_eq!((failing.items_per_run, failing.namespace.as_deref()), (2, Some("jobs")));
    assert!(failing.job_template.is_none() && failing.token != live.token);
    finish(&client, &[outcome(failing.run, RunState::Failed)]).await?;
    let started = json!([{"run": live.run, "started_at": "2026-01-02T03:04:05.678+01:00"}]);
    client.execute("SELECT pgbatch.start_runs(0, $1)", &[&started]).await?;

    let view = observe(&client).await?;
    let [queue] = view.queues.as_slice() else { return Err("not one queue".into()) };
    assert_eq!((queue.max_starts_per_ms, queue.run_timeout_ms), (90_000, Some(1500)));
    assert_eq!((queue.retry_backoff_ms, queue.retry_backoff_max_ms), (10_000, 3_600_000));
    assert_eq!(
        (queue.priority, queue.max_per_key, queue.max_starts, queue.keep_failed),
        (7, Some(3), Some(4), 0)
    );
    assert_eq!(queue.recent_starts.len(), 2);
    let [fresh] = queue.fresh.as_slice() else { return Err("not one fresh batch".into()) };
    assert_eq!((fresh.batch, fresh.next_item, fresh.items, fresh.priority), (first, 5, 5, 2));
    assert_eq!(fresh.key.as_deref(), Some("k"));
    let [retry] = queue.retries.as_slice() else { return Err("not one retry".into()) };
    assert_eq!((retry.first_item, retry.last_item, retry.attempt, retry.priority), (1, 2, 2, 2));
    let [run] = view.live.as_slice() else { return Err("not one live run".into()) };
    assert_eq!((run.run, run.state, run.cancel), (live.run, RunState::Running, false));
    assert_eq!(run.started_at, Some("2026-01-02T02:04:05.678Z".parse()?));
    assert!(view.next_not_before.is_some_and(|t| t > view.now));
    assert_eq!(view.namespaces.iter().collect::<Vec<_>>(), ["jobs"]);

    let specs = client.query("SELECT pgbatch.run_specs($1)", &[&vec![failing.run, live.run]]).await?;
    assert_eq!(specs.len(), 1, "an ended run needs no start");
    let Json(spec): Json<RunSpec> = specs[0].get(0);
    assert!(spec == *live);
    Ok(())
}

#[tokio::test]
async fn observing_an_idle_database_writes_nothing() -> Tested {
    let (_database, client) = with_queue("").await?;
    let batch = enqueue(&client, 1, "").await?;
    enqueue(&client, 1, &format!(", after => ARRAY[{batch}]")).await?;
    observe(&client).await?;
    client.batch_execute("BEGIN; SELECT pgbatch.observe(0)").await?;
    let written: Option<String> = value(&client, "SELECT pg_current_xact_id_if_assigned()::text").await?;
    assert_eq!(written, None);
    Ok(())
}
