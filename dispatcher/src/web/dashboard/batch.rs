//! `/batches/ID`: how far it is, what failed and why, its runs, when it will be done, and how it was the last times.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Html;
use jiff::Timestamp;
use maud::{Markup, html};
use serde_json::Value;

use super::Dashboard;
use super::action::Action;
use super::activity;
use super::batches;
use super::error::PageError;
use super::gantt::gantt;
use super::heat_map::{CELLS, heat_map};
use super::layout::{Visitor, page};
use super::state::{ITEM_STATES, bar, marked, percent, state};
use crate::people::batch::{Late, deadline, late, seconds_left};
use crate::people::session::Session;
use crate::people::words;

/// Those of the last attempts first, the last items first: what happens now.
const RUNS: &str =
    "SELECT * FROM pgbatch.runs r WHERE r.batch_id = $1 ORDER BY r.attempt DESC, r.first_item DESC LIMIT 30";

/// The ended ones before it that are labelled alike, but for numbers: `2026-11-28` and `2026-11-27` are of one schedule.
const EARLIER: &str = "\
    SELECT b.* FROM pgbatch.find_batches($1, '{succeeded,failed}', NULL, $2, 1000, 5000) f \
    CROSS JOIN LATERAL pgbatch.peek_batches(f.ids) b \
    WHERE regexp_replace(b.label, '[0-9]+', '#', 'g') = regexp_replace($3, '[0-9]+', '#', 'g') ORDER BY b.id DESC LIMIT 10";

/// A batch, without what a page costs that grows with it.
pub(super) async fn peek(session: &Session, batch: i64) -> Result<Value, PageError> {
    let found = session.row("SELECT * FROM pgbatch.peek_batches(ARRAY[$1::bigint]) b", &[&batch]).await?;
    found.ok_or_else(|| {
        PageError::NotFound(format!(
            "Batch {batch} does not exist, or may not be read. Ended ones are deleted after their queue's retain."
        ))
    })
}

pub(super) async fn batch(
    State(dashboard): State<Dashboard>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<i64>,
) -> Result<Html<String>, PageError> {
    let session = dashboard.sessions.lend().await?;
    let batch = peek(&session, id).await?;
    let errors = session.rows("SELECT * FROM pgbatch.batch_errors($1)", &[&id]).await?;
    let cells = session.rows("SELECT * FROM pgbatch.batch_map($1, $2)", &[&id, &CELLS]).await?;
    let runs = session.rows(RUNS, &[&id]).await?;
    let (queue, label) = (words::text(&batch, "queue"), batch["label"].as_str());
    let earlier = match label {
        Some(label) => session.rows(EARLIER, &[&queue, &id, &label]).await?,
        None => vec![],
    };
    let done = activity::of_batch(&session, &batch).await?;
    let now = session.now().await?;
    drop(session);
    let title = format!("Batch {id}");
    let main = html! {
        p.crumbs { a href="/batches" { "Batches" } " / " a href=(format!("/batches?queue={queue}")) { (queue) } }
        h1 { (title) " " (state(&words::text(&batch, "state"))) }
        @if let Some(label) = label { p.lead { (words::clean(label)) } }
        (progress(&batch, now))
        (actions(&batch, id, &visitor))
        @if !done.is_empty() { h2 { "What was done to it" } (activity::table(&done, now)) }
        @if !errors.is_empty() { h2 { "Errors" } (error_table(id, &errors, now, &visitor)) }
        @if !cells.is_empty() { h2 { "Items" } (heat_map(id, &cells)) }
        @if !runs.is_empty() { h2 { "Runs" } (gantt(id, &runs, now)) }
        @if !earlier.is_empty() { h2 { "Earlier ones" } (compared(&batch, &earlier, now)) (batches::table(&earlier, now)) }
        h2 { "Facts" }
        (facts(&batch, now))
    };
    Ok(page("/batches", &title, &visitor, &main))
}

fn progress(batch: &Value, now: Timestamp) -> Markup {
    let total = words::number(batch, "items");
    let ended: i64 =
        ["succeeded", "failed", "cancelled"].iter().map(|state| words::number(batch, state)).sum();
    let exact = batch["is_exact"] != false;
    html! {
        div.big { (bar(batch, &ITEM_STATES)) }
        p.counts {
            strong { (words::grouped(ended)) " of " (words::count(total, "item")) " ended" }
            " (" (format!("{:.0}", percent(ended, total).floor())) " %)"
            @if let Some(left) = seconds_left(batch, now) {
                ", about " abbr title="What is left, at the average rate of the items that have ended since the batch started" { (words::seconds(left)) " to go" }
            }
        }
        @if let Some(late) = late(batch, now) {
            p.late { (marked(if matches!(late, Late::Now(_)) { "bad" } else { "warning" }, late.words())) }
        }
        ul.counts {
            @for name in ITEM_STATES {
                @let count = words::number(batch, name);
                @if count > 0 {
                    li {
                        @if !exact && name == "failed" { "at least " } @else if !exact && name == "succeeded" { "at most " }
                        (words::grouped(count)) " " (state(name))
                    }
                }
            }
        }
    }
}

