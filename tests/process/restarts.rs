//! What interrupts the dispatcher's sleep on the doorbell, and the first commit after it.

use e2e::dispatcher::Dispatcher;
use e2e::postgres::{Database, Options, SUPERUSER, Server, Stop};
use e2e::wait::until;
use e2e::world::World;
use serde_json::json;
use tokio_postgres::Client;

use crate::{SOON, Tested, until_state};

/// Waits until a dispatcher sleeps, and that for longer than a second.
async fn until_asleep(client: &Client) {
    let sql = "SELECT FROM pg_stat_activity WHERE application_name = 'pgbatch doorbell'
               AND datname = current_database() AND state = 'active' AND wait_event_type = 'Extension'
               AND query_start < clock_timestamp() - interval '1 s'";
    until("the dispatcher to sleep", SOON, async || client.query_opt(sql, &[]).await.ok().flatten()).await;
}

fn leads(dispatcher: &Dispatcher) -> usize {
    dispatcher.logged().map_or(0, |log| log.lines().filter(|line| line.contains("INFO leading")).count())
}

/// A batch is enqueued by the first transaction that the server lets in again.
async fn ends(database: &Database) -> Tested {
    let client = database.connect().await?;
    let batch: i64 = client.query_one("SELECT pgbatch.enqueue('again')", &[]).await?.get(0);
    let sql = "SELECT FROM pgbatch.batches WHERE id = $1 AND state = 'succeeded'";
    until("the batch to succeed", SOON, async || client.query_opt(sql, &[&batch]).await.ok().flatten()).await;
    Ok(())
}

#[tokio::test]
async fn a_restarted_server_rings_again() -> Tested {
    let mut server = Server::start(&Options::default())?;
    let world = World::on("restarted", &server).await?;
    world.shell_queue("again", "exit 0", "").await?;
    let mut dispatcher = world.dispatcher(&[])?;
    for how in [Stop::Immediate, Stop::Kill] {
        until_asleep(&world.database.connect_as(SUPERUSER).await?).await;
        server.stop(how)?;
        server.restart()?;
        ends(&world.database).await?;
    }
    assert!(dispatcher.is_running()?, "the same process");
    Ok(())
}

/// Only the connection that sleeps breaks, and in the same statement somebody commits: no ring is heard.
#[tokio::test]
async fn a_doorbell_that_broke_is_armed_again_and_followed_by_a_look() -> Tested {
    let world = World::new("disarmed").await?;
    world.shell_queue("again", "exit 0", "").await?;
    let mut dispatcher = world.dispatcher(&[])?;
    let superuser = world.database.connect_as(SUPERUSER).await?;
    until_asleep(&superuser).await;
    let row = superuser
        .query_one(
            "WITH gone AS MATERIALIZED (SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
             WHERE application_name = 'pgbatch doorbell' AND datname = current_database())
             SELECT pgbatch.enqueue('again') FROM gone",
            &[],
        )
        .await?;
    until_state(&world, row.get(0), "succeeded", SOON).await;
    assert!(dispatcher.is_running()?, "the same process");
    Ok(())
}

/// What an administrator sets for the sessions of people must not wake the dispatcher, again and again.
#[tokio::test]
async fn limits_of_the_database_do_not_end_the_sleep() -> Tested {
    let world = World::new("limits").await?;
    world.shell_queue("short", "exit 0", "").await?;
    let superuser = world.database.connect_as(SUPERUSER).await?;
    let settings = "SELECT name FROM pg_settings WHERE name IN ('statement_timeout', 'lock_timeout',
        'idle_session_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')";
    for row in superuser.query(settings, &[]).await? {
        let (setting, database) = (row.get::<_, &str>(0), &world.database.name);
        superuser.batch_execute(&format!("ALTER DATABASE {database} SET {setting} = '500 ms'")).await?;
    }
    let dispatcher = world.dispatcher(&[])?;
    until_asleep(&superuser).await;
    // Not World's own session: the limits are for this one, too.
    let batch = superuser.query_one("SELECT pgbatch.enqueue('short', $1)", &[&json!({})]).await?.get(0);
    until_state(&world, batch, "succeeded", SOON).await;
    assert_eq!(leads(&dispatcher), 1, "it has had one session");
    Ok(())
}
