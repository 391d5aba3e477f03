//! `pgbatch retry BATCH`: its failed items run again.

use super::failure::{Failure, Fate};
use super::output::Output;
use super::session::Session;
use super::words;
use super::{BatchActionArgs, BatchArgs, ClientArgs};
use serde_json::json;

pub(super) async fn retry(args: BatchActionArgs) -> Result<Fate, Failure> {
    let BatchActionArgs { of: BatchArgs { client: ClientArgs { database_url, output }, batch }, why } = args;
    let output = Output::new(output);
    let session = Session::open(database_url, "retry").await?;
    session.because(why.reason.as_deref()).await?;
    let retried = session.number("SELECT pgbatch.retry_batch($1)", &[&batch]).await?;
    match (output.is_json(), retried) {
        (true, _) => output.json(&json!({"batch": batch, "retried": retried}))?,
        (false, 0) => output.line(&format!("batch {batch} has no failed items"))?,
        (false, _) => {
            output.line(&format!("batch {batch}: {} again", words::count(retried, "failed item")))?
        }
    }
    Ok(Fate::Fine)
}
