//! The doorbell: every commit of work wakes the dispatcher, nothing else does, and nobody waits for anybody.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use e2e::postgres::{Database, Options, SUPERUSER, Server};
use tokio::sync::watch;
use tokio_postgres::Client;

use crate::support::{Bell, Tested, cancel, enqueue, refused, sleep, until_waiting, value, with_queue};

const SEQ: &str = "SELECT pgbatch.doorbell_seq()";

/// A server of its own, as databases share places of the bell; with a database that has the queue `q`.
async fn alone() -> Tested<(Server, Database, Client)> {
    let settings = vec![("max_prepared_transactions".to_owned(), "4".to_owned())];
    let server = Server::start(&Options { settings, ..Options::default() })?;
    let (database, client) = with_q(&server).await?;
    Ok((server, database, client))
}

async fn with_q(server: &Server) -> Tested<(Database, Client)> {
    let database = server.database().await?;
    let client = database.connect().await?;
    client.batch_execute("SELECT pgbatch.create_queue('q', sql => 'SELECT 1')").await?;
    Ok((database, client))
}

async fn seq(client: &Client) -> Tested<i64> {
    value(client, SEQ).await
}

#[tokio::test]
async fn a_commit_rings_once_and_a_rollback_never() -> Tested {
    const TWICE: &str = "BEGIN; SELECT pgbatch.enqueue('q'); SELECT pgbatch.enqueue_batch('q', '{}')";
    let (_server, database, client) = alone().await?;
    let mut bell = Bell::of(&database).await?;
    let before = bell.rings().await?;
    client.batch_execute(TWICE).await?;
    assert_eq!(bell.rings().await?, before, "before the commit");
    client.batch_execute("ROLLBACK").await?;
    assert_eq!(bell.rings().await?, before, "after a rollback");
    client.batch_execute(TWICE).await?;
    client.batch_execute("COMMIT").await?;
    assert_eq!(bell.rings().await?, before + 1, "after a commit");
    Ok(())
}

#[tokio::test]
async fn whatever_gives_the_dispatcher_something_to_do_rings() -> Tested {
    let (_server, database, client) = alone().await?;
    let mut bell = Bell::of(&database).await?;
    let batch = enqueue(&client, 1, "").await?;
    for call in [
        "alter_queue('q', max_parallel => 2)",
        "pause_queue('q')",
        "resume_queue('q')",
        &format!("retry_batch({batch})"),
        &format!("cancel_batch({batch})"),
        "drop_queue('q')",
    ] {
        let before = bell.rings().await?;
        client.execute(&format!("SELECT pgbatch.{call}"), &[]).await?;
        assert_eq!(bell.rings().await?, before + 1, "{call}");
    }
    Ok(())
}

#[tokio::test]
async fn another_database_sleeps_on() -> Tested {
    let (server, _database, client) = alone().await?;
    // The bell has 32 places; databases whose numbers differ by a multiple of that share one.
    let place = "SELECT (oid::bigint % 32)::int FROM pg_database WHERE datname = current_database()";
    let ours: i32 = value(&client, place).await?;
    let mut neighbour = loop {
        let (database, neighbour) = with_q(&server).await?;
        if value::<i32>(&neighbour, place).await? != ours {
            break Bell::of(&database).await?;
        }
    };
    let before = neighbour.rings().await?;
    enqueue(&client, 1, "").await?;
    assert_eq!(neighbour.rings().await?, before);
    Ok(())
}

#[tokio::test]
async fn who_sleeps_holds_no_snapshot_and_no_transaction_id() -> Tested {
    let (database, client) = with_queue("").await?;
    let sleeper = database.connect().await?;
    let now = seq(&client).await?;
    let sleeping = sleep(sleeper, now);
    until_waiting(&client, "Extension").await;
    let superuser = database.connect_as(SUPERUSER).await?;
    let held: bool = value(
        &superuser,
        "SELECT backend_xmin IS NOT NULL OR backend_xid IS NOT NULL FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Extension'",
    )
    .await?;
    assert!(!held);
    enqueue(&client, 1, "").await?;
    sleeping.await?.0?;
    Ok(())
}

