//! The connection of a run, and the functions of the schema `pgbatch` that it calls.

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use tokio_postgres::types::Json;
use tracing::{debug, warn};

use super::Identity;
use super::report::{describe, is_lost_connection};
use crate::store::{ConnectError, DatabaseUrl, connect};

/// A stop that cannot cancel the statement in this time leaves it to the server, which notices the closed connection.
const CANCEL_MAX: Duration = Duration::from_secs(5);

/// Why the run cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection broke.
    #[error("the connection to the database is lost: {0}")]
    Lost(String),
    /// One of pgbatch's own functions refused: the run is over, or the role may not call it.
    #[error("cannot {action}: {words}")]
    Call {
        /// What was to be done.
        action: &'static str,
        /// What the server said.
        words: String,
    },
}

impl SessionError {
    pub(super) fn of(action: &'static str) -> impl FnOnce(tokio_postgres::Error) -> Self {
        move |error| {
            let words = describe(&error, None);
            if is_lost_connection(&error) { Self::Lost(words) } else { Self::Call { action, words } }
        }
    }
}

/// An item of the run, and what to do with it.
pub(super) struct Item {
    pub(super) item_no: i32,
    pub(super) item: Json<Box<RawValue>>,
    pub(super) statement: String,
}

/// The connection of a run.
pub(super) struct Session {
    client: Client,
    driver: JoinHandle<()>,
    backend: i32,
}

impl Session {
    /// Connects.
    pub(super) async fn open(url: &DatabaseUrl, identity: &Identity) -> Result<Self, SessionError> {
        let name = format!("pgbatch run-sql {} {}", identity.queue, identity.run);
        // Nobody listens here.
        let (client, driver) = connect(url, &name, Arc::new(Notify::new())).await?;
        let row = client
            .query_one("SELECT pg_catalog.pg_backend_pid()", &[])
            .await
            .map_err(SessionError::of("read the number of the session"))?;
        let backend = row.try_get(0).map_err(SessionError::of("read the number of the session"))?;
        Ok(Self { client, driver, backend })
    }

    /// The items of the run that are not reported yet.
    pub(super) async fn items(&self, identity: &Identity) -> Result<Vec<Item>, SessionError> {
        const ACTION: &str = "read the items of the run";
        let rows = self
            .client
            .query(
                "SELECT item_no, item, statement FROM pgbatch.run_statement($1, $2) ORDER BY item_no",
                &[&identity.run, &identity.token],
            )
            .await
            .map_err(SessionError::of(ACTION))?;
        let item = |row: &tokio_postgres::Row| {
            Ok(Item { item_no: row.try_get(0)?, item: row.try_get(1)?, statement: row.try_get(2)? })
        };
        rows.iter().map(|row| item(row).map_err(SessionError::of(ACTION))).collect()
    }

    /// The connection, for a transaction.
    pub(super) fn client_mut(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Says that an item failed; whether it is tried again is the queue's decision.
    pub(super) async fn fail_item(
        &self,
        identity: &Identity,
        item_no: i32,
        words: &str,
    ) -> Result<(), SessionError> {
        self.client
            .execute(
                "SELECT pgbatch.fail_item($1, $2, $3, $4, true)",
                &[&identity.run, &identity.token, &item_no, &words],
            )
            .await
            .map_err(SessionError::of("report that an item failed"))?;
        Ok(())
    }

    /// Ends the running statement on the server, so that it does not go on for nobody; its transaction is rolled back.
    ///
    /// By a second connection and not by a cancel request: that one is not encrypted, and poolers misdirect it.
    pub(super) async fn cancel(self, url: &DatabaseUrl) {
        let cancelled = tokio::time::timeout(CANCEL_MAX, async {
            let (client, _driver) = connect(url, "pgbatch run-sql cancel", Arc::new(Notify::new())).await?;
            client
                .execute("SELECT pg_catalog.pg_terminate_backend($1)", &[&self.backend])
                .await
                .map_err(SessionError::of("cancel the statement"))
        });
        match cancelled.await {
            Ok(Ok(_)) => debug!("the statement is cancelled"),
            Ok(Err(error)) => warn!(%error, "cannot cancel the statement"),
            Err(_over) => warn!("cannot cancel the statement in time"),
        }
        self.driver.abort();
    }
}
