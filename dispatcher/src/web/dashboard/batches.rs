//! `/batches`: the newest first, a page of them; the filters are in the URL.

use axum::Extension;
use axum::extract::{Query, State};
use axum::response::Html;
use jiff::Timestamp;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::Dashboard;
use super::action::Action;
use super::error::PageError;
use super::layout::{Visitor, page};
use super::link::{filled, link};
use super::state::{ITEM_STATES, bar, state};
use crate::people::session::Session;
use crate::people::words;

const PAGE: i32 = 50;

/// What can be asked for: the states of a batch, and two groups of them.
const STATES: [(&str, &[&str]); 8] = [
    ("open", &["waiting", "pending", "running"]),
    ("ended", &["succeeded", "failed", "cancelled"]),
    ("waiting", &["waiting"]),
    ("pending", &["pending"]),
    ("running", &["running"]),
    ("succeeded", &["succeeded"]),
    ("failed", &["failed"]),
    ("cancelled", &["cancelled"]),
];

const FIND: &str = "SELECT f.ids, f.looked_to FROM pgbatch.find_batches($1, $2, $3, $4, $5) f";

/// What is asked for. An empty field of the form is as none.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Filter {
    queue: Option<String>,
    state: Option<String>,
    label: Option<String>,
    before: Option<i64>,
}

impl Filter {
    fn queue(&self) -> Option<&str> {
        filled(self.queue.as_deref())
    }

    fn label(&self) -> Option<&str> {
        filled(self.label.as_deref())
    }

    fn states(&self) -> Option<&'static [&'static str]> {
        STATES.iter().find(|(name, _)| Some(*name) == self.state.as_deref()).map(|(_, states)| *states)
    }

    fn is_any(&self) -> bool {
        self.queue().is_none() && self.label().is_none() && self.states().is_none()
    }

    /// The same, from another batch on; none = from the newest on.
    fn from(&self, before: Option<i64>) -> String {
        let before = before.map(|id| id.to_string());
        let state = self.states().and(self.state.as_deref());
        let fields = [
            ("queue", self.queue()),
            ("state", state),
            ("label", self.label()),
            ("before", before.as_deref()),
        ];
        link("/batches", &fields)
    }
}

pub(super) async fn batches(
    State(dashboard): State<Dashboard>,
    Extension(visitor): Extension<Visitor>,
    Query(filter): Query<Filter>,
) -> Result<Html<String>, PageError> {
    let session = dashboard.sessions.lend().await?;
    let states = filter.states();
    let found = session
        .row(FIND, &[&filter.queue(), &states, &filter.label(), &filter.before.unwrap_or(i64::MAX), &PAGE])
        .await?;
    let found = found.unwrap_or_default();
    let ids: Vec<i64> = found["ids"].as_array().into_iter().flatten().filter_map(Value::as_i64).collect();
    let batches = session.rows("SELECT * FROM pgbatch.peek_batches($1, 1000) b", &[&ids]).await?;
    let queue = match filter.queue() {
        Some(queue) => peek_queue(&session, queue).await?,
        None => None,
    };
    let now = session.now().await?;
    drop(session);
    let main = html! {
        h1 { "Batches" }
        (form(&filter))
        @if let Some(queue) = &queue { (of_queue(queue, &visitor)) }
        @if batches.is_empty() { (nothing(&filter, !found["looked_to"].is_null())) } @else { (table(&batches, now)) }
        nav.pages aria-label="Further batches" {
            @if filter.before.is_some() { a href=(filter.from(None)) { "Newest" } }
            @if let Some(before) = found["looked_to"].as_i64() { a rel="next" href=(filter.from(Some(before))) { "Older" } }
        }
    };
    Ok(page("/batches", "Batches", &visitor, &main))
}

/// A queue, as `peek_queues()` has it.
pub(super) async fn peek_queue(session: &Session, name: &str) -> Result<Option<Value>, PageError> {
    Ok(session.row("SELECT * FROM pgbatch.peek_queues() q WHERE q.name = $1", &[&name]).await?)
}

