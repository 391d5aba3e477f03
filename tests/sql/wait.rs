//! wait_batch: wakes at the end, and only then.

use e2e::postgres::{Options, Server};
use pgbatch_core::state::RunState::Succeeded;

use crate::support::{
    Tested, cancel, claim_one, done_event, enqueue, finish, observe, outcome, refused, until_waiting, value,
    with_queue,
};

#[tokio::test]
async fn waiters_wake_when_the_batch_ends() -> Tested {
    let (database, client) = with_queue("").await?;
    let id = enqueue(&client, 2, "").await?;
    let other = enqueue(&client, 1, "").await?;
    let waiter = database.connect().await?;
    let waiting = tokio::spawn(async move {
        waiter.query_one("SELECT pgbatch.wait_batch($1)", &[&id]).await.map(|row| row.get::<_, String>(0))
    });
    until_waiting(&client, done_event()).await;
    // The end of another batch wakes it, too, and it goes to sleep again.
    for batch in [other, id] {
        let last = if batch == id { 2 } else { 1 };
        let run = claim_one(&client, (batch, 1, last, 1)).await?.run;
        assert!(!waiting.is_finished());
        until_waiting(&client, done_event()).await;
        finish(&client, &[outcome(run, Succeeded)]).await?;
    }
    assert_eq!(waiting.await??, "succeeded");
    Ok(())
}

/// Every way in which a batch ends.
#[tokio::test]
async fn waiters_wake_at_a_cancel_and_at_a_close_by_observe() -> Tested {
    let (database, client) = with_queue("").await?;
    let first = enqueue(&client, 1, "").await?;
    let after = enqueue(&client, 1, &format!(", after => ARRAY[{first}]")).await?;
    for (id, cancels) in [(first, true), (after, false)] {
        let waiter = database.connect().await?;
        let waiting = tokio::spawn(async move {
            waiter.query_one("SELECT pgbatch.wait_batch($1)", &[&id]).await.map(|row| row.get::<_, String>(0))
        });
        until_waiting(&client, done_event()).await;
        if cancels {
            client.execute("SELECT pgbatch.cancel_batch($1)", &[&id]).await?;
        } else {
            observe(&client).await?;
        }
        assert_eq!(waiting.await??, "cancelled");
    }
    Ok(())
}

#[tokio::test]
async fn the_bell_rings_once_for_a_commit_and_not_for_a_rollback() -> Tested {
    const SEQ: &str = "SELECT pgbatch.done_seq()";
    // A server of its own: the bell is one for all databases.
    let server = Server::start(&Options::default())?;
    let client = server.database().await?.connect().await?;
    let before: i64 = value(&client, SEQ).await?;
    client.batch_execute("BEGIN; SELECT pgbatch.ring_done(); ROLLBACK").await?;
    assert_eq!(value::<i64>(&client, SEQ).await?, before);
    client.batch_execute("BEGIN; SELECT pgbatch.ring_done(), pgbatch.ring_done()").await?;
    assert_eq!(value::<i64>(&client, SEQ).await?, before, "before the commit");
    client.batch_execute("COMMIT").await?;
    assert_eq!(value::<i64>(&client, SEQ).await?, before + 1);
    Ok(())
}

#[tokio::test]
async fn the_present_state_comes_back_when_the_time_is_over() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 1, "").await?;
    for timeout in ["0 s", "50 ms"] {
        let state: String = value(&client, &format!("SELECT pgbatch.wait_batch({id}, '{timeout}')")).await?;
        assert_eq!(state, "pending");
    }
    Ok(())
}

#[tokio::test]
async fn a_waiter_can_be_cancelled() -> Tested {
    let (database, client) = with_queue("").await?;
    let id = enqueue(&client, 1, "").await?;
    let waiter = database.connect().await?;
    let pid: i32 = value(&waiter, "SELECT pg_backend_pid()").await?;
    let waiting = tokio::spawn(async move {
        let first = waiter.query_one("SELECT pgbatch.wait_batch($1)", &[&id]).await;
        (first, waiter)
    });
    until_waiting(&client, done_event()).await;
    cancel(&client, pid).await?;
    let (first, waiter) = waiting.await?;
    let error = refused(first)?;
    assert_eq!((error.code().code(), error.detail()), ("57014", None));
    let state: String = value(&waiter, &format!("SELECT pgbatch.wait_batch({id}, '0')")).await?;
    assert_eq!(state, "pending", "the connection goes on");
    Ok(())
}

#[tokio::test]
async fn it_refuses_to_wait_for_ever() -> Tested {
    let (_database, client) = with_queue("").await?;
    client.batch_execute("BEGIN").await?;
    let own = enqueue(&client, 1, "").await?;
    let error = refused(client.query("SELECT pgbatch.wait_batch($1)", &[&own]).await)?;
    assert_eq!(error.code().code(), "55000");
    client.batch_execute("ROLLBACK").await?;
    let id = enqueue(&client, 1, "").await?;
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        client.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}")).await?;
        let error = refused(client.query("SELECT pgbatch.wait_batch($1)", &[&id]).await)?;
        assert_eq!(error.code().code(), "25000", "{level}");
        client.batch_execute("ROLLBACK").await?;
    }
    Ok(())
}

/// The bell is read before the look: an end between the two must not be slept through.
#[tokio::test(flavor = "multi_thread")]
async fn no_end_is_missed() -> Tested {
    const ROUNDS: usize = 200;
    let (database, client) = with_queue("").await?;
    let waiter = database.connect().await?;
    for round in 0..ROUNDS {
        let id = enqueue(&client, 1, "").await?;
        let run = claim_one(&client, (id, 1, 1, 1)).await?.run;
        let wait = format!("SELECT pgbatch.wait_batch({id}, '10 s')");
        let end = [outcome(run, Succeeded)];
        let (state, ended) = tokio::join!(value::<String>(&waiter, &wait), finish(&client, &end));
        ended?;
        assert_eq!(state?, "succeeded", "round {round}");
    }
    Ok(())
}
