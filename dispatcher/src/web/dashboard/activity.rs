//! `/activity`: what people have done, the newest first; the filters are in the URL.

use axum::Extension;
use axum::extract::{Query, State};
use axum::response::Html;
use jiff::Timestamp;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::Dashboard;
use super::error::PageError;
use super::layout::{Visitor, page};
use super::link::{filled, link};
use crate::people::action::{about, change, who};
use crate::people::session::Session;
use crate::people::words;

const PAGE: usize = 50;

const FIND: &str = "SELECT * FROM pgbatch.actions a WHERE a.id < $1 AND ($2::text IS NULL OR a.queue = $2) \
    AND ($3::text IS NULL OR a.role = $3 OR a.on_behalf_of = $3) ORDER BY a.id DESC LIMIT $4";

/// By its queue: that has an index.
const OF_BATCH: &str =
    "SELECT * FROM pgbatch.actions a WHERE a.queue = $1 AND a.batch_id = $2 ORDER BY a.id DESC LIMIT 5";

/// What is asked for. An empty field of the form is as none.
#[derive(Debug, Deserialize)]
pub(super) struct Filter {
    queue: Option<String>,
    who: Option<String>,
    before: Option<i64>,
}

impl Filter {
    fn queue(&self) -> Option<&str> {
        filled(self.queue.as_deref())
    }

    fn who(&self) -> Option<&str> {
        filled(self.who.as_deref())
    }

    fn before(&self, id: i64) -> String {
        let id = id.to_string();
        link("/activity", &[("queue", self.queue()), ("who", self.who()), ("before", Some(&id))])
    }
}

pub(super) async fn activity(
    State(dashboard): State<Dashboard>,
    Extension(visitor): Extension<Visitor>,
    Query(filter): Query<Filter>,
) -> Result<Html<String>, PageError> {
    let session = dashboard.sessions.lend().await?;
    let before = filter.before.unwrap_or(i64::MAX);
    let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
    let actions = session.rows(FIND, &[&before, &filter.queue(), &filter.who(), &limit]).await?;
    let now = session.now().await?;
    drop(session);
    let last = actions.last().filter(|_| actions.len() == PAGE).map(|last| words::number(last, "id"));
    let main = html! {
        h1 { "Activity" }
        form.filter method="get" action="/activity" role="search" aria-label="Filter" {
            label { "Queue " input #filter name="queue" value=(filter.queue().unwrap_or_default()) autocomplete="off" spellcheck="false"; }
            label { "Who " input name="who" value=(filter.who().unwrap_or_default()) autocomplete="off" spellcheck="false"; }
            button type="submit" { "Filter" }
            @if filter.queue().or(filter.who()).is_some() { a href="/activity" { "All" } }
        }
        @if actions.is_empty() {
            p { "Nobody has done such a thing. What is enqueued and what runs is not here: those are the batches." }
        } @else { (table(&actions, now)) }
        nav.pages aria-label="Further actions" {
            @if filter.before.is_some() { a href="/activity" { "Newest" } }
            @if let Some(last) = last { a rel="next" href=(filter.before(last)) { "Older" } }
        }
    };
    Ok(page("/activity", "Activity", &visitor, &main))
}

/// What was done to a batch.
pub(super) async fn of_batch(session: &Session, batch: &Value) -> Result<Vec<Value>, PageError> {
    let (queue, id) = (words::text(batch, "queue"), words::number(batch, "id"));
    Ok(session.rows(OF_BATCH, &[&queue, &id]).await?)
}

/// Also on the page of a batch.
pub(super) fn table(actions: &[Value], now: Timestamp) -> Markup {
    html! {
        div.scroll role="region" aria-label="Actions" tabindex="0" {
            table {
                thead {
                    tr {
                        th.number scope="col" { "Age" } th scope="col" { "Who" } th scope="col" { "Did" } th scope="col" { "To" }
                        th.wide scope="col" { "Change" } th scope="col" { "Because" }
                    }
                }
                tbody { @for action in actions { (row(action, now)) } }
            }
        }
    }
}

fn row(action: &Value, now: Timestamp) -> Markup {
    let batch = action["batch_id"].as_i64();
    html! {
        tr data-row[batch.is_some()] {
            td.number { time datetime=(words::text(action, "at")) title=(words::moment(action, "at")) { (words::age(action, "at", now)) } }
            td { (who(action)) }
            th scope="row" { (words::text(action, "action").replace('_', " ")) }
            td { @if let Some(batch) = batch { a href=(format!("/batches/{batch}")) { (about(action)) } } @else { (about(action)) } }
            td.wide.long { (change(&action["detail"])) }
            td.long { (words::short(action, "reason")) }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_tells_who_did_what_to_what_and_why() {
        let now = "2026-01-02T00:00:00Z".parse().unwrap();
        let action = json!({"at": "2026-01-01T23:58:00Z", "role": "ops", "on_behalf_of": "ann", "action": "retry_batch", "queue": "q",
            "batch_id": 12, "trigger": null, "detail": {"items": 5}, "reason": "<the disk is free>"});
        let shown = row(&action, now).into_string();
        for part in [
            "2m00s",
            "ann (ops)",
            "retry batch",
            "href=\"/batches/12\"",
            "items 5",
            "&lt;the disk is free&gt;",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }

    #[test]
    fn the_link_to_older_ones_keeps_the_filter() {
        let filter = Filter { queue: Some("a&b".to_owned()), who: Some(" ann ".to_owned()), before: None };
        assert_eq!(filter.before(7), "/activity?queue=a%26b&who=ann&before=7");
    }
}
