//! What the tests have in common: a database, the dispatcher's calls, and looks at the outcome.

use std::error::Error;
use std::time::Duration;

use e2e::postgres::{Database, Messages, OWNER, Server, is_sql_only};
use pgbatch_core::run::{Outcome, RunSpec};
use pgbatch_core::snapshot::StoreView;
use pgbatch_core::state::RunState;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_postgres::error::DbError;
use tokio_postgres::types::Json;
use tokio_postgres::{AsyncMessage, Client};

pub(crate) type Tested<T = ()> = Result<T, Box<dyn Error>>;

/// Longer than anything takes here.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) async fn database() -> Tested<Database> {
    Ok(Server::shared()?.database().await?)
}

/// A database with the queue `q`, of SQL, with these further arguments of `create_queue`.
pub(crate) async fn with_queue(arguments: &str) -> Tested<(Database, Client)> {
    let database = database().await?;
    let client = database.connect().await?;
    client.batch_execute(&format!("SELECT pgbatch.create_queue('q', sql => 'SELECT 1' {arguments})")).await?;
    Ok((database, client))
}

/// A batch of `items` items in queue `q`, `{"i": 1}` and so on, with these further arguments of `enqueue_query`.
pub(crate) async fn enqueue(client: &Client, items: i32, arguments: &str) -> Tested<i64> {
    let query = format!("SELECT i FROM generate_series(1, {items}) i");
    let sql = format!("SELECT pgbatch.enqueue_query('q', $1 {arguments})");
    Ok(client.query_one(&sql, &[&query]).await?.get(0))
}

/// The number of the latest leader, 0 where nobody has led: with it, a test may speak for the dispatcher.
pub(crate) const EPOCH: &str = "(SELECT epoch FROM pgbatch.installation)";

pub(crate) async fn observe(client: &Client) -> Tested<StoreView> {
    if is_sql_only() {
        // As a dispatcher does that finds nothing wrong.
        let check = format!(
            "SELECT pgbatch.note_template({EPOCH}, t.queue, t.job_template, NULL) FROM pgbatch.unchecked_templates({EPOCH}) t"
        );
        client.batch_execute(&check).await?;
    }
    let view: Value = client.query_one(&format!("SELECT pgbatch.observe({EPOCH})"), &[]).await?.get(0);
    Ok(serde_json::from_value(view)?)
}

/// Claims ranges: (batch, first item, last item, attempt).
pub(crate) async fn claim(client: &Client, ranges: &[(i64, i32, i32, i32)]) -> Tested<Vec<RunSpec>> {
    let claims: Vec<Value> = ranges
        .iter()
        .map(|(batch, first, last, attempt)| {
            json!({"batch": batch, "first_item": first, "last_item": last, "attempt": attempt})
        })
        .collect();
    let rows = client.query(&format!("SELECT pgbatch.claim({EPOCH}, $1)"), &[&Value::from(claims)]).await?;
    // As the dispatcher reads it: an item need not be a `Value`.
    rows.iter().map(|row| Ok(row.try_get::<_, Json<RunSpec>>(0)?.0)).collect()
}

/// Claims one range that can be claimed.
pub(crate) async fn claim_one(client: &Client, range: (i64, i32, i32, i32)) -> Tested<RunSpec> {
    claim(client, &[range]).await?.pop().ok_or_else(|| format!("{range:?} could not be claimed").into())
}

pub(crate) fn outcome(run: i64, state: RunState) -> Outcome {
    Outcome {
        run,
        state,
        started_at: None,
        finished_at: None,
        exit_code: None,
        reason: None,
        message: None,
        result: None,
        retry_in_ms: 0,
        disrupted: false,
    }
}