#[tokio::test]
async fn a_sleeper_can_be_cancelled_and_terminated_and_has_a_time_limit() -> Tested {
    let (_server, database, client) = alone().await?;
    let sleeper = database.connect().await?;
    let now = seq(&client).await?;
    sleeper.execute("CALL pgbatch.wait($1, 20)", &[&now]).await?;
    sleeper.batch_execute("BEGIN; CALL pgbatch.wait(0); COMMIT").await?;
    let hurried = database.connect().await?;
    hurried.batch_execute("SET statement_timeout = '300 ms'").await?;
    let error = refused(hurried.execute("CALL pgbatch.wait($1)", &[&now]).await)?;
    assert_eq!(error.code().code(), "57014");
    drop(hurried);

    let pid: i32 = value(&sleeper, "SELECT pg_backend_pid()").await?;
    let sleeping = sleep(sleeper, now);
    until_waiting(&client, "Extension").await;
    cancel(&client, pid).await?;
    let (cancelled, sleeper) = sleeping.await?;
    assert_eq!(refused(cancelled)?.code().code(), "57014");

    let sleeping = sleep(sleeper, now);
    until_waiting(&client, "Extension").await;
    let terminate =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Extension'";
    database.connect_as(SUPERUSER).await?.execute(terminate, &[]).await?;
    let (terminated, _sleeper) = sleeping.await?;
    assert_eq!(refused(terminated)?.code().code(), "57P01");
    Ok(())
}

#[tokio::test]
async fn a_prepared_transaction_is_refused_in_clear_words() -> Tested {
    let (_server, _database, client) = alone().await?;
    client.batch_execute("BEGIN; SELECT pgbatch.enqueue('q')").await?;
    let error = refused(client.batch_execute("PREPARE TRANSACTION 'two-phase'").await)?;
    assert_eq!(error.code().code(), "0A000");
    assert_eq!(error.message(), "cannot prepare a transaction that has changed a queue of pgbatch");
    assert!(error.hint().is_some_and(|hint| hint.starts_with("Commit it in one phase")));
    assert_eq!(value::<i64>(&client, "SELECT count(*) FROM pgbatch.batches").await?, 0);
    client.batch_execute("BEGIN; SELECT 1; PREPARE TRANSACTION 'of others'").await?;
    client.batch_execute("COMMIT PREPARED 'of others'").await?;
    Ok(())
}

#[tokio::test]
async fn the_extension_can_be_dropped_while_somebody_sleeps() -> Tested {
    let (database, client) = with_queue("").await?;
    let sleeper = database.connect().await?;
    let now = seq(&client).await?;
    let sleeping = sleep(sleeper, now);
    until_waiting(&client, "Extension").await;
    client.batch_execute("SELECT pgbatch.drop_queue('q'); DROP EXTENSION pgbatch").await?;
    sleeping.await?.0?;
    Ok(())
}

/// They are about who is idle, and who sleeps in a call is not; what a statement may take does count, see above. Long ones, as
/// this session is idle between its calls.
#[tokio::test]
async fn the_limits_for_idle_sessions_do_not_end_a_sleep() -> Tested {
    let (_server, database, client) = alone().await?;
    let sleeper = database.connect().await?;
    let now = seq(&client).await?;
    sleeper
        .batch_execute("SET idle_session_timeout = '5 s'; SET idle_in_transaction_session_timeout = '5 s'")
        .await?;
    sleeper.execute("CALL pgbatch.wait($1, 5200)", &[&now]).await?;
    sleeper.batch_execute("SET idle_session_timeout = 0").await?;
    Ok(())
}

