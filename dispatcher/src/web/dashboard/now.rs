//! `/`: how it is now. What broke, since when, is it one cause; what waits, and for what; is somebody there to start anything.

use axum::Extension;
use axum::extract::{Query, State};
use axum::response::Html;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::Dashboard;
use super::error::PageError;
use super::layout::{Visitor, page};
use super::plumbing::plumbing;
use super::sparkline::sparkline;
use super::state::{OPEN_STATES, bar, state};
use super::verdict::{DEADLINES_MAX, Seen, shown, verdict};
use crate::metrics::metrics;
use crate::people::batch::deadlines;
use crate::people::queue::{eta_seconds, not_starting};
use crate::people::session::Session;
use crate::people::snapshot::oldest;
use crate::people::words;

/// So many queues are shown, unless all are asked for: those that have something to do first.
const QUEUES_SHOWN: usize = 50;
/// Of so many queues the next item is asked what holds it.
const HELD_MAX: usize = 10;
/// So many failing batches are looked at for their causes.
const FAILING_MAX: usize = 5;

const QUEUES: &str = "SELECT q.* FROM pgbatch.peek_queues() q \
    ORDER BY q.pending + q.running + q.retrying = 0, q.failed = 0, q.name";

/// The first closed gate before the next item of some queues. That nobody leads is told once for all.
const HELD: &str = "\
    SELECT q.name AS queue, e.words FROM unnest($1::text[], $2::bigint[], $3::int[]) q (name, batch, item) \
    CROSS JOIN LATERAL ( \
        SELECT e.words FROM pgbatch.explain_item(q.batch, q.item) WITH ORDINALITY e (gate, open, words, place) \
        WHERE NOT e.open AND e.gate <> 'dispatcher' ORDER BY e.place LIMIT 1) e";

/// The newest batches that have failed items; what failed days ago is in the table of queues.
const FAILING: &str = "\
    SELECT b.*, (SELECT jsonb_agg(to_jsonb(e)) FROM pgbatch.batch_errors(b.id, 2000) e) AS errors \
    FROM (SELECT b.* FROM pgbatch.find_batches(states => '{running,failed}', at_most => 100, looked_max => 5000) f \
        CROSS JOIN LATERAL pgbatch.peek_batches(f.ids, 1000) b \
        WHERE b.failed > 0 AND (b.finished_at IS NULL OR b.finished_at > statement_timestamp() - interval '24 h') \
        ORDER BY b.failed DESC, b.id DESC LIMIT $1) b";

/// What is asked for.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    /// Every queue.
    all: Option<String>,
}

pub(super) async fn now(
    State(dashboard): State<Dashboard>,
    Extension(visitor): Extension<Visitor>,
    Query(asked): Query<Asked>,
) -> Result<Html<String>, PageError> {
    let began = Instant::now();
    let session = dashboard.sessions.lend().await?;
    let queues = queues(&session).await?;
    let failing = session.rows(FAILING, &[&i64::try_from(FAILING_MAX).unwrap_or(5)]).await?;
    let deadlines = deadlines(&session, i32::try_from(DEADLINES_MAX).unwrap_or(10)).await?;
    let triggers = session
        .rows("SELECT t.name, t.error FROM pgbatch.triggers t WHERE t.error IS NOT NULL LIMIT 5", &[])
        .await?;
    // Not everybody may ask.
    let dispatcher = session.row("SELECT * FROM pgbatch.explain_dispatcher()", &[]).await.unwrap_or(None);
    let snapshot = oldest(&session).await.ok();
    let now = session.now().await?;
    drop(session);
    let seen = Seen {
        dispatcher: dispatcher.as_ref(),
        queues: &queues,
        failing: &failing,
        deadlines: &deadlines,
        triggers: &triggers,
        now,
    };
    let shown_queues = if asked.all.is_some() { queues.len() } else { QUEUES_SHOWN.min(queues.len()) };
    let main = html! {
        h1.unseen { "Now" }
        (shown(&verdict(&seen)))
        h2 { "Queues" }
        (queue_table(&queues[..shown_queues], now))
        @if shown_queues < queues.len() {
            p { a href="/?all=yes" { "All " (queues.len()) " queues" } " - the others have less to tell." }
        }
        h2 { "Plumbing" }
        (plumbing(&dashboard, dispatcher.as_ref(), snapshot.as_ref(), now).await)
        p.muted.small {
            "Read at " time #read { (words::clock(now, now)) } " in " (words::seconds(began.elapsed().as_secs_f64())) "."
        }
    };
    Ok(page("/", "Now", &visitor, &main))
}

