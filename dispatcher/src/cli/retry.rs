//! `pgbatch retry BATCH`: its failed items run again.

use clap::Args;
use serde_json::json;

use super::BatchActionArgs;
use super::failure::{Failure, Fate};
use super::output::Output;
use super::session::Session;
use super::words;

/// Which of them.
#[derive(Debug, Args)]
pub(super) struct RetryArgs {
    #[command(flatten)]
    of: BatchActionArgs,
    /// Only these of its items, by their numbers; comma-separated, or given several times.
    #[arg(long = "item", value_name = "ITEM", value_delimiter = ',')]
    items: Vec<i32>,
    /// Only those that failed with this error, whatever numbers are in it: one cause out of many.
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
}

pub(super) async fn retry(args: RetryArgs) -> Result<Fate, Failure> {
    let RetryArgs { of: BatchActionArgs { of, why }, items, error } = args;
    let (output, batch) = (Output::new(of.client.output), of.batch);
    let session = Session::open(of.client.database_url, "retry").await?;
    session.because(why.reason.as_deref()).await?;
    let is_part = !items.is_empty() || error.is_some();
    let items = Some(items).filter(|items| !items.is_empty());
    let retried = session.number("SELECT pgbatch.retry_batch($1, $2, $3)", &[&batch, &items, &error]).await?;
    match (output.is_json(), retried) {
        (true, _) => output.json(&json!({"batch": batch, "retried": retried}))?,
        (false, 0) if is_part => output.line(&format!("batch {batch} has no such failed items"))?,
        (false, 0) => output.line(&format!("batch {batch} has no failed items"))?,
        (false, _) => {
            output.line(&format!("batch {batch}: {} again", words::count(retried, "failed item")))?
        }
    }
    Ok(Fate::Fine)
}