/// Finishes runs; returns the batches that ended by it.
pub(crate) async fn finish(client: &Client, outcomes: &[Outcome]) -> Tested<Vec<Value>> {
    let outcomes = serde_json::to_value(outcomes)?;
    let rows = client.query(&format!("SELECT pgbatch.finish_runs({EPOCH}, $1)"), &[&outcomes]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The states of a batch's items, in order: `succeeded retrying`.
pub(crate) async fn items(client: &Client, batch: i64) -> Tested<String> {
    let sql =
        "SELECT coalesce(string_agg(state, ' ' ORDER BY item_no), '') FROM pgbatch.items WHERE batch_id = $1";
    Ok(client.query_one(sql, &[&batch]).await?.get(0))
}

/// A batch's state and counts, the zeros left out: `running: 2 pending, 1 succeeded`. Checks that the counts add up to
/// its items, and are what the items say.
pub(crate) async fn batch(client: &Client, batch: i64) -> Tested<String> {
    const COUNTS: [&str; 6] = ["pending", "running", "retrying", "succeeded", "failed", "cancelled"];
    let row = client.query_one("SELECT * FROM pgbatch.batches WHERE id = $1", &[&batch]).await?;
    let states = items(client, batch).await?;
    let mut words = Vec::new();
    let mut total = 0;
    for name in COUNTS {
        let count: i32 = row.get(name);
        let of_items = states.split(' ').filter(|state| *state == name).count();
        assert_eq!(usize::try_from(count)?, of_items, "{name} of batch {batch}: {states}");
        total += count;
        if count > 0 {
            words.push(format!("{count} {name}"));
        }
    }
    assert_eq!(total, row.get::<_, i32>("items"), "the counts of batch {batch}");
    Ok(format!("{}: {}", row.get::<_, String>("state"), words.join(", ")))
}

/// The ERROR of a statement that must have failed.
pub(crate) fn refused<T>(result: Result<T, tokio_postgres::Error>) -> Tested<DbError> {
    let Err(error) = result else { return Err("it was not refused".into()) };
    error.as_db_error().cloned().ok_or_else(|| error.into())
}

/// One value of one row.
pub(crate) async fn value<T>(client: &Client, sql: &str) -> Tested<T>
where
    T: for<'a> tokio_postgres::types::FromSql<'a>,
{
    Ok(client.query_one(sql, &[]).await?.try_get(0)?)
}

/// Waits until a backend of this database waits for what `wait_event_type` says.
pub(crate) async fn until_waiting(client: &Client, wait_event_type: &str) {
    let sql = "SELECT count(*) FILTER (WHERE wait_event_type = $1 AND state = 'active'),
            string_agg(concat_ws(' ', state, wait_event_type, wait_event, query), '; ')
        FROM pg_stat_activity WHERE datname = current_database()";
    e2e::wait::until_else("a backend to wait", LIMIT, async || {
        let row = client.query_one(sql, &[&wait_event_type]).await.map_err(|e| format!("{e:?}"))?;
        let (waiting, sessions): (i64, Option<String>) = (row.get(0), row.get(1));
        if waiting > 0 { Ok(()) } else { Err(sessions.unwrap_or_default()) }
    })
    .await;
}

/// The dispatcher's calls wait for a lock for a moment only. Where a test ends that wait, a slow machine needs longer.
pub(crate) async fn wait_longer_for_locks(client: &Client) -> Tested {
    for function in ["lock_batches", "lock_runs", "run_watch"] {
        client.batch_execute(&format!("ALTER FUNCTION pgbatch.{function} SET lock_timeout = '60 s'")).await?;
    }
    Ok(())
}

/// Cancels what a session runs, once. A client's own request to cancel reaches the session as two signals, and on a busy machine the
/// second one cancels the next statement.
pub(crate) async fn cancel(client: &Client, pid: i32) -> Tested {
    client.execute("SELECT pg_cancel_backend($1)", &[&pid]).await?;
    Ok(())
}

/// What removes pgbatch from a database.
pub(crate) fn drop_pgbatch() -> &'static str {
    if is_sql_only() { "DROP SCHEMA pgbatch" } else { "DROP EXTENSION pgbatch" }
}

/// What a backend in `wait_batch()` waits for.
pub(crate) fn done_event() -> &'static str {
    if is_sql_only() { "Timeout" } else { "Extension" }
}

/// Who hears the doorbell, be it the library's or NOTIFY.
pub(crate) struct Bell {
    client: Client,
    messages: Messages,
    heard: i64,
}

impl Bell {
    pub(crate) async fn of(database: &Database) -> Tested<Self> {
        let (client, messages) = database.connect_with_messages(OWNER).await?;
        if is_sql_only() {
            client.batch_execute("LISTEN pgbatch; LISTEN heard_all").await?;
        }
        Ok(Self { client, messages, heard: 0 })
    }

    /// How often it has rung, from some beginning on.
    pub(crate) async fn rings(&mut self) -> Tested<i64> {
        if !is_sql_only() {
            return value(&self.client, "SELECT pgbatch.doorbell_seq()").await;
        }
        // Notifications keep their order: after this one, all that were before it are here.
        self.client.batch_execute("NOTIFY heard_all").await?;
        while self.hear().await? != "heard_all" {}
        Ok(self.heard)
    }

    /// Ends when it has rung since it had rung so often. Without a limit: what does not ring is slept through.
    pub(crate) async fn rung_since(&mut self, rings: i64) -> Tested {
        if !is_sql_only() {
            self.client.execute("CALL pgbatch.wait($1)", &[&rings]).await?;
        }
        while is_sql_only() && self.heard == rings {
            self.hear().await?;
        }
        Ok(())
    }

    async fn hear(&mut self) -> Tested<String> {
        loop {
            let message = self.messages.recv().await.ok_or("the connection has ended")?;
            if let AsyncMessage::Notification(notification) = message {
                self.heard += i64::from(notification.channel() == "pgbatch");
                return Ok(notification.channel().to_owned());
            }
        }
    }
}

/// A connection that sleeps on the doorbell; it comes back with what became of the call.
pub(crate) fn sleep(sleeper: Client, seq: i64) -> JoinHandle<(Result<u64, tokio_postgres::Error>, Client)> {
    tokio::spawn(async move { (sleeper.execute("CALL pgbatch.wait($1)", &[&seq]).await, sleeper) })
}
