//! `/batches/ID/items/N`: what became of an item, or why it does not run; its payload, its attempts, and what to type.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Html;
use jiff::Timestamp;
use maud::{Markup, html};
use serde_json::Value;

use super::Dashboard;
use super::action::Action;
use super::batch::peek;
use super::error::PageError;
use super::gantt::said;
use super::layout::{Visitor, page};
use super::pods::{self, PodLook};
use super::state::{icon, state};
use crate::people::{item as items, words};

/// More of a text is not shown: `pgbatch show` has all of it.
const TEXT_MAX: usize = 20_000;

pub(super) async fn item(
    State(dashboard): State<Dashboard>,
    Extension(visitor): Extension<Visitor>,
    Path((batch_id, item_no)): Path<(i64, i32)>,
) -> Result<Html<String>, PageError> {
    let session = dashboard.sessions.lend().await?;
    let batch = peek(&session, batch_id).await?;
    let last = words::number(&batch, "items");
    let item = items::item(&session, batch_id, item_no).await?.ok_or_else(|| {
        PageError::NotFound(format!("Batch {batch_id} has no item {item_no}; its items are 1 to {last}."))
    })?;
    let runs = items::runs(&session, &item).await?;
    let gates = items::gates(&session, batch_id, item_no).await?;
    let now = session.now().await?;
    drop(session);
    let pod = match (&dashboard.pods, runs.last()) {
        (Some(pods), Some(run)) => pods.look(run).await,
        _ => PodLook::default(),
    };
    let title = format!("Item {batch_id}/{item_no}");
    let queue = words::text(&batch, "queue");
    let main = html! {
        p.crumbs {
            a href="/batches" { "Batches" } " / " a href=(format!("/batches?queue={queue}")) { (queue) }
            " / " a href=(format!("/batches/{batch_id}")) { "Batch " (batch_id) }
        }
        h1 { (title) " " (state(&words::text(&item, "state"))) }
        p.lead { (verdict(&item, &gates)) }
        @if words::text(&item, "state") == "failed" {
            p.actions { (visitor.link(&Action::Retry { batch: batch_id, item: Some(item_no), error: None }, "Retry this item")) }
        }
        (neighbours(batch_id, i64::from(item_no), last))
        (text("Error", &item["error"]))
        (text("Result", &item["result"]))
        (text("Payload", &item["item"]))
        h2 { "Timeline" }
        (timeline(&batch, &runs, &pod.moments, now))
        (pods::shown(&pod))
        @if !runs.is_empty() { h2 { "Attempts" } (attempts(&runs, now)) }
        h2 { "Gates" }
        (gate_table(&gates))
        h2 { "Commands" }
        (commands(&batch, batch_id, item_no, runs.last()))
    };
    Ok(page("/batches", &title, &visitor, &main))
}

/// Of an item that has ended the last gate says how; of another one the first closed gate why it waits.
fn verdict(item: &Value, gates: &[Value]) -> String {
    match (item["finished_at"].is_null(), gates.last()) {
        (false, Some(last)) => words::text(last, "words"),
        _ => items::verdict(gates),
    }
}

fn neighbours(batch: i64, item: i64, last: i64) -> Markup {
    let link = |to: i64| format!("/batches/{batch}/items/{to}");
    html! {
        @if last > 1 {
            nav.pages aria-label="Neighbours" {
                @if item > 1 { a rel="prev" href=(link(item - 1)) { "Item " (item - 1) } }
                @if item < last { a rel="next" href=(link(item + 1)) { "Item " (item + 1) } }
            }
        }
    }
}

/// A text that somebody wrote, or JSON, as it is.
fn text(title: &str, value: &Value) -> Markup {
    let whole = match value {
        Value::Null => return html! {},
        Value::String(text) => text.clone(),
        json => serde_json::to_string_pretty(json).unwrap_or_default(),
    };
    let cut = whole.char_indices().nth(TEXT_MAX).map(|(at, _)| at);
    html! {
        h2 { (title) }
        pre { (whole[..cut.unwrap_or(whole.len())]) }
        @if cut.is_some() { p.muted { "The first " (words::grouped(i64::try_from(TEXT_MAX).unwrap_or(0))) " characters of it." } }
    }
}

/// From the enqueue to the last end, each with how long it took to get there.
fn timeline(batch: &Value, runs: &[Value], of_pod: &[(Timestamp, String)], now: Timestamp) -> Markup {
    let mut moments = of_pod.to_vec();
    let mut add = |row: &Value, column: &str, words: String| {
        moments.extend(words::time(row, column).map(|at| (at, words)))
    };
    add(batch, "created_at", "enqueued".to_owned());
    add(batch, "not_before", "not before this".to_owned());
    for run in runs {
        let attempt = words::number(run, "attempt");
        add(run, "created_at", format!("attempt {attempt} claimed"));
        add(run, "started_at", format!("attempt {attempt} started"));
        let ended = words::text(run, "state").replace('_', " ");
        add(run, "finished_at", format!("attempt {attempt} ended: {ended}"));
    }
    moments.sort_by_key(|(at, _)| *at);
    let before = std::iter::once(None).chain(moments.iter().map(|(at, _)| Some(*at)));
    html! {
        ol.timeline {
            @for ((at, words), before) in moments.iter().zip(before) {
                li {
                    time datetime=(at) { (words::clock(*at, now)) }
                    " " (words)
                    @if let Some(before) = before { span.muted { " +" (words::seconds(at.duration_since(before).as_secs_f64())) } }
                }
            }
        }
    }
}

