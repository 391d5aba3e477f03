//! Somebody's transaction stays open: who must not wait for it does not. Each call here runs under a statement timeout,
//! so a wait is a failure. It is a long one: what waits does so for ever, and what does not may be slow on a busy machine.

use pgbatch_core::state::RunState::Succeeded;
use tokio_postgres::Client;

use crate::support::{
    Tested, batch, claim, claim_one, enqueue, finish, observe, outcome, refused, until_waiting, value,
    wait_longer_for_locks, with_queue,
};

async fn impatient(database: &e2e::postgres::Database) -> Tested<Client> {
    let client = database.connect().await?;
    client.batch_execute("SET statement_timeout = '20 s'").await?;
    Ok(client)
}

#[tokio::test]
async fn an_open_enqueuer_holds_up_nobody() -> Tested {
    let (database, client) = with_queue("").await?;
    let before = enqueue(&client, 2, "").await?;
    let open = database.connect().await?;
    open.batch_execute("BEGIN").await?;
    let unseen = enqueue(&open, 3, ", unique_key => 'mine'").await?;

    let other = impatient(&database).await?;
    let after = enqueue(&other, 1, ", unique_key => 'yours'").await?;
    let view = observe(&other).await?;
    assert_eq!(view.queues[0].fresh.iter().map(|f| f.batch).collect::<Vec<_>>(), [before, after]);
    assert_eq!(claim(&other, &[(unseen, 1, 1, 1)]).await?.len(), 0, "not committed");
    let run = claim_one(&other, (before, 1, 2, 1)).await?.run;
    assert_eq!(finish(&other, &[outcome(run, Succeeded)]).await?.len(), 1);
    other.batch_execute("SELECT pgbatch.pause_queue('q'); SELECT pgbatch.resume_queue('q')").await?;
    other.batch_execute("SELECT pgbatch.alter_queue('q', max_parallel => 3)").await?;
    other.batch_execute("SELECT pgbatch.create_queue('r', sql => 'SELECT 1')").await?;
    open.batch_execute("COMMIT").await?;
    assert_eq!(batch(&client, unseen).await?, "pending: 3 pending");
    Ok(())
}

#[tokio::test]
async fn an_open_change_of_a_queue_holds_up_no_enqueuer_and_no_dispatcher() -> Tested {
    let (database, client) = with_queue("").await?;
    for change in
        ["alter_queue('q', max_parallel => 3)", "pause_queue('q')", "create_queue('r', sql => 'SELECT 1')"]
    {
        client.batch_execute(&format!("BEGIN; SELECT pgbatch.{change}")).await?;
        let other = impatient(&database).await?;
        let id = enqueue(&other, 1, "").await?;
        let run = claim_one(&other, (id, 1, 1, 1)).await?.run;
        finish(&other, &[outcome(run, Succeeded)]).await?;
        client.batch_execute("ROLLBACK").await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_open_cancel_holds_up_its_batch_only() -> Tested {
    let (database, client) = with_queue("").await?;
    let held = enqueue(&client, 2, "").await?;
    let free = enqueue(&client, 1, "").await?;
    let run = claim_one(&client, (held, 1, 1, 1)).await?.run;
    let open = database.connect().await?;
    open.batch_execute(&format!("BEGIN; SELECT pgbatch.cancel_batch({held})")).await?;
    let dispatcher = impatient(&database).await?;
    let claimed = claim(&dispatcher, &[(held, 2, 2, 1), (free, 1, 1, 1)]).await?;
    assert_eq!(claimed.iter().map(|r| r.batch).collect::<Vec<_>>(), [free]);
    let ends = [outcome(run, Succeeded), outcome(claimed[0].run, Succeeded)];
    assert_eq!(finish(&dispatcher, &ends).await?.len(), 1);
    open.batch_execute("ROLLBACK").await?;
    assert_eq!(batch(&client, held).await?, "running: 1 pending, 1 running");
    finish(&dispatcher, &ends).await?;
    assert_eq!(batch(&client, held).await?, "running: 1 pending, 1 succeeded");
    Ok(())
}

#[tokio::test]
async fn a_queue_is_not_dropped_under_an_open_enqueuer() -> Tested {
    let (database, client) = with_queue("").await?;
    let open = database.connect().await?;
    open.batch_execute("BEGIN").await?;
    enqueue(&open, 1, "").await?;
    let hurried = database.connect().await?;
    hurried.batch_execute("SET statement_timeout = '300ms'").await?;
    let error = refused(hurried.batch_execute("SELECT pgbatch.drop_queue('q')").await)?;
    assert_eq!(error.code().code(), "57014", "it waits: {error}");
    open.batch_execute("COMMIT").await?;
    let error = refused(client.batch_execute("SELECT pgbatch.drop_queue('q')").await)?;
    assert_eq!(error.code().code(), "55006", "{error}");
    assert_eq!(value::<i64>(&client, "SELECT count(*) FROM pgbatch.batches").await?, 1);
    Ok(())
}

/// A lock that is held for a moment only, as by every cancel_batch(), is waited for and costs no second call.
#[tokio::test]
async fn a_short_lock_is_waited_for() -> Tested {
    let (database, client) = with_queue("").await?;
    let id = enqueue(&client, 2, "").await?;
    let run = claim_one(&client, (id, 1, 1, 1)).await?.run;
    let open = database.connect().await?;
    let watcher = database.connect().await?;
    wait_longer_for_locks(&watcher).await?;
    open.batch_execute(&format!("BEGIN; SELECT pgbatch.cancel_batch({id})")).await?;
    let ends = [outcome(run, Succeeded)];
    let (finished, ()) = tokio::join!(finish(&client, &ends), async {
        until_waiting(&watcher, "Lock").await;
        let _ = open.batch_execute("ROLLBACK").await;
    });
    finished?;
    assert_eq!(batch(&client, id).await?, "running: 1 pending, 1 succeeded");
    Ok(())
}
