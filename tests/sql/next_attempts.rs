//! What comes after a run that did not succeed, as those who look at its Job are told.

use pgbatch_core::notice::NextAttempt;
use pgbatch_core::run::Outcome;
use pgbatch_core::state::RunState::{Cancelled, Failed, Succeeded};
use tokio_postgres::Client;
use tokio_postgres::types::Json;

use crate::support::{Tested, claim_one, enqueue, finish, outcome, value, with_queue};

async fn next_attempts(client: &Client, runs: &[i64]) -> Tested<Vec<NextAttempt>> {
    let rows = client.query("SELECT pgbatch.next_attempts($1)", &[&runs]).await?;
    rows.iter().map(|row| Ok(row.try_get::<_, Json<NextAttempt>>(0)?.0)).collect()
}

async fn next(client: &Client, run: i64) -> Tested<NextAttempt> {
    next_attempts(client, &[run]).await?.pop().ok_or_else(|| "nothing comes after it".into())
}

#[tokio::test]
async fn the_next_attempt_is_told_while_there_is_one() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 2, ", max_attempts => 2").await?;
    let first = claim_one(&client, (id, 1, 2, 1)).await?.run;
    assert_eq!(next_attempts(&client, &[first]).await?, [], "it has not ended");
    let later = Outcome { retry_in_ms: 60_000, ..outcome(first, Failed) };
    finish(&client, &[later]).await?;
    let told = next(&client, first).await?;
    let due: bool = value(
        &client,
        "SELECT due_at BETWEEN now() + interval '50 s' AND now() + interval '60 s' FROM pgbatch.retry",
    )
    .await?;
    assert!(due && told.due_at.is_some(), "{told:?}");
    assert_eq!((told.run, told.batch, told.attempt, told.max_attempts, told.failed), (first, id, 1, 2, 0));

    client.batch_execute("UPDATE pgbatch.retry SET due_at = now()").await?;
    let second = claim_one(&client, (id, 1, 2, 2)).await?.run;
    finish(&client, &[outcome(second, Failed)]).await?;
    let told = next(&client, second).await?;
    assert_eq!((told.attempt, told.max_attempts, told.failed, told.due_at), (2, 2, 2, None));
    Ok(())
}

#[tokio::test]
async fn what_a_disruption_gives_counts_and_what_the_run_completed_is_not_tried_again() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 1, ", max_attempts => 1").await?;
    let run = claim_one(&client, (id, 1, 1, 1)).await?.run;
    finish(&client, &[Outcome { disrupted: true, ..outcome(run, Failed) }]).await?;
    let told = next(&client, run).await?;
    assert_eq!((told.attempt, told.max_attempts, told.due_at.is_some()), (1, 2, true));

    let done = enqueue(&client, 1, "").await?;
    let run = claim_one(&client, (done, 1, 1, 1)).await?;
    client.execute("SELECT pgbatch.complete_item($1, $2, 1)", &[&run.run, &run.token]).await?;
    finish(&client, &[outcome(run.run, Failed)]).await?;
    let told = next(&client, run.run).await?;
    assert_eq!((told.failed, told.due_at), (0, None));
    Ok(())
}

#[tokio::test]
async fn nothing_is_told_of_runs_that_succeeded_were_cancelled_or_never_were() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 3, "").await?;
    let mut runs = vec![4711];
    for (item, state) in [(1, Succeeded), (2, Cancelled)] {
        let run = claim_one(&client, (id, item, item, 1)).await?.run;
        finish(&client, &[outcome(run, state)]).await?;
        runs.push(run);
    }
    assert_eq!(next_attempts(&client, &runs).await?, []);
    Ok(())
}