/// As `peek_queues()` has them, each with `held`, why its next item waits.
async fn queues(session: &Session) -> Result<Vec<Value>, PageError> {
    let mut queues = session.rows(QUEUES, &[]).await?;
    let waiting: Vec<&Value> =
        queues.iter().filter(|queue| !queue["next_batch"].is_null()).take(HELD_MAX).collect();
    let names: Vec<String> = waiting.iter().map(|queue| words::text(queue, "name")).collect();
    let batches: Vec<i64> = waiting.iter().map(|queue| words::number(queue, "next_batch")).collect();
    let items: Vec<i32> = waiting
        .iter()
        .map(|queue| i32::try_from(words::number(queue, "next_item")).unwrap_or(i32::MAX))
        .collect();
    // An item may be claimed, or its batch be deleted, between the two looks: the next one tells.
    let gates = session.rows(HELD, &[&names, &batches, &items]).await.unwrap_or_default();
    let mut reasons: Vec<(String, String)> =
        gates.iter().map(|gate| (words::text(gate, "queue"), words::short(gate, "words"))).collect();
    reasons.extend(not_starting(session).await?);
    for queue in &mut queues {
        let name = words::text(queue, "name");
        let held: Vec<&str> =
            reasons.iter().filter(|(of, _)| *of == name).map(|(_, words)| words.as_str()).collect();
        queue["held"] = held.join("; ").into();
    }
    Ok(queues)
}

fn queue_table(queues: &[Value], now: jiff::Timestamp) -> Markup {
    html! {
        div.scroll role="region" aria-label="Queues" tabindex="0" {
            table {
                thead {
                    tr {
                        th scope="col" { "Queue" }
                        th.progress.wide scope="col" { "Open items" }
                        th.number scope="col" { "Pending" }
                        th.number scope="col" { "Running" }
                        th.number.wide scope="col" { "Retrying" }
                        th.number scope="col" { "Failed" }
                        th.number.wide scope="col" { abbr title="Items that ended in a second, on average since the running batches started" { "Per s" } }
                        th.number.wide scope="col" { abbr title="How long what is open takes at that rate: the average since the running batches started" { "ETA" } }
                        th.wide scope="col" { (last_hour(now)) }
                        th.number.wide scope="col" { "Oldest" }
                        th.wide scope="col" { "Held" }
                    }
                }
                tbody { @for queue in queues { (queue_row(queue, now)) } }
            }
        }
    }
}

/// What is drawn of it, and who counts it since when.
fn last_hour(now: jiff::Timestamp) -> Markup {
    let counted = match metrics().recent().lead() {
        Some(lead) => format!("counted here since {}", words::clock(lead.since, now)),
        None => "counted by the dispatcher that leads: its own page has it".to_owned(),
    };
    html! { abbr title=(format!("The runs that ended in each minute of the last hour, failed ones marked below the line; {counted}")) { "Ended runs" } }
}

fn queue_row(queue: &Value, now: jiff::Timestamp) -> Markup {
    let name = words::text(queue, "name");
    let least = if queue["is_exact"] == false { "≥ " } else { "" };
    let number = |column| format!("{least}{}", words::grouped(words::number(queue, column)));
    let failed = words::number(queue, "failed");
    let rate = queue["per_second"].as_f64().unwrap_or(0.0);
    let eta = eta_seconds(queue, rate).map(words::seconds).unwrap_or_default();
    let recent = metrics().recent();
    let ends = recent.ends(&name).zip(recent.lead().map(|lead| lead.since));
    html! {
        tr data-row {
            th scope="row" {
                a href=(format!("/batches?queue={name}")) { (name) }
                @if queue["paused"] == true { " " (state("paused")) }
            }
            td.progress.wide { (bar(queue, &OPEN_STATES)) }
            td.number { (number("pending")) }
            td.number { (number("running")) " / " (words::grouped(words::number(queue, "max_parallel"))) }
            td.number.wide { (number("retrying")) }
            td.number { @if failed > 0 { a.failed href=(format!("/batches?queue={name}&state=failed")) { (number("failed")) } } @else { "0" } }
            td.number.wide { @if rate > 0.0 { (format!("{rate:.0$}", if rate < 0.1 { 3 } else { 1 })) } }
            td.number.wide { @if !eta.is_empty() { (least) (eta) } }
            td.wide { @if let Some((ends, since)) = ends { (sparkline(&ends, since, now)) } }
            td.number.wide { (words::age(queue, "oldest_pending", now)) }
            td.wide { (words::text(queue, "held")) }
        }
    }
}
