//! `pgbatch why BATCH/ITEM`: every gate on an item's way, and which of them holds it.

use clap::Args;

use super::address::ItemAddress;
use super::failure::{Failure, Fate};
use super::item::{gates, is_open, verdict};
use super::output::Output;
use super::session::Session;
use super::table::{Cell, Column, Kind, Table, Tone};
use super::words;
use crate::config::ClientArgs;

const COLUMNS: [Column; 3] = [
    Column::new("GATE", Kind::Name, 0),
    Column::new("OPEN", Kind::Name, 0),
    Column::new("WORDS", Kind::Words, 0),
];

/// Which item.
#[derive(Debug, Args)]
pub(super) struct WhyArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// As in 12/3: the third item of batch 12.
    #[arg(value_name = "BATCH/ITEM")]
    item: ItemAddress,
}

pub(super) async fn why(args: WhyArgs) -> Result<Fate, Failure> {
    let WhyArgs { client, item } = args;
    let output = Output::new(client.output);
    let session = Session::open(client.database_url, "why").await?;
    let gates = gates(&session, item.batch, item.item).await?;
    if output.is_json() {
        output.json(&gates)?;
        return Ok(Fate::Fine);
    }
    output.line(&format!("{item}: {}", verdict(&gates)))?;
    output.line("")?;
    let mut table = Table::new(&COLUMNS);
    for gate in &gates {
        let open = if is_open(gate) { Cell::toned("yes", Tone::Good) } else { Cell::toned("no", Tone::Bad) };
        table.row(vec![words::text(gate, "gate").into(), open, words::text(gate, "words").into()]);
    }
    output.table(&table)?;
    Ok(Fate::Fine)
}
