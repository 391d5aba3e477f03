//! A person's session: the public views and functions of the schema `pgbatch`, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::Notify;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use super::connection;
use super::failure::Failure;
use crate::store::{DatabaseUrl, connect};

/// A connection, and what rings it.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    done: Arc<Notify>,
    target: String,
}

/// Who acts, and why.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Actor<'a> {
    /// The role of PostgreSQL, of which the session's login is a member.
    pub(crate) role: &'a str,
    /// For whom, where the login is not a person's own.
    pub(crate) person: Option<&'a str>,
    pub(crate) reason: &'a str,
}

impl Session {
    /// Connects. `command` is what the server shows of us.
    pub(crate) async fn open(database_url: Option<DatabaseUrl>, command: &str) -> Result<Self, Failure> {
        Self::connect(&connection::database(database_url)?, command).await
    }

    /// As [`Session::open`], where the database is known already.
    pub(crate) async fn connect(url: &DatabaseUrl, command: &str) -> Result<Self, Failure> {
        let done = Arc::new(Notify::new());
        let (client, _driver) = connect(url, &format!("pgbatch {command}"), done.clone()).await?;
        client.batch_execute("SET search_path = pg_catalog, pg_temp").await?;
        Ok(Self { client, done, target: url.target() })
    }

    /// Whether it is over: PostgreSQL has ended it, or cannot be reached any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Which database, for people.
    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// The rows of a query, each a JSON object with the columns as keys.
    pub(crate) async fn rows(
        &self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Value>, Failure> {
        let sql = format!("SELECT to_jsonb(t) FROM ({sql}) t");
        let rows = self.client.query(&sql, values).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }

    /// The first of them.
    pub(crate) async fn row(
        &self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Value>, Failure> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }

    /// Calls a function that returns a number.
    pub(crate) async fn number(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<i64, Failure> {
        Ok(self.client.query_one(sql, values).await?.get(0))
    }

    /// Calls a function that returns nothing.
    pub(crate) async fn call(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<(), Failure> {
        self.client.execute(sql, values).await?;
        Ok(())
    }

    /// Says why the next calls are made.
    pub(crate) async fn because(&self, reason: Option<&str>) -> Result<(), Failure> {
        self.call("SELECT set_config('pgbatch.reason', coalesce($1, ''), false)", &[&reason]).await
    }

    /// Calls a function as another role, for somebody and for a reason: all of it, or nothing. Where the session only reads by
    /// default, too.
    pub(crate) async fn call_as(
        &mut self,
        actor: &Actor<'_>,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<(), Failure> {
        const ACTOR: &str = "SELECT set_config('role', $1, true), set_config('pgbatch.on_behalf_of', coalesce($2, ''), true), \
            set_config('pgbatch.reason', $3, true), set_config('statement_timeout', '60s', true), set_config('lock_timeout', '10s', true)";
        let transaction = self.client.build_transaction().read_only(false).start().await?;
        transaction.execute(ACTOR, &[&actor.role, &actor.person, &actor.reason]).await?;
        transaction.execute(sql, values).await?;
        Ok(transaction.commit().await?)
    }

    /// A batch, as the view has it.
    pub(crate) async fn batch(&self, batch: i64) -> Result<Value, Failure> {
        let found = self.row("SELECT * FROM pgbatch.batches WHERE id = $1", &[&batch]).await?;
        found.ok_or_else(|| {
            Failure::new(format!("batch {batch} does not exist"))
                .hint("pgbatch ls lists the batches; ended ones are deleted after their queue's retain")
        })
    }

    /// The server's clock: ages are told by it, whatever ours says.
    pub(crate) async fn now(&self) -> Result<Timestamp, Failure> {
        Ok(self.client.query_one("SELECT clock_timestamp()", &[]).await?.get(0))
    }

    /// From now on, the end of any batch ends [`Session::rung`].
    pub(crate) async fn listen(&self) -> Result<(), Failure> {
        Ok(self.client.batch_execute("LISTEN pgbatch_done").await?)
    }

    /// Ends when a batch ended, or after `at_most`.
    pub(crate) async fn rung(&self, at_most: Duration) {
        self.is_rung(at_most).await;
    }

    /// Whether a notification comes within `at_most`, of a channel that this session listens to.
    pub(crate) async fn is_rung(&self, at_most: Duration) -> bool {
        tokio::time::timeout(at_most, self.done.notified()).await.is_ok()
    }
}