fn error_table(batch: i64, errors: &[Value], now: Timestamp, visitor: &Visitor) -> Markup {
    html! {
        div.scroll role="region" aria-label="Errors" tabindex="0" {
            table {
                thead {
                    tr {
                        th.number scope="col" { "Failures" } th.number scope="col" { "First item" }
                        th.wide scope="col" { "First" } th.wide scope="col" { "Last" } th scope="col" { "As in" }
                        @if visitor.role.is_some() { th scope="col" { span.unseen { "Action" } } }
                    }
                }
                tbody {
                    @for error in errors {
                        @let first = words::number(error, "first_item");
                        tr data-row {
                            td.number { (words::grouped(words::number(error, "failures"))) }
                            th.number scope="row" { a href=(format!("/batches/{batch}/items/{first}")) { (first) } }
                            @for column in ["first_at", "last_at"] {
                                td.wide { @if let Some(at) = words::time(error, column) { (words::clock(at, now)) } }
                            }
                            td.long { (words::short(error, "sample")) }
                            @if visitor.role.is_some() { td { (visitor.link(&of_cause(batch, error), "Retry these")) } }
                        }
                    }
                }
            }
        }
    }
}

/// Those that failed for one cause. What of it tells causes apart is its beginning.
fn of_cause(batch: i64, error: &Value) -> Action {
    let sample = error["sample"].as_str().unwrap_or_default().chars().take(1000).collect();
    Action::Retry { batch, item: None, error: Some(sample) }
}

fn actions(batch: &Value, id: i64, visitor: &Visitor) -> Markup {
    let retry = Action::Retry { batch: id, item: None, error: None };
    let failed = words::number(batch, "failed") > 0 && words::text(batch, "state") != "cancelled";
    let open = batch["finished_at"].is_null() && batch["cancel_requested_at"].is_null();
    html! {
        @if visitor.role.is_some() && (failed || open) {
            p.actions {
                @if failed { (visitor.link(&retry, "Retry what failed")) }
                @if open { (visitor.link(&Action::Cancel { batch: id }, "Cancel")) }
            }
        }
    }
}

/// How long it takes beside how long the earlier ones took.
fn compared(batch: &Value, earlier: &[Value], now: Timestamp) -> Markup {
    let took = |batch: &Value| {
        let ended = words::time(batch, "finished_at").unwrap_or(now);
        words::time(batch, "started_at").map(|started| ended.duration_since(started).as_secs_f64())
    };
    let mut before: Vec<f64> = earlier.iter().filter_map(took).collect();
    before.sort_by(f64::total_cmp);
    let median = before.get(before.len() / 2).copied().unwrap_or_default();
    let verb = if batch["finished_at"].is_null() { "has taken" } else { "took" };
    html! {
        @if let Some(own) = took(batch).filter(|_| median > 0.0) {
            p {
                "This one " (verb) " " (words::seconds(own)) ", " (format!("{:.1}", own / median)) " × the median of "
                @if before.len() == 1 { "the one before" } @else { "the " (before.len()) " before" } ", " (words::seconds(median)) "."
            }
        }
    }
}

fn facts(batch: &Value, now: Timestamp) -> Markup {
    let created_by = words::text(batch, "created_by");
    let facts = [
        ("Queue", words::text(batch, "queue")),
        ("Key", words::text(batch, "key")),
        ("Unique key", words::text(batch, "unique_key")),
        (
            "Priority",
            Some(words::text(batch, "priority")).filter(|priority| priority != "0").unwrap_or_default(),
        ),
        ("Attempts at most", words::text(batch, "max_attempts")),
        ("Not before", words::moment(batch, "not_before")),
        ("Deadline", deadline(batch, now)),
        ("After", words::text(batch, "after").trim_matches(['[', ']']).to_owned()),
        ("Created", format!("{} by {created_by}", words::moment_and_age(batch, "created_at", now))),
        ("Started", words::moment_and_age(batch, "started_at", now)),
        ("Finished", words::moment_and_age(batch, "finished_at", now)),
        ("Took", words::took(batch, "started_at", "finished_at", now)),
        ("Cancelled", words::moment_and_age(batch, "cancel_requested_at", now)),
        ("Because", words::text(batch, "cancel_reason")),
    ];
    html! {
        dl.facts { @for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) { dt { (name) } dd { (value) } } }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_compared_with_the_median_of_those_before_it() {
        let took = |minutes: u32| json!({"started_at": "2026-01-01T00:00:00Z", "finished_at": format!("2026-01-01T00:{minutes:02}:00Z")});
        let earlier = [took(2), took(50), took(4)];
        let words = compared(&took(8), &earlier, "2026-01-02T00:00:00Z".parse().unwrap()).into_string();
        assert_eq!(words, "<p>This one took 8m00s, 2.0 × the median of the 3 before, 4m00s.</p>");
    }
}
