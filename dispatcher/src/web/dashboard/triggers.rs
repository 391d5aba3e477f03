//! `/triggers`: everything that adds work by itself, and what each did last.

use axum::Extension;
use axum::extract::State;
use axum::response::Html;
use maud::{Markup, html};
use serde_json::Value;

use super::Dashboard;
use super::error::PageError;
use super::layout::{Visitor, page};
use super::state::marked;
use crate::people::words;

/// Those that have an error first.
const TRIGGERS: &str = "SELECT t.* FROM pgbatch.triggers t ORDER BY t.error IS NULL, t.name LIMIT 500";

pub(super) async fn triggers(
    State(dashboard): State<Dashboard>,
    Extension(visitor): Extension<Visitor>,
) -> Result<Html<String>, PageError> {
    let session = dashboard.sessions.lend().await?;
    let triggers = session.rows(TRIGGERS, &[]).await?;
    let now = session.now().await?;
    drop(session);
    let main = html! {
        h1 { "Triggers" }
        @if triggers.is_empty() {
            p { "There is none: work is enqueued by people and programs only. See " code { "pgbatch.schedule()" } ", "
                code { "pgbatch.enqueue_on_insert()" } ", " code { "pgbatch.watch_rows()" } " and " code { "pgbatch.watch_kafka()" } "." }
        } @else {
            div.scroll role="region" aria-label="Triggers" tabindex="0" {
                table {
                    thead {
                        tr {
                            th scope="col" { "Trigger" } th.wide scope="col" { "Kind" } th scope="col" { "Queue" }
                            th scope="col" { "State" } th.number scope="col" { "Last fired" }
                            th.number.wide scope="col" { abbr title="Items of its last batch, the lag of its group, or what its query returned" { "Value" } }
                            th.wide scope="col" { "Watches" } th scope="col" { "Next, or what is amiss" }
                        }
                    }
                    tbody { @for trigger in &triggers { (row(trigger, now)) } }
                }
            }
        }
    };
    Ok(page("/triggers", "Triggers", &visitor, &main))
}

fn row(trigger: &Value, now: jiff::Timestamp) -> Markup {
    let error = words::text(trigger, "error");
    let shown = match (error.is_empty(), trigger["enabled"] == true) {
        (false, _) => marked("bad", "error"),
        (true, true) => marked("good", "enabled"),
        (true, false) => marked("paused", "disabled"),
    };
    let queue = words::text(trigger, "queue");
    let next = trigger["next_runs"].as_array().and_then(|runs| runs.first()?.as_str());
    html! {
        tr data-row {
            th scope="row" { a href=(format!("/batches?queue={queue}")) { (words::text(trigger, "name")) } }
            td.wide { (words::text(trigger, "kind")) }
            td { (queue) }
            td { (shown) }
            td.number { (words::age(trigger, "last_fired_at", now)) }
            td.number.wide { (words::text(trigger, "last_value")) }
            td.wide.long { (watched(trigger)) }
            td.long {
                @if !error.is_empty() { (words::short(trigger, "error")) }
                @else if let Some(next) = next { time datetime=(next) { (words::moment_of(next)) } }
            }
        }
    }
}

/// What it looks at: a cron expression, a table and its condition, or a query.
fn watched(trigger: &Value) -> String {
    let parts = match words::text(trigger, "cron") {
        cron if !cron.is_empty() => [cron, words::text(trigger, "timezone")],
        _ if words::text(trigger, "kind") == "insert" => {
            ["source", "condition"].map(|c| words::text(trigger, c))
        }
        _ => [words::short(trigger, "query"), String::new()],
    };
    parts.join(" ").trim().to_owned()
}
