//! `pgbatch run QUEUE JSON`: enqueues an item, and with `--wait` follows it to its end.

use std::io::Read;

use clap::Args;
use serde_json::{Value, json};

use super::address::ItemAddress;
use super::failure::{Failure, Fate};
use super::output::Output;
use super::session::Session;
use super::{show, watch, words};
use crate::config::ClientArgs;

/// What to enqueue.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// The queue.
    queue: String,
    /// The item, a JSON object; - reads it from standard input.
    #[arg(default_value = "{}", value_name = "JSON")]
    item: String,
    /// Follow it until it ends, and end with its fate. Ctrl-C ends the following, not the item.
    #[arg(long)]
    wait: bool,
    /// For people.
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// Higher goes first inside the queue.
    #[arg(long, value_name = "N", default_value = "0", allow_negative_numbers = true)]
    priority: i32,
    /// At most the queue's max_per_key live runs share one.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Where an open batch of the queue has it, nothing is enqueued, and that batch is the one.
    #[arg(long, value_name = "KEY")]
    unique_key: Option<String>,
}

pub(super) async fn run(args: RunArgs) -> Result<Fate, Failure> {
    let output = Output::new(args.client.output);
    let item = parse(&args.item)?;
    let session = Session::open(args.client.database_url, "run").await?;
    // Before the item may end.
    session.listen().await?;
    let batch = session
        .number(
            "SELECT pgbatch.enqueue($1, $2, label => $3, priority => $4, unique_key => $5, key => $6)",
            &[&args.queue, &item, &args.label, &args.priority, &args.unique_key, &args.key],
        )
        .await?;
    if args.wait {
        return follow(&session, &output, batch).await;
    }
    match output.is_json() {
        true => output.json(&json!({"batch": batch}))?,
        false => output.line(&batch.to_string())?,
    }
    Ok(Fate::Fine)
}

/// An item, as it is given.
pub(super) fn parse(text: &str) -> Result<Value, Failure> {
    let mut read = String::new();
    let text = match text {
        "-" => {
            std::io::stdin().read_to_string(&mut read).map_err(|error| {
                Failure::new(format!("cannot read the item from standard input: {error}"))
            })?;
            &read
        }
        text => text,
    };
    serde_json::from_str(text).map_err(|error| {
        Failure::new(format!("the item is no JSON: {error}"))
            .hint("quote it for the shell, as in '{\"id\": 7}'")
    })
}

/// The end of the batch, and what its item has to say about it.
async fn follow(session: &Session, output: &Output, batch: i64) -> Result<Fate, Failure> {
    let (ended, fate) = watch::follow(session, batch).await?;
    let item = show::item(session, ItemAddress { batch, item: 1 }).await?;
    if output.is_json() {
        output.json(&item)?;
        return Ok(fate);
    }
    output.line(&watch::told(&ended, session.now().await?))?;
    for column in ["result", "error"] {
        let words = words::text(&item, column);
        if !words.is_empty() {
            output.line(&format!("{column}: {words}"))?;
        }
    }
    Ok(fate)
}
