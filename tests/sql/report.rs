//! What a run says itself: complete_item, fail_item, run_statement.

use pgbatch_core::state::RunState::{Failed, Succeeded};
use serde_json::{Value, json};

use crate::support::{
    Tested, batch, claim_one, enqueue, finish, outcome, refused, until_waiting, value, wait_longer_for_locks,
    with_queue,
};

#[tokio::test]
async fn only_a_live_run_with_its_token_reports() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 2, "").await?;
    let run = claim_one(&client, (id, 1, 1, 1)).await?;
    let other = claim_one(&client, (id, 2, 2, 1)).await?;
    let calls = [
        "SELECT pgbatch.complete_item($1, $2, 1)",
        "SELECT pgbatch.fail_item($1, $2, 1, 'x')",
        "SELECT pgbatch.complete_items($1, $2, '{1}')",
        "SELECT * FROM pgbatch.run_statement($1, $2)",
    ];
    for call in calls {
        let error = refused(client.query(call, &[&run.run, &other.token]).await)?;
        assert_eq!(error.code().code(), "55000", "the token of another run: {call}");
        assert_eq!(error.message(), format!("run {} is over or the token is wrong", run.run));
    }
    finish(&client, &[outcome(run.run, Failed)]).await?;
    for call in calls {
        let error = refused(client.query(call, &[&run.run, &run.token]).await)?;
        assert_eq!(error.code().code(), "55000", "a zombie: {call}");
    }
    assert_eq!(value::<i64>(&client, "SELECT count(*) FROM pgbatch.report").await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_report_is_for_an_item_of_the_run_and_holds() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 3, "").await?;
    let run = claim_one(&client, (id, 1, 2, 1)).await?;
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&run.run, &run.token];
    for item in ["0", "3", "NULL"] {
        let sql = format!("SELECT pgbatch.complete_item($1, $2, {item})");
        assert_eq!(refused(client.query(&sql, &parameters).await)?.code().code(), "22023", "item {item}");
    }
    let complete = "SELECT pgbatch.complete_item($1, $2, 1, '{\"n\": 1}')";
    let again = "SELECT pgbatch.complete_item($1, $2, 1, '{\"n\": 2}')";
    for sql in [complete, again] {
        client.query(sql, &parameters).await?;
    }
    let result: Value = value(&client, "SELECT result FROM pgbatch.items WHERE item_no = 1").await?;
    assert_eq!(result, json!({"n": 1}), "the first holds");
    let error = refused(client.query("SELECT pgbatch.fail_item($1, $2, 1, 'x')", &parameters).await)?;
    assert_eq!(error.message(), format!("item 1 of run {} was already reported as succeeded", run.run));
    client.query("SELECT pgbatch.fail_item($1, $2, 2, 'x')", &parameters).await?;
    let error = refused(client.query("SELECT pgbatch.complete_item($1, $2, 2)", &parameters).await)?;
    assert_eq!(error.code().code(), "55000");
    Ok(())
}

#[tokio::test]
async fn a_statement_is_for_the_items_not_reported_yet() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 4, "").await?;
    claim_one(&client, (id, 1, 1, 1)).await?;
    let run = claim_one(&client, (id, 2, 4, 1)).await?;
    client.query("SELECT pgbatch.complete_item($1, $2, 3)", &[&run.run, &run.token]).await?;
    let rows = client.query("SELECT * FROM pgbatch.run_statement($1, $2)", &[&run.run, &run.token]).await?;
    let seen: Vec<(i32, Value, String)> = rows.iter().map(|r| (r.get(0), r.get(1), r.get(2))).collect();
    let sql = || "SELECT 1".to_owned();
    assert_eq!(seen, [(2, json!({"i": 2}), sql()), (4, json!({"i": 4}), sql())]);
    Ok(())
}

#[tokio::test]
async fn an_open_report_commits_before_the_end_of_its_run_is_written() -> Tested {
    let (database, client) = with_queue("").await?;
    let reporter = database.connect().await?;
    let watcher = database.connect().await?;
    wait_longer_for_locks(&watcher).await?;
    let id = enqueue(&client, 1, "").await?;
    let run = claim_one(&client, (id, 1, 1, 1)).await?;
    reporter.batch_execute("BEGIN").await?;
    reporter.query("SELECT pgbatch.complete_item($1, $2, 1)", &[&run.run, &run.token]).await?;
    let ended = [outcome(run.run, Failed)];
    let (closed, ()) = tokio::join!(finish(&client, &ended), async {
        until_waiting(&watcher, "Lock").await;
        let _ = reporter.batch_execute("COMMIT").await;
    });
    assert_eq!(closed?.len(), 1);
    assert_eq!(batch(&client, id).await?, "succeeded: 1 succeeded", "as it was reported");
    Ok(())
}

/// A zombie that keeps its transaction open must not stop the dispatcher: its run stays live, all others end.
#[tokio::test]
async fn a_report_that_stays_open_holds_up_its_own_run_only() -> Tested {
    let (database, client) = with_queue("").await?;
    let reporter = database.connect().await?;
    let id = enqueue(&client, 2, "").await?;
    let run = claim_one(&client, (id, 1, 1, 1)).await?;
    let other = claim_one(&client, (id, 2, 2, 1)).await?;
    reporter.batch_execute("BEGIN").await?;
    reporter.query("SELECT pgbatch.complete_item($1, $2, 1)", &[&run.run, &run.token]).await?;
    let ended = [outcome(run.run, Failed), outcome(other.run, Succeeded)];
    assert_eq!(finish(&client, &ended).await?.len(), 0);
    assert_eq!(batch(&client, id).await?, "running: 1 running, 1 succeeded");
    reporter.batch_execute("ROLLBACK").await?;
    finish(&client, &ended).await?;
    assert_eq!(batch(&client, id).await?, "running: 1 retrying, 1 succeeded");
    Ok(())
}
