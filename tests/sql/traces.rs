//! The trace that a batch was enqueued in.

use pgbatch_core::state::RunState::Succeeded;
use serde_json::Value;
use tokio_postgres::Client;

use crate::support::{Tested, claim_one, enqueue, finish, outcome, value, with_queue};

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A batch that is enqueued by this call in a transaction with that setting; its traceparent.
async fn enqueued(client: &mut Client, call: &str, traceparent: &str) -> Tested<(i64, Option<String>)> {
    let transaction = client.transaction().await?;
    transaction.execute("SELECT set_config('pgbatch.traceparent', $1, true)", &[&traceparent]).await?;
    let id: i64 = transaction.query_one(call, &[]).await?.get(0);
    transaction.commit().await?;
    let kept = client.query_one("SELECT traceparent FROM pgbatch.batch WHERE id = $1", &[&id]).await?.get(0);
    Ok((id, kept))
}

#[tokio::test]
async fn whatever_enqueues_keeps_the_trace_of_its_transaction() -> Tested {
    let (_database, mut client) = with_queue("").await?;
    for call in [
        "SELECT pgbatch.enqueue('q')",
        "SELECT pgbatch.enqueue('q', label => 'l')",
        "SELECT pgbatch.enqueue_batch('q', '{\"{}\", \"{}\"}')",
        "SELECT pgbatch.enqueue_query('q', 'SELECT 1 AS a')",
    ] {
        assert_eq!(enqueued(&mut client, call, TRACEPARENT).await?.1.as_deref(), Some(TRACEPARENT), "{call}");
    }
    let id = enqueue(&client, 1, "").await?;
    let kept: Option<String> =
        value(&client, &format!("SELECT traceparent FROM pgbatch.batch WHERE id = {id}")).await?;
    assert_eq!(kept, None, "the next transaction is not in the trace");
    Ok(())
}

#[tokio::test]
async fn what_is_no_trace_is_ignored() -> Tested {
    let (_database, mut client) = with_queue("").await?;
    let upper = TRACEPARENT.to_uppercase();
    let long = format!("{TRACEPARENT}-{}", "x".repeat(100_000));
    for (said, kept) in [
        ("", None),
        ("00-1-2-01", None),
        ("x", None),
        (upper.as_str(), None),
        // Of a later version what is known is kept.
        (long.as_str(), Some(TRACEPARENT)),
    ] {
        let got = enqueued(&mut client, "SELECT pgbatch.enqueue('q')", said).await?.1;
        assert_eq!(got.as_deref(), kept, "{:.60}", said);
    }
    Ok(())
}

async fn run_traces(client: &Client, runs: &[i64]) -> Tested<Vec<Value>> {
    let rows = client.query("SELECT pgbatch.run_traces($1)", &[&runs]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

#[tokio::test]
async fn what_is_told_of_a_run_grows_and_of_others_there_is_nothing() -> Tested {
    let (_database, mut client) = with_queue("").await?;
    let (traced, _) = enqueued(&mut client, "SELECT pgbatch.enqueue('q')", TRACEPARENT).await?;
    let other = enqueue(&client, 1, "").await?;
    let run = claim_one(&client, (traced, 1, 1, 1)).await?.run;
    let unknown = claim_one(&client, (other, 1, 1, 1)).await?.run;
    let told = run_traces(&client, &[unknown, run, 4711]).await?;
    let [claimed] = told.as_slice() else { return Err(format!("{told:?}").into()) };
    assert_eq!((&claimed["run"], &claimed["batch"]), (&Value::from(run), &Value::from(traced)));
    assert_eq!(claimed["traceparent"], TRACEPARENT);
    assert_eq!((&claimed["state"], &claimed["finished_at"]), (&Value::from("starting"), &Value::Null));
    assert!(claimed["claimable_at"].as_str() <= claimed["claimed_at"].as_str(), "{claimed}");

    finish(&client, &[outcome(run, Succeeded)]).await?;
    let told = run_traces(&client, &[run]).await?;
    assert_eq!(told[0]["state"], "succeeded");
    assert!(told[0]["finished_at"].is_string());
    Ok(())
}
