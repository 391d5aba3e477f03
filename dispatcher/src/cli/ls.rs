//! `pgbatch ls`: the batches, newest first.

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::failure::{Failure, Fate};
use super::output::Output;
use super::session::Session;
use super::table::{Cell, Column, Kind, Table, Tone};
use super::words;
use crate::config::ClientArgs;

const COLUMNS: [Column; 12] = [
    Column::new("BATCH", Kind::Number, 0),
    Column::new("QUEUE", Kind::Name, 0),
    Column::new("STATE", Kind::Name, 0),
    Column::new("ITEMS", Kind::Number, 0),
    Column::new("PENDING", Kind::Number, 6),
    Column::new("RUNNING", Kind::Number, 4),
    Column::new("RETRYING", Kind::Number, 7),
    Column::new("SUCCEEDED", Kind::Number, 5),
    Column::new("FAILED", Kind::Number, 1),
    Column::new("AGE", Kind::Number, 2),
    Column::new("TOOK", Kind::Number, 8),
    Column::new("LABEL", Kind::Words, 0),
];

/// Which batches.
#[derive(Debug, Args)]
pub(super) struct LsArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Only those of this queue.
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// Only those in these states, as in failed,cancelled.
    #[arg(long, value_name = "STATES", value_delimiter = ',',
        value_parser = PossibleValuesParser::new(["waiting", "pending", "running", "succeeded", "failed", "cancelled"]))]
    state: Vec<String>,
    /// At most so many.
    #[arg(long, value_name = "N", default_value = "20")]
    limit: u32,
}

pub(super) async fn ls(args: LsArgs) -> Result<Fate, Failure> {
    let LsArgs { client, queue, state, limit } = args;
    let output = Output::new(client.output);
    let session = Session::open(client.database_url, "ls").await?;
    let batches = session
        .rows(
            "SELECT * FROM pgbatch.batches b WHERE ($1::text IS NULL OR b.queue = $1) \
             AND ($2::text[] = '{}' OR b.state = ANY ($2)) ORDER BY b.id DESC LIMIT $3",
            &[&queue, &state, &i64::from(limit)],
        )
        .await?;
    if output.is_json() {
        output.json(&batches)?;
        return Ok(Fate::Fine);
    }
    let now = session.now().await?;
    let mut table = Table::new(&COLUMNS);
    for batch in &batches {
        let failed = words::number(batch, "failed");
        table.row(vec![
            words::number(batch, "id").into(),
            words::text(batch, "queue").into(),
            Cell::state(&words::text(batch, "state")),
            words::number(batch, "items").into(),
            words::number(batch, "pending").into(),
            words::number(batch, "running").into(),
            words::number(batch, "retrying").into(),
            words::number(batch, "succeeded").into(),
            Cell::toned(failed.to_string(), Tone::Bad.unless_zero(failed)),
            words::age(batch, "created_at", now).into(),
            words::took(batch, "started_at", "finished_at", now).into(),
            words::short(batch, "label").into(),
        ]);
    }
    output.table(&table)?;
    Ok(Fate::Fine)
}
