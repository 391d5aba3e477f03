//! How a commit wakes the dispatcher: a connection of its own that sleeps in `CALL pgbatch.wait()`.
//!
//! ```text
//!   seq ──> CALL wait(seq) ── a commit moves the number ──> ring ──> a moment's rest ──> read seq ──┐
//!    └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//! Whoever is rung looks after that, and so sees the commit that ended the sleep. Others, which the look may have missed,
//! have moved the number by more than one when it is read, and it rings again; or after it, and the next call returns at
//! once. Reading the number before the ring would do too, and make the first one wait for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio_postgres::{Client, Statement};
use tracing::debug;

use super::connect::{DatabaseUrl, connect};
use super::session::{StoreError, answered, sender_that_closes_with};
use super::settings::{settle, try_set};

/// Commits that follow each other faster than this are one ring: a look takes about as long.
const REST: Duration = Duration::from_millis(5);

/// How often its sleeping backend, which does not read, looks whether its dispatcher has gone. Nobody waits for that, and
/// each look is a wake-up: less often than for the session that leads.
const CLIENT_CHECK: &str = "10 s";

/// The armed doorbell; disarmed with the value.
pub(super) struct Doorbell {
    task: AbortHandle,
    armed: watch::Sender<()>,
}

impl Doorbell {
    /// Arms it: whatever commits after this has returned rings `rung`.
    ///
    /// # Errors
    /// The connection failed.
    pub(super) async fn arm(url: &DatabaseUrl, rung: Arc<Notify>) -> Result<Self, StoreError> {
        let (client, _driver) = connect(url, "pgbatch doorbell", Arc::new(Notify::new())).await?;
        settle(&client).await.map_err(answered("set_config"))?;
        try_set(&client, "client_connection_check_interval", CLIENT_CHECK)
            .await
            .map_err(answered("set_config"))?;
        let prepare = async |sql| client.prepare(sql).await.map_err(answered("PREPARE"));
        let wait = prepare("CALL pgbatch.wait($1)").await?;
        let read = prepare("SELECT pgbatch.doorbell_seq()").await?;
        let mut seq = seq(&client, &read).await?;
        let task = tokio::spawn(async move {
            loop {
                match ring(&client, &wait, &read, seq, &rung).await {
                    Ok(now) => seq = now,
                    Err(error) => return debug!(%error, "the doorbell is disarmed"),
                }
            }
        });
        Ok(Self { task: task.abort_handle(), armed: sender_that_closes_with(task) })
    }

    /// Ends when the doorbell does not ring any more.
    pub(super) async fn disarmed(&self) {
        self.armed.closed().await;
    }
}

/// Rings once somebody has committed since the number was `after`. Returns what it is then.
async fn ring(
    client: &Client,
    wait: &Statement,
    read: &Statement,
    after: i64,
    rung: &Notify,
) -> Result<i64, StoreError> {
    client.execute(wait, &[&after]).await.map_err(answered("wait"))?;
    rung.notify_one();
    tokio::time::sleep(REST).await;
    let now = seq(client, read).await?;
    if now != after + 1 {
        rung.notify_one();
    }
    Ok(now)
}

async fn seq(client: &Client, read: &Statement) -> Result<i64, StoreError> {
    Ok(client.query_one(read, &[]).await.map_err(answered("doorbell_seq"))?.get(0))
}

impl Drop for Doorbell {
    fn drop(&mut self) {
        self.task.abort();
    }
}
