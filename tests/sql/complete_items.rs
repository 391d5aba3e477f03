//! A run that completes many items in a call: complete_items.

use pgbatch_core::run::RunSpec;
use pgbatch_core::state::RunState::{Failed, Lost, Succeeded};
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::support::{
    Tested, batch, claim_one, enqueue, finish, items, outcome, refused, until_waiting, value, with_queue,
};

async fn complete(client: &Client, run: &RunSpec, numbers: &[i32]) -> Result<(), tokio_postgres::Error> {
    let sql = "SELECT pgbatch.complete_items($1, $2, $3)";
    client.execute(sql, &[&run.run, &run.token, &numbers]).await.map(drop)
}

/// The reports as they are stored.
async fn ranges(client: &Client) -> Tested<Vec<(i32, i32)>> {
    let sql = "SELECT first_item, last_item FROM pgbatch.report ORDER BY run_id, last_item";
    Ok(client.query(sql, &[]).await?.iter().map(|row| (row.get(0), row.get(1))).collect())
}

async fn left(client: &Client, run: &RunSpec) -> Tested<Vec<i32>> {
    let sql = "SELECT item_no FROM pgbatch.next_item($1, $2, at_most => 100)";
    Ok(client.query(sql, &[&run.run, &run.token]).await?.iter().map(|row| row.get(0)).collect())
}

#[tokio::test]
async fn those_in_a_row_are_one_row_and_what_lies_between_stays() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 12, "").await?;
    claim_one(&client, (id, 1, 2, 1)).await?;
    let run = claim_one(&client, (id, 3, 12, 1)).await?;
    complete(&client, &run, &[5, 4, 4, 9, 10]).await?;
    assert_eq!(ranges(&client).await?, [(4, 5), (9, 10)]);
    assert_eq!(left(&client, &run).await?, [11, 12], "beyond the last reported one first");
    let (succeeded, running) = ("succeeded ", "running ");
    let states =
        [running, running, running, succeeded, succeeded, running, running, running, succeeded, succeeded];
    assert_eq!(items(&client, id).await?, format!("{}running running", states.concat()));
    assert_eq!(batch(&client, id).await?, "running: 8 running, 4 succeeded");
    // With some that it has completed before, one by one or together.
    client.execute("SELECT pgbatch.complete_item($1, $2, 7)", &[&run.run, &run.token]).await?;
    client.execute("SELECT pgbatch.complete_item($1, $2, 10)", &[&run.run, &run.token]).await?;
    complete(&client, &run, &[6, 7, 8, 9, 11, 12]).await?;
    assert_eq!(ranges(&client).await?, [(4, 5), (6, 6), (7, 7), (8, 8), (9, 10), (11, 12)]);
    assert_eq!(left(&client, &run).await?, [3]);
    complete(&client, &run, &[]).await?;
    finish(&client, &[outcome(run.run, Failed)]).await?;
    assert_eq!(batch(&client, id).await?, "running: 2 running, 1 retrying, 9 succeeded");
    assert_eq!(
        value::<i64>(&client, "SELECT succeeded::bigint FROM pgbatch.run WHERE finished_at IS NOT NULL")
            .await?,
        9
    );
    Ok(())
}

/// The ends of runs whose reports are in ranges, against the same said one by one.
#[tokio::test]
async fn what_a_run_leaves_is_the_same_as_if_each_was_said_alone() -> Tested {
    let (_database, client) = with_queue(", max_attempts => 2").await?;
    for (state, disrupted) in [(Failed, false), (Succeeded, false), (Lost, true)] {
        let mut seen = Vec::new();
        for together in [true, false] {
            let id = enqueue(&client, 9, "").await?;
            let run = claim_one(&client, (id, 1, 9, 1)).await?;
            if together {
                complete(&client, &run, &[2, 3, 4, 8]).await?;
            } else {
                for item in [3, 2, 8, 4] {
                    let sql = "SELECT pgbatch.complete_item($1, $2, $3)";
                    client.execute(sql, &[&run.run, &run.token, &item]).await?;
                }
            }
            let fail = "SELECT pgbatch.fail_item($1, $2, 6, 'x', retry => false)";
            client.execute(fail, &[&run.run, &run.token]).await?;
            let mut end = outcome(run.run, state);
            end.disrupted = disrupted;
            finish(&client, &[end]).await?;
            let retries: Vec<String> = client
                .query(
                    "SELECT concat_ws(' ', first_item, last_item, attempt, max_attempt, disruptions)
                     FROM pgbatch.retry WHERE batch_id = $1 ORDER BY first_item",
                    &[&id],
                )
                .await?
                .iter()
                .map(|row| row.get(0))
                .collect();
            seen.push((items(&client, id).await?, batch(&client, id).await?, retries));
        }
        assert_eq!(seen[0], seen[1], "{state:?}");
        let retries = match state {
            Succeeded => vec![],
            Lost => vec!["1 1 2 3 1", "5 5 2 3 1", "7 7 2 3 1", "9 9 2 3 1"],
            _ => vec!["1 1 2 2 0", "5 5 2 2 0", "7 7 2 2 0", "9 9 2 2 0"],
        };
        assert_eq!(seen[0].2, retries, "{state:?}");
    }
    Ok(())
}