/// Workers of a parallel query are processes with commits of their own.
#[tokio::test]
async fn parallel_workers_ring_nothing_and_keep_nothing_from_ringing() -> Tested {
    let (_server, database, client) = alone().await?;
    let mut bell = Bell::of(&database).await?;
    client
        .batch_execute(
            "CREATE TABLE t AS SELECT i FROM generate_series(1, 20000) i; ANALYZE t; SET parallel_setup_cost = 0;
             SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2",
        )
        .await?;
    let launched = async || -> Tested<bool> {
        let plan = client.query("EXPLAIN (ANALYZE) SELECT count(*) FROM t WHERE i % 2 = 0", &[]).await?;
        Ok(plan.iter().any(|row| row.get::<_, &str>(0).contains("Workers Launched: 2")))
    };
    let before = bell.rings().await?;
    for (end, rings) in [("ROLLBACK", 0), ("COMMIT", 1)] {
        client.batch_execute("BEGIN; SELECT pgbatch.enqueue('q')").await?;
        assert!(launched().await?, "two workers");
        assert_eq!(bell.rings().await?, before, "before the end");
        client.batch_execute(end).await?;
        assert_eq!(bell.rings().await?, before + rings, "after {end}");
    }
    // Rows that workers have read: the leader enqueues them.
    client.batch_execute("SELECT pgbatch.enqueue_query('q', 'SELECT i FROM t WHERE i % 2 = 0')").await?;
    client
        .batch_execute("SELECT pgbatch.enqueue('q', jsonb_build_object('i', i)) FROM t WHERE i % 5000 = 0")
        .await?;
    assert_eq!(bell.rings().await?, before + 3);
    assert_eq!(value::<i64>(&client, "SELECT sum(items) FROM pgbatch.batches").await?, 1 + 10_000 + 4);
    Ok(())
}

/// Such a one may ring for nothing, but what is left of its transaction must ring.
#[tokio::test]
async fn what_is_left_of_a_transaction_rings_when_a_part_is_taken_back() -> Tested {
    let (_server, database, client) = alone().await?;
    let mut bell = Bell::of(&database).await?;
    for parts in [
        "SAVEPOINT s; SELECT pgbatch.enqueue('q'); ROLLBACK TO s; SELECT pgbatch.enqueue('q')",
        "SELECT pgbatch.enqueue('q'); SAVEPOINT s; SELECT pgbatch.enqueue('q'); ROLLBACK TO s",
        "SAVEPOINT s; SAVEPOINT r; SELECT pgbatch.enqueue('q'); RELEASE r; RELEASE s",
    ] {
        let before = bell.rings().await?;
        client.batch_execute(&format!("BEGIN; {parts}; COMMIT")).await?;
        assert_eq!(bell.rings().await?, before + 1, "{parts}");
    }
    Ok(())
}

/// Writers that each wait until their batch was seen, so that a wake-up that is lost stops one of them for ever; the
/// reader looks, and sleeps when it has seen all that was there.
#[tokio::test(flavor = "multi_thread")]
async fn no_wake_up_is_lost() -> Tested {
    const WRITERS: usize = 12;
    const ROUNDS: usize = 200;
    let (database, client) = with_queue("").await?;
    let bell = Bell::of(&database).await?;
    let (show, seen) = watch::channel(BTreeSet::new());
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..WRITERS {
        let (writer, mut seen) = (database.connect().await?, seen.clone());
        writers.spawn(async move {
            for round in 0..ROUNDS {
                let id: i64 =
                    writer.query_one("SELECT pgbatch.enqueue('q')", &[]).await.map(|row| row.get(0)).ok()?;
                let seen = seen.wait_for(|ids: &BTreeSet<i64>| ids.contains(&id));
                if tokio::time::timeout(Duration::from_secs(20), seen).await.is_err() {
                    return Some(format!("batch {id} of round {round} was slept through"));
                }
            }
            None
        });
    }
    let reader =
        tokio::spawn(async move { read(client, bell, show).await.map_err(|error| error.to_string()) });
    while let Some(lost) = writers.join_next().await {
        assert_eq!(lost?, None);
    }
    reader.abort();
    Ok(())
}

async fn read(client: Client, mut bell: Bell, show: watch::Sender<BTreeSet<i64>>) -> Tested<Infallible> {
    loop {
        let now = bell.rings().await?;
        let ids = client.query("SELECT id FROM pgbatch.batches", &[]).await?;
        show.send_replace(ids.iter().map(|row| row.get(0)).collect());
        bell.rung_since(now).await?;
    }
}
