//! The server that a bench runs on: durable, private, and the same for all sides.

use std::convert::Infallible;
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use e2e::postgres::{Database, Options, SUPERUSER, Server};
use e2e::repository;
use tokio::task::AbortHandle;
use tokio_postgres::Client;

pub(crate) type Failed = Box<dyn Error>;

/// What differs from PostgreSQL's defaults, for all sides alike. The harness's servers do not fsync; this one does.
const SETTINGS: [(&str, &str); 6] = [
    ("fsync", "on"),
    ("max_connections", "200"),
    ("shared_buffers", "512MB"),
    ("max_wal_size", "8GB"),
    ("checkpoint_timeout", "15min"),
    ("log_checkpoints", "on"),
];

/// The queue of the benches.
pub(crate) const QUEUE: &str = "bench";

/// The dispatcher's own pause between two rings.
pub(crate) const REST: Duration = Duration::from_millis(5);

/// The JSON of an item in SQL, that of the README's first example: `n` is a number.
pub(crate) fn payload(n: &str) -> String {
    format!("jsonb_build_object('id', {n}, 'duration_seconds', 1)")
}

pub(crate) fn start() -> Result<Server, Failed> {
    let settings = SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Ok(Server::start(&Options { settings, ..Options::default() })?)
}

/// The settings in words, for the report.
pub(crate) fn settings() -> String {
    SETTINGS.map(|(name, value)| format!("{name} = {value}")).join(", ")
}

/// A database with the extension and the queue.
pub(crate) async fn with_queue(server: &Server, options: &str) -> Result<(Database, Client), Failed> {
    let database = server.database().await?;
    let client = database.connect().await?;
    client
        .batch_execute(&format!("SELECT pgbatch.create_queue('{QUEUE}', sql => 'SELECT 1' {options})"))
        .await?;
    Ok((database, client))
}

/// Everybody's measured statements run as the superuser: peers differ in what they grant.
pub(crate) async fn connect(database: &Database) -> Result<Client, Failed> {
    Ok(database.connect_as(SUPERUSER).await?)
}

/// Somebody who sleeps until work is committed; gone with the value.
#[derive(Debug)]
pub(crate) enum Armed {
    /// In `CALL pgbatch.wait()`.
    Doorbell(AbortHandle),
    /// In `LISTEN`: the messages are read and forgotten.
    Listening {
        _client: Client,
    },
    Nobody,
}

impl Armed {
    /// The doorbell, as the dispatcher sleeps on it.
    pub(crate) async fn doorbell(database: &Database) -> Result<Self, Failed> {
        let client = connect(database).await?;
        let task = tokio::spawn(async move {
            let Err(error) = sleep_and_wake(&client).await;
            error
        });
        Ok(Self::Doorbell(task.abort_handle()))
    }

    pub(crate) async fn listening(database: &Database, channels: &[&str]) -> Result<Self, Failed> {
        if channels.is_empty() {
            return Ok(Self::Nobody);
        }
        let client = connect(database).await?;
        for channel in channels {
            client.batch_execute(&format!("LISTEN \"{channel}\"")).await?;
        }
        Ok(Self::Listening { _client: client })
    }
}

/// Until the connection breaks.
async fn sleep_and_wake(client: &Client) -> Result<Infallible, tokio_postgres::Error> {
    let wait = client.prepare("CALL pgbatch.wait($1)").await?;
    let read = client.prepare("SELECT pgbatch.doorbell_seq()").await?;
    loop {
        let seq: i64 = client.query_one(&read, &[]).await?.get(0);
        client.execute(&wait, &[&seq]).await?;
        tokio::time::sleep(REST).await;
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        if let Self::Doorbell(task) = self {
            task.abort();
        }
    }
}

/// Where the log is written, in bytes since the beginning of time.
pub(crate) async fn wal_position(client: &Client) -> Result<i64, Failed> {
    let sql = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint";
    Ok(client.query_one(sql, &[]).await?.get(0))
}

/// Where the results go.
pub(crate) fn output() -> PathBuf {
    repository().join("target/bench")
}
