//! Runs that were evicted, drained or preempted, and runs that do not start: what is noted of them, and what it costs.

use pgbatch_core::run::Outcome;
use pgbatch_core::state::RunState::{Failed, Succeeded};
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::support::{
    EPOCH, Tested, batch, claim_one, enqueue, finish, items, observe, outcome, value, with_queue,
};

fn disrupted(run: i64) -> Outcome {
    Outcome { disrupted: true, ..outcome(run, Failed) }
}

#[tokio::test]
async fn ten_disruptions_burn_no_attempt_and_the_eleventh_does() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 1, ", max_attempts => 1").await?;
    for attempt in 1..=10 {
        let run = claim_one(&client, (id, 1, 1, attempt)).await?.run;
        assert_eq!(finish(&client, &[disrupted(run)]).await?.len(), 0);
        assert_eq!(batch(&client, id).await?, "running: 1 retrying", "disruption {attempt}");
    }
    let run = claim_one(&client, (id, 1, 1, 11)).await?.run;
    assert_eq!(finish(&client, &[disrupted(run)]).await?.len(), 1);
    assert_eq!(batch(&client, id).await?, "failed: 1 failed");
    let noted: i64 = value(&client, "SELECT count(*) FROM pgbatch.runs WHERE disrupted").await?;
    assert_eq!(noted, 11);
    Ok(())
}

#[tokio::test]
async fn real_failures_between_them_count_as_ever() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 1, ", max_attempts => 2").await?;
    let ends = [disrupted, |run| outcome(run, Failed), disrupted, |run| outcome(run, Failed)];
    for (end, attempt) in ends.into_iter().zip(1..) {
        assert_eq!(items(&client, id).await?, if attempt == 1 { "pending" } else { "retrying" });
        let run = claim_one(&client, (id, 1, 1, attempt)).await?.run;
        finish(&client, &[end(run)]).await?;
    }
    assert_eq!(batch(&client, id).await?, "failed: 1 failed");
    Ok(())
}

/// An item that the run itself said has failed did have its attempt; it is retried apart from the others.
#[tokio::test]
async fn what_a_disrupted_run_reported_as_failed_burns_an_attempt() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 4, ", max_attempts => 2").await?;
    for attempt in [1, 2] {
        let mut ends = Vec::new();
        let ranges = if attempt == 1 { vec![(1, 4)] } else { vec![(2, 2), (3, 4)] };
        for (first, last) in ranges {
            let run = claim_one(&client, (id, first, last, attempt)).await?;
            for (item, call) in [(1, "complete_item($1, $2, 1)"), (2, "fail_item($1, $2, 2, 'x')")] {
                if (first..=last).contains(&item) {
                    client.execute(&format!("SELECT pgbatch.{call}"), &[&run.run, &run.token]).await?;
                }
            }
            ends.push(disrupted(run.run));
        }
        finish(&client, &ends).await?;
        batch(&client, id).await?;
    }
    assert_eq!(items(&client, id).await?, "succeeded failed retrying retrying");
    Ok(())
}

#[tokio::test]
async fn retried_by_hand_it_is_as_a_new_one() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 1, ", max_attempts => 1").await?;
    let run = claim_one(&client, (id, 1, 1, 1)).await?.run;
    finish(&client, &[outcome(run, Failed)]).await?;
    client.execute("SELECT pgbatch.retry_batch($1)", &[&id]).await?;
    let run = claim_one(&client, (id, 1, 1, 2)).await?.run;
    finish(&client, &[disrupted(run)]).await?;
    assert_eq!(batch(&client, id).await?, "running: 1 retrying", "no attempt burnt");
    let run = claim_one(&client, (id, 1, 1, 3)).await?.run;
    finish(&client, &[outcome(run, Failed)]).await?;
    assert_eq!(batch(&client, id).await?, "failed: 1 failed");
    Ok(())
}

async fn note(client: &Client, notes: Value) -> Tested {
    client.execute(&format!("SELECT pgbatch.note_runs({EPOCH}, $1)"), &[&notes]).await?;
    Ok(())
}

const NOTED: &str = "SELECT concat_ws(': ', reason, message) FROM pgbatch.runs";

