//! The runs of a batch along the time they took: a table with a bar in each row.

use jiff::Timestamp;
use maud::{Markup, html};
use serde_json::Value;

use super::state::state;
use crate::people::words;

/// The runs, each with a bar from its claim over its start to its end, all along the same time.
pub(super) fn gantt(batch: i64, runs: &[Value], now: Timestamp) -> Markup {
    let moment = |run: &Value, column| words::time(run, column);
    let from = runs.iter().filter_map(|run| moment(run, "created_at")).min().unwrap_or(now);
    let to = runs.iter().map(|run| moment(run, "finished_at").unwrap_or(now)).max().unwrap_or(now);
    let long = to.duration_since(from).as_secs_f64();
    html! {
        div.scroll role="region" aria-label="Runs" tabindex="0" {
            table {
                thead {
                    tr {
                        th scope="col" { "Run" }
                        th.number.wide scope="col" { "Items" }
                        th.number.wide scope="col" { "Attempt" }
                        th scope="col" { "State" }
                        th.time.wide scope="col" { (words::clock(from, now)) " + " (words::seconds(long)) }
                        th.number.wide scope="col" { "Took" }
                        th.number.wide scope="col" { "Exit" }
                        th scope="col" { "Words" }
                    }
                }
                tbody { @for run in runs { (row(batch, run, from, long, now)) } }
            }
        }
    }
}

fn row(batch: i64, run: &Value, from: Timestamp, long: f64, now: Timestamp) -> Markup {
    let (first, last) = (words::number(run, "first_item"), words::number(run, "last_item"));
    let items = if first == last { first.to_string() } else { format!("{first}-{last}") };
    html! {
        tr data-row {
            th scope="row" { a href=(format!("/batches/{batch}/items/{first}")) { (words::text(run, "job_name")) } }
            td.number.wide { (items) }
            td.number.wide { (words::number(run, "attempt")) }
            td { (state(&words::text(run, "state"))) }
            td.time.wide { (bar(run, from, long, now)) }
            td.number.wide { (words::took(run, "started_at", "finished_at", now)) }
            td.number.wide { (words::text(run, "exit_code")) }
            td.long { (said(run)) }
        }
    }
}

/// What Kubernetes, or the run itself, said of it.
pub(super) fn said(run: &Value) -> String {
    let said = ["reason", "message"].map(|column| words::short(run, column));
    said.into_iter().filter(|words| !words.is_empty()).collect::<Vec<_>>().join(": ")
}

/// Thin while it starts, thick while it runs.
fn bar(run: &Value, from: Timestamp, long: f64, now: Timestamp) -> Markup {
    let at = |moment: Timestamp| {
        (moment.duration_since(from).as_secs_f64() * 100.0 / long.max(0.001)).clamp(0.0, 100.0)
    };
    let end = at(words::time(run, "finished_at").unwrap_or(now));
    let claimed = at(words::time(run, "created_at").unwrap_or(from));
    let started = words::time(run, "started_at").map_or(end, at).min(end);
    let name = words::text(run, "state");
    html! {
        svg.bar viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" {
            rect.(name) x=(format!("{claimed:.2}")) y="4" width=(format!("{:.2}", (started - claimed).max(0.2))) height="2" {}
            // Never so short that it is not seen.
            rect.(name) x=(format!("{started:.2}")) y="0" width=(format!("{:.2}", (end - started).max(0.5))) height="10" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_run_has_its_place_in_the_time_of_all() {
        let at = |second: u32| format!("2026-01-01T00:00:{second:02}+00:00");
        let runs = [
            json!({"job_name": "q-1", "state": "failed", "created_at": at(0), "started_at": at(2), "finished_at": at(10)}),
            json!({"job_name": "q-2", "state": "running", "created_at": at(10), "started_at": at(15)}),
        ];
        let chart = gantt(1, &runs, "2026-01-01T00:00:20Z".parse().unwrap()).into_string();
        for part in [
            r#"class="failed" x="0.00" y="4" width="10.00""#,
            r#"class="failed" x="10.00" y="0" width="40.00""#,
            r#"class="running" x="75.00" y="0" width="25.00""#,
            "00:00:00 UTC + 20s",
        ] {
            assert!(chart.contains(part), "{part}: {chart}");
        }
    }
}
