//! PostgreSQL's disk is full for a while: with its log on the same disk, and elsewhere.

use e2e::cluster::Cluster;
use e2e::postgres::{Options, SUPERUSER, Server, SmallDisk, Stop};
use e2e::wait::until;
use tokio_postgres::Client;
use tokio_postgres::error::{DbError, SqlState};

use crate::Tested;
use crate::batch::{LONG, Trial};
use crate::dispatchers::until_logged;
use crate::history::Allowed;

/// The words of the kernel, which whoever reads a log looks for.
const FULL: &str = "No space left on device";

/// A server that has little log made in advance, so that it soon needs room for more.
fn start(log_elsewhere: bool) -> std::io::Result<Server> {
    let settings = [("max_wal_size", "64MB"), ("min_wal_size", "32MB"), ("wal_recycle", "off")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Server::start(&Options {
        disk: Some(SmallDisk { mib: 256, log_elsewhere }),
        settings,
        ..Options::default()
    })
}

/// A session that may enqueue into a queue of its own, made while there is room: PostgreSQL may need some to let one in.
async fn enqueuer(trial: &Trial) -> Result<Client, tokio_postgres::Error> {
    let client = trial.database.connect().await?;
    client
        .batch_execute(
            "SELECT pgbatch.create_queue('other', sql => 'SELECT 1'); SELECT pgbatch.pause_queue('other')",
        )
        .await?;
    Ok(client)
}

/// Enqueues until PostgreSQL has no room for it, and returns what it says.
async fn refusal(enqueuer: &Client) -> Result<DbError, Box<dyn std::error::Error>> {
    let sql = "SELECT pgbatch.enqueue_query('other', \
               'SELECT n, repeat(''x'', 500) AS words FROM pg_catalog.generate_series(1, 1000) n')";
    loop {
        if let Err(error) = enqueuer.execute(sql, &[]).await {
            return error.as_db_error().cloned().ok_or_else(|| error.into());
        }
    }
}

#[tokio::test]
async fn a_full_disk_is_said_clearly_and_it_goes_on_when_there_is_room() -> Tested {
    let server = start(true)?;
    let database = server.database().await?;
    let mut trial =
        Trial::new("data-full", "PostgreSQL: disk full, log elsewhere", &Cluster::find()?, database).await?;
    let dispatcher = trial.dispatcher()?;
    trial.enqueue().await?;
    trial.until_done(20).await;
    let enqueuer = enqueuer(&trial).await?;
    server.fill_disk(true)?;
    let refused = refusal(&enqueuer).await?;
    assert_eq!(*refused.code(), SqlState::DISK_FULL, "{refused}");
    assert!(refused.message().contains(FULL), "{refused}");
    until_logged(&dispatcher, FULL, 1).await;
    until_logged(&dispatcher, "no session with PostgreSQL", 6).await;
    server.fill_disk(false)?;
    trial.judge(1, Allowed::default()).await
}

#[tokio::test]
async fn a_full_disk_that_stops_the_log_stops_postgresql_until_there_is_room() -> Tested {
    let mut server = start(false)?;
    let database = server.database().await?;
    let superuser = database.connect_as(SUPERUSER).await?;
    let mut trial =
        Trial::new("log-full", "PostgreSQL: disk full, log too: PANIC", &Cluster::find()?, database).await?;
    let dispatcher = trial.dispatcher()?;
    trial.enqueue().await?;
    trial.until_done(20).await;
    server.fill_disk(true)?;
    let log = "SELECT pg_logical_emit_message(false, 'fill', repeat('x', 1000000))";
    while superuser.execute(log, &[]).await.is_ok() {}
    let said = until("PostgreSQL to panic", LONG, async || {
        std::fs::read_to_string(server.log()).ok().filter(|log| log.contains("PANIC") && log.contains(FULL))
    });
    said.await;
    until_logged(&dispatcher, "no session with PostgreSQL", 6).await;
    server.fill_disk(false)?;
    // It may have given up recovering, or be at it again and again.
    server.stop(Stop::Immediate)?;
    server.restart()?;
    trial.judge(1, Allowed::default()).await
}