#[tokio::test]
async fn each_has_its_own_result() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 5, "").await?;
    let run = claim_one(&client, (id, 1, 5, 1)).await?;
    let sql = "SELECT pgbatch.complete_items($1, $2, '{1,2,3,4}', ARRAY['{\"n\": 1}', NULL, '{\"n\": 1}', '{\"n\": 1}']::jsonb[])";
    client.execute(sql, &[&run.run, &run.token]).await?;
    let rows = client.query("SELECT result FROM pgbatch.items ORDER BY item_no", &[]).await?;
    let results: Vec<Option<Value>> = rows.iter().map(|row| row.get(0)).collect();
    let one = Some(json!({"n": 1}));
    assert_eq!(results, [one.clone(), None, one.clone(), one, None]);
    Ok(())
}

#[tokio::test]
async fn one_that_was_reported_as_failed_refuses_them_all() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 5, "").await?;
    let run = claim_one(&client, (id, 1, 5, 1)).await?;
    client.execute("SELECT pgbatch.fail_item($1, $2, 3, 'x')", &[&run.run, &run.token]).await?;
    let error = refused(complete(&client, &run, &[1, 2, 3]).await)?;
    assert_eq!(error.message(), format!("item 3 of run {} was already reported as failed", run.run));
    assert_eq!(ranges(&client).await?, [(3, 3)]);
    complete(&client, &run, &[1, 2, 4]).await?;
    let error =
        refused(client.execute("SELECT pgbatch.fail_item($1, $2, 2, 'x')", &[&run.run, &run.token]).await)?;
    assert_eq!(error.message(), format!("item 2 of run {} was already reported as succeeded", run.run));
    finish(&client, &[outcome(run.run, Failed)]).await?;
    assert_eq!(batch(&client, id).await?, "running: 2 retrying, 3 succeeded");
    Ok(())
}

/// Ranges never overlap: what another session of the run has reported and not committed is waited for.
#[tokio::test]
async fn two_sessions_that_report_the_same_items_leave_no_two_reports_of_one() -> Tested {
    for first in ["complete_item($1, $2, 3)", "complete_items($1, $2, '{2,3,4}')"] {
        for end in ["COMMIT", "ROLLBACK"] {
            let (database, client) = with_queue("").await?;
            let (one, watcher) = (database.connect().await?, database.connect().await?);
            let id = enqueue(&client, 5, "").await?;
            let run = claim_one(&client, (id, 1, 5, 1)).await?;
            one.batch_execute("BEGIN").await?;
            one.execute(&format!("SELECT pgbatch.{first}"), &[&run.run, &run.token]).await?;
            let (reported, ended) = tokio::join!(complete(&client, &run, &[1, 2, 3, 4, 5]), async {
                until_waiting(&watcher, "Lock").await;
                one.batch_execute(end).await
            });
            reported?;
            ended?;
            let wanted: &[(i32, i32)] = match (end, first.contains("items")) {
                ("ROLLBACK", _) => &[(1, 5)],
                (_, true) => &[(1, 1), (2, 4), (5, 5)],
                (_, false) => &[(1, 2), (3, 3), (4, 5)],
            };
            assert_eq!(ranges(&client).await?, wanted, "{first} {end}");
            finish(&client, &[outcome(run.run, Failed)]).await?;
            assert_eq!(batch(&client, id).await?, "succeeded: 5 succeeded");
        }
    }
    Ok(())
}
