//! What everything rests on: the leader, what wakes it, its watch of the cluster, the API server, and the oldest snapshot.

use jiff::Timestamp;
use maud::{Markup, html};
use pgbatch_core::pace;
use serde_json::Value;

use super::Dashboard;
use super::state::marked;
use crate::clock;
use crate::metrics::{Lead, metrics};
use crate::people::{snapshot, words};

/// Requests that were turned away are told of for so many minutes.
const THROTTLED_MINUTES: usize = 10;
/// A snapshot that is older than this is worth a look: tables grow for it.
const SNAPSHOT_MAX_SECONDS: f64 = 600.0;

/// A name, how good it is, and the words.
type Row = (&'static str, &'static str, String);

/// `dispatcher`: what `explain_dispatcher()` says, nothing where it may not be asked. `snapshot`: the oldest one, nothing where
/// PostgreSQL has not told.
pub(super) async fn plumbing(
    dashboard: &Dashboard,
    dispatcher: Option<&Value>,
    snapshot: Option<&Value>,
    now: Timestamp,
) -> Markup {
    let own = dashboard.health.report().await;
    let leads = dispatcher.is_none_or(|found| found["open"] == true);
    let leader =
        dispatcher.map_or_else(|| "this role may not ask".to_owned(), |found| words::text(found, "words"));
    let mut rows: Vec<Row> = vec![
        ("Leader", if leads { "good" } else { "bad" }, leader),
        ("This dispatcher", if own.is_ready() { "good" } else { "bad" }, own.because().to_owned()),
    ];
    match metrics().recent().lead() {
        Some(lead) => {
            rows.push(("Doorbell", "good", doorbell(&lead)));
            if dashboard.health.watches_cluster() {
                rows.push(watch(dashboard.health.trouble()));
                let throttled = metrics().recent().throttled_within(THROTTLED_MINUTES);
                rows.push(api_server(throttled, metrics().kubernetes_requests_at_once()));
            }
        }
        None => rows.push((
            "Doorbell, watch",
            "none",
            "those of the dispatcher that leads: its own page tells".to_owned(),
        )),
    }
    rows.push(oldest_snapshot(snapshot, now));
    rows.push(("Database", "none", dashboard.sessions.target()));
    html! {
        dl.facts {
            @for (name, level, words) in rows {
                dt { (name) }
                dd { @if level == "none" { (words) } @else { (marked(level, &words)) } }
            }
        }
    }
}

fn doorbell(lead: &Lead) -> String {
    let kind = if lead.doorbell == "notify" { "NOTIFY" } else { "shared memory" };
    let Some((by, at)) = lead.woken else { return format!("{kind}; nothing has woken it yet") };
    let by = match by {
        "commit" => "a commit",
        "executor" => "a run",
        _ => "a due time",
    };
    format!("{kind}; last woken {} ago, by {by}", words::between(at, clock::now()))
}

fn watch(trouble: Option<String>) -> Row {
    match trouble {
        None => ("Watch", "good", "every namespace is synced".to_owned()),
        Some(why) => ("Watch", "bad", why),
    }
}

fn api_server(throttled: u32, at_once: i64) -> Row {
    let requests = format!("{at_once} requests at once of at most {}", pace::MOST);
    let (level, told) = match throttled {
        0 => ("good", "no request was turned away (429)".to_owned()),
        many => ("warning", format!("{} turned away (429)", words::count(many.into(), "request"))),
    };
    ("API server", level, format!("{told} in the last {THROTTLED_MINUTES} minutes; {requests}"))
}

fn oldest_snapshot(snapshot: Option<&Value>, now: Timestamp) -> Row {
    let row = |level, words: String| ("Oldest snapshot", level, words);
    let Some(found) = snapshot else { return row("none", "PostgreSQL has not told".to_owned()) };
    if found["may_see"] != true {
        let role = words::text(found, "role");
        return row("none", format!("this role may not see it (GRANT pg_read_all_stats TO {role})"));
    }
    let Some(since) = words::time(found, "since") else { return row("good", "none".to_owned()) };
    let told = snapshot::told(found, since, now);
    if now.duration_since(since).as_secs_f64() < SNAPSHOT_MAX_SECONDS {
        return row("good", told);
    }
    row("warning", format!("{told}; no row that has died since can be removed"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn snapshot(found: &Value) -> (&'static str, String) {
        let (_, level, words) = oldest_snapshot(Some(found), "2026-01-02T06:00:00Z".parse().unwrap());
        (level, words)
    }

    #[test]
    fn a_snapshot_is_a_warning_when_it_is_old_and_unknown_to_who_may_not_see_it() {
        let held = |since: &str, pid: Option<i64>| {
            json!({"role": "reader", "may_see": true, "pid": pid, "holder": "shop",
            "name": "psql", "state": "idle in transaction", "since": format!("2026-01-02T{since}+00:00")})
        };
        assert_eq!(
            snapshot(&held("05:50:01", Some(7))),
            ("good", "9m59s: backend 7 (psql) of shop, idle in transaction".to_owned())
        );
        let old = "10m00s: backend 7 (psql) of shop, idle in transaction; no row that has died since can be removed";
        assert_eq!(snapshot(&held("05:50:00", Some(7))), ("warning", old.to_owned()));
        let prepared = "1h00m: the prepared transaction psql of shop, idle in transaction; no row that has died since can be removed";
        assert_eq!(snapshot(&held("05:00:00", None)), ("warning", prepared.to_owned()));
        let unseen = json!({"role": "reader", "may_see": false, "since": "2026-01-02T05:59:59+00:00"});
        let words = "this role may not see it (GRANT pg_read_all_stats TO reader)";
        assert_eq!(snapshot(&unseen), ("none", words.to_owned()));
        assert_eq!(snapshot(&json!({"may_see": true, "since": null})), ("good", "none".to_owned()));
    }

    #[test]
    fn requests_that_were_turned_away_are_a_warning() {
        let none =
            "no request was turned away (429) in the last 10 minutes; 32 requests at once of at most 256";
        assert_eq!(api_server(0, 32), ("API server", "good", none.to_owned()));
        let one = "1 request turned away (429) in the last 10 minutes; 16 requests at once of at most 256";
        assert_eq!(api_server(1, 16), ("API server", "warning", one.to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_doorbell_says_what_it_is_and_what_woke_it_last() {
        let now = clock::now();
        let mut lead = Lead { since: now, doorbell: "shared_memory", woken: None };
        assert_eq!(doorbell(&lead), "shared memory; nothing has woken it yet");
        lead.woken = Some(("commit", now));
        lead.doorbell = "notify";
        tokio::time::advance(std::time::Duration::from_secs(64)).await;
        assert_eq!(doorbell(&lead), "NOTIFY; last woken 1m04s ago, by a commit");
    }

    #[test]
    fn a_watch_that_is_not_synced_says_so() {
        assert_eq!(watch(None).1, "good");
        let why = "the watch of namespace shop is not synced".to_owned();
        assert_eq!(watch(Some(why.clone())), ("Watch", "bad", why));
    }
}
