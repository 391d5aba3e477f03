//! A run of many items in a loop: next_item, heartbeat, and what they say of a run that is over or to be cancelled.

use pgbatch_core::run::RunSpec;
use pgbatch_core::state::RunState::{Cancelled, Failed, Succeeded};
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::support::{
    Tested, batch, claim_one, enqueue, finish, items, outcome, refused, until_waiting, value,
    wait_longer_for_locks, with_queue,
};

/// The numbers of the next items, with these further arguments.
async fn next(client: &Client, run: &RunSpec, arguments: &str) -> Tested<Vec<i32>> {
    let sql = format!("SELECT item_no FROM pgbatch.next_item($1, $2 {arguments})");
    Ok(client.query(&sql, &[&run.run, &run.token]).await?.iter().map(|row| row.get(0)).collect())
}

async fn complete(client: &Client, run: &RunSpec, item: i32) -> Tested {
    client.execute("SELECT pgbatch.complete_item($1, $2, $3)", &[&run.run, &run.token, &item]).await?;
    Ok(())
}

async fn heartbeat(client: &Client, run: &RunSpec) -> Result<bool, tokio_postgres::Error> {
    Ok(client.query_one("SELECT pgbatch.heartbeat($1, $2)", &[&run.run, &run.token]).await?.get(0))
}

#[tokio::test]
async fn a_loop_gets_each_item_of_its_run_once() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 7, "").await?;
    claim_one(&client, (id, 1, 2, 1)).await?;
    let run = claim_one(&client, (id, 3, 6, 1)).await?;
    let mut seen = Vec::new();
    // As long as there could be more than there are.
    while seen.len() < 9 {
        let rows = client.query("SELECT * FROM pgbatch.next_item($1, $2)", &[&run.run, &run.token]).await?;
        let [row] = rows.as_slice() else { break };
        let item: i32 = row.get("item_no");
        assert_eq!(row.get::<_, Value>("item"), json!({"i": item}));
        seen.push(item);
        if item == 4 {
            client.execute("SELECT pgbatch.fail_item($1, $2, 4, 'x')", &[&run.run, &run.token]).await?;
        } else {
            complete(&client, &run, item).await?;
        }
    }
    assert_eq!(seen, [3, 4, 5, 6]);
    finish(&client, &[outcome(run.run, Succeeded)]).await?;
    assert_eq!(items(&client, id).await?, "running running succeeded retrying succeeded succeeded pending");
    Ok(())
}

#[tokio::test]
async fn an_item_that_is_not_reported_comes_again() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 3, "").await?;
    let run = claim_one(&client, (id, 1, 3, 1)).await?;
    assert_eq!((next(&client, &run, "").await?, next(&client, &run, "").await?), (vec![1], vec![1]));
    Ok(())
}

#[tokio::test]
async fn several_threads_fetch_ahead_and_find_what_was_left_out_in_the_end() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 10, "").await?;
    let run = claim_one(&client, (id, 1, 10, 1)).await?;
    assert_eq!(next(&client, &run, ", at_most => 3").await?, [1, 2, 3]);
    assert_eq!(next(&client, &run, ", after_item => 3, at_most => 3").await?, [4, 5, 6]);
    for item in [1, 5, 6, 8] {
        complete(&client, &run, item).await?;
    }
    assert_eq!(next(&client, &run, ", at_most => 9").await?, [9, 10], "beyond the last reported one first");
    for item in [9, 10] {
        complete(&client, &run, item).await?;
    }
    assert_eq!(next(&client, &run, ", at_most => 9").await?, [2, 3, 4, 7]);
    assert_eq!(next(&client, &run, ", after_item => 3, at_most => 1").await?, [4]);
    assert_eq!(next(&client, &run, ", after_item => 7").await?, Vec::<i32>::new(), "nothing left there");
    Ok(())
}

/// Rows of the extension's tables that this session has read; to be compared within one transaction.
const ROWS_READ: &str = "SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::bigint
    FROM pg_stat_xact_user_tables WHERE schemaname = 'pgbatch'";

