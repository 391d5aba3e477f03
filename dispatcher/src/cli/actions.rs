//! `pgbatch actions`: who has changed what, newest first.

use clap::Args;

use super::failure::{Failure, Fate};
use super::output::Output;
use super::session::Session;
use super::table::{Column, Kind, Table};
use super::words;
use crate::config::ClientArgs;
use crate::people::action;

const COLUMNS: [Column; 6] = [
    Column::new("AGE", Kind::Number, 0),
    Column::new("WHO", Kind::Name, 0),
    Column::new("ACTION", Kind::Name, 0),
    Column::new("ABOUT", Kind::Words, 0),
    Column::new("CHANGE", Kind::Words, 1),
    Column::new("REASON", Kind::Words, 0),
];

/// Which actions.
#[derive(Debug, Args)]
pub(super) struct ActionsArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Only those about this queue.
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// Only those about this batch.
    #[arg(long, value_name = "ID")]
    batch: Option<i64>,
    /// At most so many.
    #[arg(long, value_name = "N", default_value = "20")]
    limit: u32,
}

pub(super) async fn actions(args: ActionsArgs) -> Result<Fate, Failure> {
    let ActionsArgs { client, queue, batch, limit } = args;
    let output = Output::new(client.output);
    let session = Session::open(client.database_url, "actions").await?;
    let actions = session
        .rows(
            "SELECT * FROM pgbatch.actions a WHERE ($1::text IS NULL OR a.queue = $1) \
             AND ($2::bigint IS NULL OR a.batch_id = $2) ORDER BY a.id DESC LIMIT $3",
            &[&queue, &batch, &i64::from(limit)],
        )
        .await?;
    if output.is_json() {
        output.json(&actions)?;
        return Ok(Fate::Fine);
    }
    let now = session.now().await?;
    let mut table = Table::new(&COLUMNS);
    for noted in &actions {
        table.row(vec![
            words::age(noted, "at", now).into(),
            action::who(noted).into(),
            words::text(noted, "action").into(),
            action::about(noted).into(),
            action::change(&noted["detail"]).into(),
            words::short(noted, "reason").into(),
        ]);
    }
    output.table(&table)?;
    Ok(Fate::Fine)
}