fn attempts(runs: &[Value], now: Timestamp) -> Markup {
    html! {
        div.scroll role="region" aria-label="Attempts" tabindex="0" {
            table {
                thead {
                    tr {
                        th.number scope="col" { "Attempt" } th scope="col" { "Run" } th scope="col" { "State" }
                        th.wide scope="col" { "Claimed" } th.number.wide scope="col" { "Took" }
                        th.number.wide scope="col" { "Exit" } th scope="col" { "Words" }
                    }
                }
                tbody {
                    @for run in runs {
                        tr {
                            td.number { (words::number(run, "attempt")) }
                            th scope="row" { (words::text(run, "job_name")) }
                            td { (state(&words::text(run, "state"))) }
                            td.wide { (words::moment_and_age(run, "created_at", now)) }
                            td.number.wide { (words::took(run, "started_at", "finished_at", now)) }
                            td.number.wide { (words::text(run, "exit_code")) }
                            td.long { (said(run)) }
                        }
                    }
                }
            }
        }
    }
}

fn gate_table(gates: &[Value]) -> Markup {
    html! {
        div.scroll role="region" aria-label="Gates" tabindex="0" {
            table {
                thead { tr { th scope="col" { "Gate" } th scope="col" { "Open" } th scope="col" { "Words" } } }
                tbody {
                    @for gate in gates {
                        @let (kind, word) = if items::is_open(gate) { ("good", "yes") } else { ("bad", "no") };
                        tr {
                            th scope="row" { (words::text(gate, "gate")) }
                            td { span.state.(kind) { (icon(kind)) (word) } }
                            td.long { (words::text(gate, "words")) }
                        }
                    }
                }
            }
        }
    }
}

/// What to type. Everything in it is a number, or a name that pgbatch has checked.
fn commands(batch: &Value, batch_id: i64, item_no: i32, run: Option<&Value>) -> Markup {
    let mut lines = vec![
        format!("pgbatch why {batch_id}/{item_no}"),
        format!("pgbatch logs {batch_id}/{item_no} --follow"),
        format!("psql --command 'SELECT * FROM pgbatch.explain_item({batch_id}, {item_no})'"),
    ];
    if let Some(run) = run {
        let namespace = words::text(run, "namespace");
        let namespace = if namespace.is_empty() { namespace } else { format!("--namespace {namespace} ") };
        let job = words::text(run, "job_name");
        lines.push(format!("kubectl {namespace}describe job/{job}"));
        lines.push(format!("kubectl {namespace}logs job/{job}"));
    }
    if words::text(batch, "state") == "failed" {
        lines.push(format!("pgbatch retry {batch_id}"));
    }
    html! { ul.commands { @for line in lines { li { code { (line) } " " button.copy type="button" data-copy=(line) hidden { "Copy" } } } } }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_commands_name_the_job_of_the_last_run() {
        let run = json!({"job_name": "claps-7", "namespace": "nightly"});
        let shown = commands(&json!({"state": "failed"}), 12, 3, Some(&run)).into_string();
        for line in ["pgbatch why 12/3", "kubectl --namespace nightly logs job/claps-7", "pgbatch retry 12"] {
            assert!(shown.contains(&format!("<code>{line}</code>")), "{line}: {shown}");
        }
    }

    #[test]
    fn an_ended_item_says_how_it_ended_and_another_one_why_it_waits() {
        let gates = [json!({"open": false, "words": "closed"}), json!({"open": true, "words": "it failed"})];
        assert_eq!(verdict(&json!({"finished_at": "2026-01-01T00:00:00Z"}), &gates), "it failed");
        assert_eq!(verdict(&json!({"finished_at": null}), &gates), "closed");
    }

    #[test]
    fn what_a_strangers_program_wrote_is_text() {
        let shown = text("Error", &json!("<script>alert('x')</script>")).into_string();
        assert!(shown.contains("&lt;script&gt;") && !shown.contains("<script>"), "{shown}");
        let long = text("Error", &json!("é".repeat(TEXT_MAX + 1))).into_string();
        assert_eq!(long.matches('é').count(), TEXT_MAX);
    }

    #[test]
    fn the_timeline_is_in_order_and_tells_how_long_each_step_took() {
        let batch = json!({"created_at": "2026-01-01T00:00:00Z"});
        let run = json!({"attempt": 1, "state": "timed_out", "created_at": "2026-01-01T00:00:02Z",
            "started_at": "2026-01-01T00:00:05Z", "finished_at": "2026-01-01T00:01:05Z"});
        let shown = timeline(&batch, &[run], &[], "2026-01-01T01:00:00Z".parse().unwrap()).into_string();
        let order: Vec<usize> =
            ["enqueued", "attempt 1 claimed", "attempt 1 started", "attempt 1 ended: timed out"]
                .iter()
                .filter_map(|words| shown.find(words))
                .collect();
        assert!(order.len() == 4 && order.is_sorted(), "{shown}");
        assert!(shown.contains(" +1m00s"), "{shown}");
    }
}
