//! `pgbatch show BATCH` and `pgbatch show BATCH/ITEM`: all that is known of one.

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::address::{Address, ItemAddress};
use super::failure::{Failure, Fate};
use super::item;
use super::output::Output;
use super::session::Session;
use super::table::{Cell, Column, Kind, Table};
use super::words;
use crate::config::ClientArgs;
use crate::people::batch;

const ERRORS: &str = "SELECT * FROM pgbatch.batch_errors($1)";

const ERROR_COLUMNS: [Column; 3] = [
    Column::new("FAILURES", Kind::Number, 0),
    Column::new("FIRST ITEM", Kind::Number, 0),
    Column::new("AS IN", Kind::Words, 0),
];

const RUN_COLUMNS: [Column; 7] = [
    Column::new("ATTEMPT", Kind::Number, 0),
    Column::new("RUN", Kind::Name, 2),
    Column::new("STATE", Kind::Name, 0),
    Column::new("AGE", Kind::Number, 3),
    Column::new("TOOK", Kind::Number, 4),
    Column::new("EXIT", Kind::Number, 1),
    Column::new("WORDS", Kind::Words, 0),
];

/// Of what.
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// A batch, as in 12, or an item of it, as in 12/3.
    #[arg(value_name = "BATCH[/ITEM]")]
    what: Address,
}

pub(super) async fn show(args: ShowArgs) -> Result<Fate, Failure> {
    let ShowArgs { client, what } = args;
    let output = Output::new(client.output);
    let session = Session::open(client.database_url, "show").await?;
    match what {
        Address::Batch(batch) => show_batch(&session, &output, batch).await?,
        Address::Item(address) => show_item(&session, &output, address).await?,
    }
    Ok(Fate::Fine)
}

async fn show_batch(session: &Session, output: &Output, id: i64) -> Result<(), Failure> {
    let mut batch = session.batch(id).await?;
    // An extension of the version before has no such function; all else can be told.
    let errors = session.rows(ERRORS, &[&id]).await.unwrap_or_default();
    if output.is_json() {
        batch["errors"] = Value::from(errors);
        return output.json(&batch);
    }
    output.table(&batch_facts(&batch, session.now().await?))?;
    if !errors.is_empty() {
        let mut table = Table::new(&ERROR_COLUMNS);
        for error in &errors {
            table.row(vec![
                words::number(error, "failures").into(),
                words::number(error, "first_item").into(),
                words::short(error, "sample").into(),
            ]);
        }
        output.line("")?;
        output.table(&table)?;
    }
    Ok(())
}

fn batch_facts(batch: &Value, now: Timestamp) -> Table {
    let mut facts = Table::of_facts();
    facts.fact("batch", words::number(batch, "id"));
    for column in ["queue", "label"] {
        facts.fact(column, words::text(batch, column));
    }
    facts.fact("state", Cell::state(&words::text(batch, "state")));
    facts.fact("items", progress(batch));
    for column in ["key", "unique_key"] {
        facts.fact(column, words::text(batch, column));
    }
    facts.fact("priority", Some(words::text(batch, "priority")).filter(|p| p != "0").unwrap_or_default());
    facts.fact("max_attempts", words::text(batch, "max_attempts"));
    facts.fact("not before", words::moment(batch, "not_before"));
    facts.fact("deadline", batch::deadline(batch, now));
    facts.fact("late", batch::late(batch, now).map(|late| late.words().to_owned()).unwrap_or_default());
    facts.fact("after", words::text(batch, "after").trim_matches(['[', ']']).to_owned());
    let by = words::text(batch, "created_by");
    facts.fact("created", format!("{} by {by}", words::moment_and_age(batch, "created_at", now)));
    facts.fact("started", words::moment_and_age(batch, "started_at", now));
    facts.fact("finished", words::moment_and_age(batch, "finished_at", now));
    facts.fact("took", words::took(batch, "started_at", "finished_at", now));
    facts.fact("cancelled", words::moment_and_age(batch, "cancel_requested_at", now));
    facts.fact("because", words::text(batch, "cancel_reason"));
    facts
}

/// `60: 3 running, 57 succeeded`
pub(super) fn progress(batch: &Value) -> String {
    let counts: Vec<String> = ["pending", "running", "retrying", "succeeded", "failed", "cancelled"]
        .into_iter()
        .filter(|state| words::number(batch, state) > 0)
        .map(|state| format!("{} {state}", words::number(batch, state)))
        .collect();
    let items = words::number(batch, "items");
    if counts.is_empty() { items.to_string() } else { format!("{items}: {}", counts.join(", ")) }
}

async fn show_item(session: &Session, output: &Output, address: ItemAddress) -> Result<(), Failure> {
    let item = item(session, address).await?;
    let runs = item::runs(session, &item).await?;
    if output.is_json() {
        let mut whole = item;
        whole["runs"] = json!(runs);
        return output.json(&whole);
    }
    let now = session.now().await?;
    let mut facts = Table::of_facts();
    facts.fact("item", address.to_string());
    facts.fact("state", Cell::state(&words::text(&item, "state")));
    facts.fact("payload", words::text(&item, "item"));
    facts.fact("attempts", words::number(&item, "attempts"));
    facts.fact("started", words::moment_and_age(&item, "started_at", now));
    facts.fact("finished", words::moment_and_age(&item, "finished_at", now));
    facts.fact("result", words::text(&item, "result"));
    facts.fact("error", words::text(&item, "error"));
    output.table(&facts)?;
    if !runs.is_empty() {
        output.line("")?;
        output.table(&run_table(&runs, now))?;
    }
    Ok(())
}

/// An item, as the view has it.
pub(super) async fn item(session: &Session, address: ItemAddress) -> Result<Value, Failure> {
    if let Some(item) = item::item(session, address.batch, address.item).await? {
        return Ok(item);
    }
    let batch = session.batch(address.batch).await?;
    let failure = Failure::new(format!("batch {} has no item {}", address.batch, address.item));
    Err(match words::number(&batch, "items") {
        0 => failure.hint("it has no items"),
        items => failure.hint(format!("its items are 1 to {items}")),
    })
}

fn run_table(runs: &[Value], now: Timestamp) -> Table {
    let mut table = Table::new(&RUN_COLUMNS);
    for run in runs {
        let said: Vec<String> = ["reason", "message"]
            .map(|column| words::short(run, column))
            .into_iter()
            .filter(|s| !s.is_empty())
            .collect();
        table.row(vec![
            words::number(run, "attempt").into(),
            words::text(run, "job_name").into(),
            Cell::state(&words::text(run, "state")),
            words::age(run, "created_at", now).into(),
            words::took(run, "started_at", "finished_at", now).into(),
            words::text(run, "exit_code").into(),
            said.join(": ").into(),
        ]);
    }
    table
}
