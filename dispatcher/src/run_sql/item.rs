//! One item: the statement and its outcome in one transaction.

use std::pin::pin;

use futures_util::TryStreamExt;
use serde_json::value::RawValue;
use tokio_postgres::types::{Json, ToSql, Type};
use tokio_postgres::{Client, Row, Transaction};

use super::Identity;
use super::report::{describe, is_lost_connection};
use super::session::{Item, SessionError};

/// Why an item is not done.
#[derive(Debug)]
pub(super) enum ItemError {
    /// The statement failed: the item's error.
    Statement(String),
    /// The run cannot go on.
    Session(SessionError),
}

/// Runs the statement for one item and commits it with its outcome.
pub(super) async fn run_item(client: &mut Client, identity: &Identity, item: &Item) -> Result<(), ItemError> {
    let failed = |error: tokio_postgres::Error| {
        if is_lost_connection(&error) {
            ItemError::Session(SessionError::of("run the statement")(error))
        } else {
            ItemError::Statement(describe(&error, Some(&item.statement)))
        }
    };
    // Dropped without a COMMIT, it is rolled back.
    let transaction = client.transaction().await.map_err(failed)?;
    tell_settings(&transaction, identity, item.item_no)
        .await
        .map_err(|error| ItemError::Session(SessionError::of("set pgbatch.* for the statement")(error)))?;
    let result = match execute(&transaction, item).await {
        Ok(result) => result,
        Err(ExecuteError::Database(error)) => return Err(failed(error)),
        Err(ExecuteError::Parameters(count)) => {
            let words = format!("the statement has {count} parameters; there is only $1, the item");
            return Err(ItemError::Statement(words));
        }
    };
    transaction
        .execute(
            "SELECT pgbatch.complete_item($1, $2, $3, $4)",
            &[&identity.run, &identity.token, &item.item_no, &result],
        )
        .await
        .map_err(|error| ItemError::Session(SessionError::of("report that an item is done")(error)))?;
    // A constraint that is checked at the end is the statement's error, too.
    transaction.commit().await.map_err(failed)
}

/// For the statement to know what it runs for: `current_setting('pgbatch.attempt')` and the like.
async fn tell_settings(
    transaction: &Transaction<'_>,
    identity: &Identity,
    item_no: i32,
) -> Result<(), tokio_postgres::Error> {
    const SETTINGS: &str = "SELECT pg_catalog.set_config('pgbatch.run_id', $1, true),
        pg_catalog.set_config('pgbatch.batch_id', $2, true),
        pg_catalog.set_config('pgbatch.attempt', $3, true),
        pg_catalog.set_config('pgbatch.item_no', $4, true)";
    let values = [
        identity.run.to_string(),
        identity.batch.to_string(),
        identity.attempt.to_string(),
        item_no.to_string(),
    ];
    let [run, batch, attempt, item] = &values;
    transaction.execute(SETTINGS, &[run, batch, attempt, item]).await?;
    Ok(())
}

enum ExecuteError {
    Database(tokio_postgres::Error),
    Parameters(usize),
}

impl From<tokio_postgres::Error> for ExecuteError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

/// Runs the statement. Its result: what it returns, if that is one row with one JSON column.
async fn execute(
    transaction: &Transaction<'_>,
    item: &Item,
) -> Result<Option<Json<Box<RawValue>>>, ExecuteError> {
    // $1 is declared, so it has one type wherever it stands; a statement that does not use it gets it all the same.
    let statement = transaction.prepare_typed(&item.statement, &[Type::JSONB]).await?;
    let parameters: [&(dyn ToSql + Sync); 1] = [&item.item];
    if statement.params().len() != parameters.len() {
        return Err(ExecuteError::Parameters(statement.params().len()));
    }
    // Row by row: a statement that returns millions must not fill the memory.
    let mut rows = pin!(transaction.query_raw(&statement, parameters).await?);
    let mut first: Option<Row> = None;
    let mut count = 0_u64;
    while let Some(row) = rows.try_next().await? {
        count += 1;
        first.get_or_insert(row);
    }
    let is_json =
        matches!(statement.columns(), [column] if [Type::JSONB, Type::JSON].contains(column.type_()));
    match first {
        Some(row) if count == 1 && is_json => Ok(row.try_get(0)?),
        _ => Ok(None),
    }
}
