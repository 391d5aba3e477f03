//! The claps, as `deploy/examples/claps` has them: set up, enqueued, and checked to the last attempt.

use serde_json::Value;
use tokio_postgres::{Client, Error};

use crate::repository;

/// How many claps there are.
pub const CLAPS: i64 = 60;

/// Which of the two queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// (a) pure SQL.
    Sql,
    /// (b) an image with psql and a script.
    Image,
}

impl Kind {
    /// The name of its queue.
    #[must_use]
    pub fn queue(self) -> &'static str {
        match self {
            Self::Sql => "claps-sql",
            Self::Image => "claps",
        }
    }
}

/// A file of the example.
///
/// # Panics
/// It is not there.
#[must_use]
pub fn example(name: &str) -> String {
    let path = repository().join("deploy/examples/claps").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| unreachable!("{}: {e}", path.display()))
}

/// The tables and one of the queues, from the example's own files. `command` and `env` are those of the image's
/// container.
///
/// # Errors
/// A statement failed.
pub async fn set_up(client: &Client, kind: Kind, command: &Value, env: &Value) -> Result<(), Error> {
    client.batch_execute(&example("tables.sql")).await?;
    match kind {
        Kind::Sql => client.batch_execute(&example("sql_queue.sql")).await,
        Kind::Image => {
            let quoted = |json: &Value| format!("'{}'", json.to_string().replace('\'', "''"));
            let file = example("image_queue.sql")
                .replace(":'clap_command'", &quoted(command))
                .replace(":'clap_env'", &quoted(env));
            client.batch_execute(&file).await
        }
    }
}

/// Sixty claps of `seconds` each, in one transaction with the rows they are for. Returns the batch.
///
/// # Errors
/// A statement failed.
pub async fn enqueue(client: &mut Client, kind: Kind, seconds: i32) -> Result<i64, Error> {
    let transaction = client.transaction().await?;
    transaction
        .execute(
            "INSERT INTO make_it_clap (duration_seconds) SELECT $1 FROM pg_catalog.generate_series(1, $2)",
            &[&seconds, &i32::try_from(CLAPS).unwrap_or(i32::MAX)],
        )
        .await?;
    let batch = transaction
        .query_one(
            "SELECT pgbatch.enqueue_query($1, 'SELECT id, duration_seconds FROM make_it_clap ORDER BY id')",
            &[&kind.queue()],
        )
        .await?
        .get(0);
    transaction.commit().await?;
    Ok(batch)
}

async fn number(client: &Client, sql: &str, batch: i64) -> i64 {
    client.query_one(sql, &[&batch]).await.map_or(-1, |row| row.get(0))
}

/// Every clap ended SUCCESS at its fourth iteration, on its own row, no attempt was lost or made twice, never two
/// at once for an item, never more than 30 at once.
///
/// # Panics
/// One of these does not hold.
pub async fn check(client: &Client, batch: i64) {
    let expectations = [
        ("items succeeded", "SELECT succeeded::bigint FROM pgbatch.batches WHERE id = $1", CLAPS),
        (
            "items that took four attempts",
            "SELECT count(*) FROM pgbatch.items WHERE batch_id = $1 AND state = 'succeeded' AND attempts = 4",
            CLAPS,
        ),
        (
            "distinct rows that clapped at the fourth iteration",
            "SELECT count(DISTINCT c.id) FROM clap c JOIN pgbatch.items i ON (i.item->>'id')::int = c.id \
             WHERE i.batch_id = $1 AND c.status = 'SUCCESS' AND c.iteration = 4",
            CLAPS,
        ),
        ("runs", "SELECT count(*) FROM pgbatch.runs WHERE batch_id = $1", 4 * CLAPS),
        (
            "failed runs",
            "SELECT count(*) FROM pgbatch.runs WHERE batch_id = $1 AND state = 'failed' AND attempt < 4",
            3 * CLAPS,
        ),
        (
            "pairs of runs of one item that were live at once",
            "SELECT count(*) FROM pgbatch.runs a JOIN pgbatch.runs b USING (batch_id) \
             WHERE a.batch_id = $1 AND a.id < b.id AND a.first_item <= b.last_item AND b.first_item <= a.last_item \
             AND a.created_at < b.finished_at AND b.created_at < a.finished_at",
            0,
        ),
        (
            "moments with more than 30 live runs",
            "SELECT count(*) FROM pgbatch.runs a WHERE a.batch_id = $1 AND 30 < (SELECT count(*) FROM pgbatch.runs b \
             WHERE b.batch_id = $1 AND b.created_at <= a.created_at AND b.finished_at > a.created_at)",
            0,
        ),
    ];
    for (what, sql, expected) in expectations {
        assert_eq!(number(client, sql, batch).await, expected, "{what}");
    }
}