#[tokio::test]
async fn why_a_run_does_not_start_is_noted_while_it_lasts() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 1, "").await?;
    let run = claim_one(&client, (id, 1, 1, 1)).await?.run;
    let waiting =
        |message: &str| json!([{"run": run, "waiting": {"reason": "Unschedulable", "message": message}}]);
    note(&client, waiting("no node")).await?;
    assert_eq!(value::<String>(&client, NOTED).await?, "Unschedulable: no node");
    let seen = observe(&client).await?.live[0].waiting.clone().ok_or("not seen")?;
    assert_eq!((seen.reason.as_str(), seen.message.as_str()), ("Unschedulable", "no node"));
    note(&client, waiting(&"ä".repeat(5000))).await?;
    assert_eq!(value::<i32>(&client, "SELECT length(message) FROM pgbatch.runs").await?, 4096);
    note(&client, json!([{"run": run, "waiting": null}])).await?;
    assert_eq!(value::<String>(&client, NOTED).await?, "", "it is over");
    note(&client, waiting("no node")).await?;
    let started = json!([{"run": run, "started_at": "2026-01-01T00:00:00Z"}]);
    client.execute("SELECT pgbatch.start_runs(0, $1)", &[&started]).await?;
    assert_eq!(value::<String>(&client, NOTED).await?, "", "it has started");
    note(&client, waiting("late")).await?;
    assert_eq!(value::<String>(&client, NOTED).await?, "", "a late note is none");
    finish(&client, &[outcome(run, Succeeded)]).await?;
    note(&client, waiting("later still")).await?;
    assert_eq!(value::<String>(&client, NOTED).await?, "");
    Ok(())
}

#[tokio::test]
async fn of_a_run_that_somebody_has_locked_nothing_is_noted_and_nobody_waits() -> Tested {
    let (database, client) = with_queue("").await?;
    let id = enqueue(&client, 2, "").await?;
    let locked = claim_one(&client, (id, 1, 1, 1)).await?;
    let free = claim_one(&client, (id, 2, 2, 1)).await?;
    let open = database.connect().await?;
    open.batch_execute("BEGIN").await?;
    open.execute("SELECT 1 FROM pgbatch.run WHERE id = $1 FOR UPDATE", &[&locked.run]).await?;
    client.batch_execute("SET statement_timeout = '20 s'").await?;
    let notes =
        [locked.run, free.run].map(|run| json!({"run": run, "waiting": {"reason": "X", "message": ""}}));
    note(&client, json!(notes)).await?;
    let noted: i64 = value(&client, "SELECT id FROM pgbatch.runs WHERE reason = 'X'").await?;
    assert_eq!(noted, free.run);
    Ok(())
}

/// Or its run_timeout would not be known to have begun, and a run that was stopped for it would be started again.
#[tokio::test]
async fn that_a_run_has_started_is_noted_while_it_has_a_report_open() -> Tested {
    let (database, client) = with_queue("").await?;
    let id = enqueue(&client, 1, "").await?;
    let run = claim_one(&client, (id, 1, 1, 1)).await?;
    let open = database.connect().await?;
    open.batch_execute("BEGIN").await?;
    open.execute("SELECT pgbatch.complete_item($1, $2, 1)", &[&run.run, &run.token]).await?;
    let start = format!("SELECT pgbatch.start_runs({EPOCH}, $1)");
    client.execute(&start, &[&json!([{"run": run.run, "started_at": "2026-11-24T20:00:00Z"}])]).await?;
    assert_eq!(value::<String>(&client, "SELECT state FROM pgbatch.runs").await?, "running");
    let ended = finish(&client, &[outcome(run.run, Failed)]).await?;
    assert_eq!(ended.len(), 0, "its end waits for the report");
    open.batch_execute("COMMIT").await?;
    assert_eq!(finish(&client, &[outcome(run.run, Failed)]).await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn runs_that_have_ended_or_never_were_are_over() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 2, "").await?;
    let ended = claim_one(&client, (id, 1, 1, 1)).await?.run;
    let live = claim_one(&client, (id, 2, 2, 1)).await?.run;
    finish(&client, &[outcome(ended, Failed)]).await?;
    let over = format!("SELECT pgbatch.over_runs({EPOCH}, ARRAY[{live}, {ended}, 999, NULL])");
    let over: Vec<Option<i64>> = client.query(&over, &[]).await?.iter().map(|row| row.get(0)).collect();
    assert_eq!(over.into_iter().flatten().collect::<Vec<_>>(), [ended, 999]);
    Ok(())
}
