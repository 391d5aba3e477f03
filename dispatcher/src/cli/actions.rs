//! `pgbatch actions`: who has changed what, newest first.

use clap::Args;
use serde_json::Value;

use super::failure::{Failure, Fate};
use super::output::Output;
use super::session::Session;
use super::table::{Column, Kind, Table};
use super::words;
use crate::config::ClientArgs;

const COLUMNS: [Column; 6] = [
    Column::new("AGE", Kind::Number, 0),
    Column::new("ROLE", Kind::Name, 0),
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
    for action in &actions {
        table.row(vec![
            words::age(action, "at", now).into(),
            words::text(action, "role").into(),
            words::text(action, "action").into(),
            about(action).into(),
            change(&action["detail"]).into(),
            words::short(action, "reason").into(),
        ]);
    }
    output.table(&table)?;
    Ok(Fate::Fine)
}

/// The batch, the trigger or the queue.
fn about(action: &Value) -> String {
    let (batch, trigger) = (&action["batch_id"], words::text(action, "trigger"));
    match (batch.is_null(), trigger.is_empty()) {
        (false, _) => format!("batch {batch} of {}", words::text(action, "queue")),
        (true, false) => format!("trigger {trigger} of {}", words::text(action, "queue")),
        (true, true) => words::text(action, "queue"),
    }
}

/// `max_parallel 10 -> 3, sql`.
fn change(detail: &Value) -> String {
    let told = |(name, value): (&String, &Value)| match (value.get("from"), value.get("to")) {
        (Some(from), Some(to)) => format!("{name} {} -> {}", plain(from), plain(to)),
        _ if value.as_object().is_some_and(serde_json::Map::is_empty) => name.clone(),
        _ => format!("{name} {}", plain(value)),
    };
    detail.as_object().map_or_else(String::new, |all| all.iter().map(told).collect::<Vec<_>>().join(", "))
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_is_told_in_words() {
        assert_eq!(
            change(
                &json!({"max_parallel": {"from": 10, "to": 3}, "namespace": {"from": null, "to": "b"}, "sql": {}})
            ),
            "max_parallel 10 -> 3, namespace none -> b, sql"
        );
        assert_eq!(change(&json!({"role": "shop", "what": ["read"]})), "role shop, what [\"read\"]");
        assert_eq!(change(&Value::Null), "");
    }

    #[test]
    fn it_is_about_the_batch_or_the_trigger_or_the_queue() {
        assert_eq!(about(&json!({"queue": "q", "batch_id": 7, "trigger": null})), "batch 7 of q");
        assert_eq!(about(&json!({"queue": "q", "batch_id": null, "trigger": "t"})), "trigger t of q");
        assert_eq!(about(&json!({"queue": null, "batch_id": null, "trigger": null})), "");
    }
}