#[tokio::test]
async fn it_reads_no_more_when_much_is_reported() -> Tested {
    const ITEMS: i32 = 5_000;
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, ITEMS, "").await?;
    let run = claim_one(&client, (id, 1, ITEMS, 1)).await?;
    // The trap: plans that were made while there were few reports.
    for item in 1..=10 {
        assert_eq!(next(&client, &run, "").await?, [item]);
        complete(&client, &run, item).await?;
    }
    let many = format!(
        "INSERT INTO pgbatch.report (run_id, first_item, last_item, state, retry)
         SELECT {}, i, i, 'succeeded', false FROM generate_series(11, {}) i",
        run.run,
        ITEMS - 10
    );
    client.batch_execute(&many).await?;
    client.batch_execute("BEGIN").await?;
    let before: i64 = value(&client, ROWS_READ).await?;
    assert_eq!(next(&client, &run, "").await?, [ITEMS - 9]);
    let read = value::<i64>(&client, ROWS_READ).await? - before;
    assert!(read < 20, "it read {read} rows");
    Ok(())
}

#[tokio::test]
async fn a_heartbeat_is_noted_and_says_whether_to_go_on() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 3, "").await?;
    let run = claim_one(&client, (id, 1, 2, 1)).await?;
    let noted = "SELECT heartbeat_at IS NOT NULL FROM pgbatch.runs";
    assert!(!value::<bool>(&client, noted).await?);
    assert!(heartbeat(&client, &run).await?);
    assert!(value::<bool>(&client, noted).await?);
    client.execute("SELECT pgbatch.cancel_batch($1)", &[&id]).await?;
    assert!(!heartbeat(&client, &run).await?, "it is to end");
    // What it finishes all the same counts.
    complete(&client, &run, 1).await?;
    finish(&client, &[outcome(run.run, Cancelled)]).await?;
    assert_eq!(batch(&client, id).await?, "cancelled: 1 succeeded, 2 cancelled");
    let error = refused(heartbeat(&client, &run).await)?;
    assert_eq!(error.code().code(), "55000");
    assert_eq!(error.message(), format!("run {} is over or the token is wrong", run.run));
    Ok(())
}

/// Two sessions of a run, each with an open report: a heartbeat of either must not wait for the other.
#[tokio::test]
async fn a_heartbeat_beside_an_open_report_does_not_wait() -> Tested {
    let (database, client) = with_queue("").await?;
    let id = enqueue(&client, 2, "").await?;
    let run = claim_one(&client, (id, 1, 2, 1)).await?;
    let (one, two) = (database.connect().await?, database.connect().await?);
    for (session, item) in [(&one, 1), (&two, 2)] {
        session.batch_execute("SET statement_timeout = '20 s'; BEGIN").await?;
        complete(session, &run, item).await?;
    }
    assert!(heartbeat(&one, &run).await? && heartbeat(&two, &run).await?);
    for session in [&one, &two] {
        session.batch_execute("COMMIT").await?;
    }
    assert!(heartbeat(&client, &run).await?);
    assert_eq!(items(&client, id).await?, "succeeded succeeded");
    Ok(())
}

/// The dispatcher does not wait for an open heartbeat, but a moment, and the run's end is written after it.
#[tokio::test]
async fn an_open_heartbeat_commits_before_the_end_of_its_run_is_written() -> Tested {
    let (database, client) = with_queue("").await?;
    let id = enqueue(&client, 1, "").await?;
    let run = claim_one(&client, (id, 1, 1, 1)).await?;
    let (beating, watcher) = (database.connect().await?, database.connect().await?);
    wait_longer_for_locks(&watcher).await?;
    beating.batch_execute("BEGIN").await?;
    assert!(heartbeat(&beating, &run).await?);
    let ended = [outcome(run.run, Succeeded)];
    let (closed, ()) = tokio::join!(finish(&client, &ended), async {
        until_waiting(&watcher, "Lock").await;
        let _ = beating.batch_execute("COMMIT").await;
    });
    assert_eq!(closed?.len(), 1);
    assert!(value::<bool>(&client, "SELECT heartbeat_at IS NOT NULL FROM pgbatch.runs").await?);
    Ok(())
}

#[tokio::test]
async fn only_a_live_run_with_its_token_asks() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 2, "").await?;
    let run = claim_one(&client, (id, 1, 1, 1)).await?;
    let other = claim_one(&client, (id, 2, 2, 1)).await?;
    for call in ["SELECT pgbatch.next_item($1, $2)", "SELECT pgbatch.heartbeat($1, $2)"] {
        let error = refused(client.query(call, &[&run.run, &other.token]).await)?;
        assert_eq!(error.code().code(), "55000", "the token of another run: {call}");
    }
    finish(&client, &[outcome(run.run, Failed)]).await?;
    let error = refused(client.query("SELECT pgbatch.next_item($1, $2)", &[&run.run, &run.token]).await)?;
    assert_eq!(error.message(), format!("run {} is over or the token is wrong", run.run));
    Ok(())
}
