//! `pgbatch cancel BATCH`: what has not ended of it, never will.

use super::failure::{Failure, Fate};
use super::output::Output;
use super::session::Session;
use super::words;
use super::{BatchActionArgs, BatchArgs, ClientArgs};
use serde_json::Value;

pub(super) async fn cancel(args: BatchActionArgs) -> Result<Fate, Failure> {
    let BatchActionArgs { of: BatchArgs { client: ClientArgs { database_url, output }, batch }, why } = args;
    let output = Output::new(output);
    let session = Session::open(database_url, "cancel").await?;
    session.because(why.reason.as_deref()).await?;
    session.call("SELECT pgbatch.cancel_batch($1)", &[&batch]).await?;
    let row = session.batch(batch).await?;
    match output.is_json() {
        true => output.json(&row)?,
        false => output.line(&format!("batch {batch} {}", told(&row)))?,
    }
    Ok(Fate::Fine)
}

fn told(batch: &Value) -> String {
    let state = words::text(batch, "state");
    if batch["cancel_requested_at"].is_null() {
        return format!("has ended already: {state}");
    }
    if !batch["finished_at"].is_null() {
        return format!("is {state}");
    }
    match words::number(batch, "running") {
        1 => "is being cancelled: it ends when 1 running item has stopped".to_owned(),
        running => format!("is being cancelled: it ends when {running} running items have stopped"),
    }
}