/// How the queue is that is asked for, and what can be done with it.
fn of_queue(queue: &Value, visitor: &Visitor) -> Markup {
    let name = words::text(queue, "name");
    let least = if queue["is_exact"] == false { "≥ " } else { "" };
    let number = |column| format!("{least}{}", words::grouped(words::number(queue, column)));
    let paused = queue["paused"] == true;
    let turn = match paused {
        true => visitor.link(&Action::Resume { queue: name.clone() }, "Resume"),
        false => visitor.link(&Action::Pause { queue: name.clone() }, "Pause"),
    };
    let parallelism = Action::Parallelism { queue: name.clone(), max_parallel: None };
    html! {
        p.actions {
            strong { (name) }
            @if paused { (state("paused")) }
            span { (number("running")) " running of " (words::number(queue, "max_parallel")) " at most, " (number("pending")) " pending" }
            (turn) (visitor.link(&parallelism, "Parallelism"))
            a href=(link("/activity", &[("queue", Some(&name))])) { "Activity" }
        }
    }
}

fn form(filter: &Filter) -> Markup {
    html! {
        form.filter method="get" action="/batches" role="search" aria-label="Filter" {
            label { "Queue " input #filter name="queue" value=(filter.queue().unwrap_or_default()) autocomplete="off" spellcheck="false"; }
            label {
                "State "
                select name="state" {
                    option value="" { "any" }
                    @for (name, _) in STATES {
                        option value=(name) selected[filter.state.as_deref() == Some(name)] { (name) }
                    }
                }
            }
            label { "Label has " input name="label" value=(filter.label().unwrap_or_default()) autocomplete="off"; }
            button type="submit" { "Filter" }
            @if !filter.is_any() { a href="/batches" { "All" } }
        }
    }
}

fn nothing(filter: &Filter, is_more: bool) -> Markup {
    let words = match (filter.is_any() && filter.before.is_none(), is_more) {
        (_, true) => "None among those that were looked at; there are older ones.",
        (true, false) => "There is no batch yet: pgbatch.enqueue() makes one.",
        (false, false) => "There is no such batch. Ended ones are deleted after their queue's retain.",
    };
    html! { p { (words) } }
}

/// Also on the page of a batch, for the earlier ones.
pub(super) fn table(batches: &[Value], now: Timestamp) -> Markup {
    html! {
        div.scroll role="region" aria-label="Batches" tabindex="0" {
            table {
                thead {
                    tr {
                        th scope="col" { "Batch" }
                        th.wide scope="col" { "Queue" }
                        th scope="col" { "State" }
                        th.progress.wide scope="col" { "Progress" }
                        th.number.wide scope="col" { "Items" }
                        th.number scope="col" { "Failed" }
                        th.number.wide scope="col" { "Age" }
                        th.number.wide scope="col" { "Took" }
                        th scope="col" { "Label" }
                    }
                }
                tbody { @for batch in batches { (row(batch, now)) } }
            }
        }
    }
}

fn row(batch: &Value, now: Timestamp) -> Markup {
    let id = words::number(batch, "id");
    let failed = words::number(batch, "failed");
    let least = if batch["is_exact"] == false { "≥ " } else { "" };
    html! {
        tr data-row {
            th scope="row" { a href=(format!("/batches/{id}")) { (id) } }
            td.wide { (words::text(batch, "queue")) }
            td { (state(&words::text(batch, "state"))) }
            td.progress.wide { (bar(batch, &ITEM_STATES)) }
            td.number.wide { (words::grouped(words::number(batch, "items"))) }
            td.number { @if failed > 0 { span.failed { (least) (words::grouped(failed)) } } @else { "0" } }
            td.number.wide { (words::age(batch, "created_at", now)) }
            td.number.wide { (words::took(batch, "started_at", "finished_at", now)) }
            td.long { (words::short(batch, "label")) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_to_older_ones_keeps_the_filter() {
        let filter = Filter {
            queue: Some("claps".to_owned()),
            state: Some("open".to_owned()),
            label: Some(" a&b=\"c\" ".to_owned()),
            before: Some(900),
        };
        assert_eq!(filter.from(Some(7)), "/batches?queue=claps&state=open&label=a%26b%3D%22c%22&before=7");
        assert_eq!(filter.states(), Some(&["waiting", "pending", "running"][..]));
    }

    #[test]
    fn empty_and_unknown_fields_ask_for_nothing() {
        let empty =
            Filter { queue: Some(String::new()), state: Some("sleeping".to_owned()), ..Filter::default() };
        assert!(empty.is_any());
        assert_eq!(empty.from(None), "/batches?");
    }
}
