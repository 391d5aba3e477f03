//! What is rendered, what is timed, and that README, alerts and dashboard speak of nothing else.

use std::collections::BTreeSet;

use pgbatch_core::snapshot::{Ending, ExecutorView, JobPhase, JobView};
use serde_json::json;
use tokio::time::advance;

use super::*;

const README: &str = include_str!("../../../README.md");
const ALERTS: &str = include_str!("../../../deploy/helm/pgbatch/files/alerts.yaml");
const DASHBOARD: &str = include_str!("../../../deploy/helm/pgbatch/files/dashboard.json");

fn rendered(metrics: &Metrics) -> String {
    metrics.render(Duration::ZERO)
}

fn has(metrics: &Metrics, line: &str) -> bool {
    rendered(metrics).lines().any(|l| l == line)
}

fn spec(queue: &str, run: i64, attempt: u32, waited_ms: Option<i64>) -> RunSpec {
    serde_json::from_value(json!({
        "run": run, "queue": queue, "batch": 1, "namespace": null, "first_item": 1, "last_item": 1, "attempt": attempt,
        "token": "t", "items": [{}], "items_per_run": 1, "job_template": null, "waited_ms": waited_ms}))
    .unwrap()
}

fn looks_at(metrics: &Metrics, queues: &[&str], live: &[(&str, &str)]) {
    let queues: Vec<_> = queues
        .iter()
        .map(|name| {
            json!({
                "name": name, "namespace": null, "paused": false, "priority": 0, "max_parallel": 1, "limit": null,
                "items_per_run": 1, "max_per_key": null, "max_starts": null, "max_starts_per_ms": 1, "recent_starts": [],
                "run_timeout_ms": null, "retry_backoff_ms": 1, "retry_backoff_max_ms": 1, "keep_succeeded": 0,
                "keep_failed": 0, "fresh": [], "retries": []})
        })
        .collect();
    let live: Vec<_> = live
        .iter()
        .enumerate()
        .map(|(run, (queue, state))| {
            json!({
                "run": run, "queue": queue, "namespace": null, "batch": 1, "key": null, "attempt": 1, "state": state,
                "started_at": null, "cancel": false, "waiting": null})
        })
        .collect();
    let view = json!({"now": "2026-01-01T00:00:00Z", "next_not_before": null, "namespaces": [], "prune_at": null,
        "queues": queues, "live": live});
    metrics.looked(&serde_json::from_value(view).unwrap());
}

fn job(run: i64, phase: JobPhase, has_started: bool) -> ExecutorView {
    let started_at = has_started.then_some(Timestamp::UNIX_EPOCH);
    let job = JobView {
        run,
        queue: "q".into(),
        phase,
        started_at,
        stopping: false,
        waiting: None,
        disruptions: 0,
        is_ready: None,
    };
    ExecutorView { jobs: [(run, job)].into(), ..ExecutorView::default() }
}

fn ended(state: RunState, seconds: Option<i64>) -> End {
    let at = |seconds: i64| Timestamp::from_second(1_700_000_000 + seconds).unwrap();
    let finished_at = seconds.map(at);
    let ending = Ending { finished_at, ..Ending::default() };
    End { run: 1, state, started_at: finished_at.map(|_| at(0)), ending, retry_window_ms: 0 }
}

#[test]
fn it_is_prometheus_text_with_help_type_and_labels() {
    let metrics = Metrics::new();
    metrics.run_claimed(&spec("we\"ird", 1, 2, Some(20)));
    let text = rendered(&metrics);
    for line in [
        "# HELP pgbatch_runs_retried_total Those of them that were not the first attempt.",
        "# TYPE pgbatch_runs_retried_total counter",
        r#"pgbatch_runs_retried_total{queue="we\"ird"} 1"#,
        r#"pgbatch_enqueue_to_claim_seconds_bucket{queue="we\"ird",le="0.01"} 0"#,
        r#"pgbatch_enqueue_to_claim_seconds_bucket{queue="we\"ird",le="0.025"} 1"#,
        r#"pgbatch_enqueue_to_claim_seconds_sum{queue="we\"ird"} 0.02"#,
        "# TYPE pgbatch_leader gauge",
        "pgbatch_leader 0",
        concat!("pgbatch_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
}

#[test]
fn a_queue_that_is_new_has_a_zero_for_each_way_to_end() {
    let metrics = Metrics::new();
    looks_at(&metrics, &["q"], &[]);
    for state in ["succeeded", "failed", "timed_out", "lost", "cancelled"] {
        assert!(
            has(&metrics, &format!("pgbatch_runs_ended_total{{queue=\"q\",state=\"{state}\"}} 0")),
            "{state}"
        );
    }
}

#[test]
fn live_runs_are_those_of_the_last_look_and_a_queue_that_is_gone_has_none() {
    let metrics = Metrics::new();
    looks_at(&metrics, &["a", "b"], &[("a", "running"), ("a", "running"), ("a", "starting")]);
    assert!(has(&metrics, r#"pgbatch_runs_live{queue="a",state="running"} 2"#));
    assert!(has(&metrics, r#"pgbatch_runs_live{queue="a",state="starting"} 1"#));
    assert!(has(&metrics, r#"pgbatch_runs_live{queue="b",state="running"} 0"#));
    looks_at(&metrics, &["b"], &[]);
    assert!(!rendered(&metrics).contains(r#"pgbatch_runs_live{queue="a""#));
    metrics.lead_lost();
    assert!(!rendered(&metrics).contains("pgbatch_runs_live{"));
}

#[test]
fn who_leads_says_so_and_who_does_not_any_more_too() {
    let metrics = Metrics::new();
    metrics.lead_taken(7, "notify");
    for line in ["pgbatch_leader 1", "pgbatch_leader_epoch 7", r#"pgbatch_doorbell_info{kind="notify"} 1"#] {
        assert!(has(&metrics, line), "{line}");
    }
    metrics.lead_lost();
    assert!(has(&metrics, "pgbatch_leader 0"));
    assert!(!rendered(&metrics).contains("pgbatch_doorbell_info{"));
}

#[test]
fn an_end_is_counted_by_its_state_and_timed_where_a_container_ran() {
    let metrics = Metrics::new();
    metrics.run_ended("q", &ended(RunState::Failed, Some(90)));
    metrics.run_ended("q", &ended(RunState::Lost, None));
    assert!(has(&metrics, r#"pgbatch_runs_ended_total{queue="q",state="failed"} 1"#));
    assert!(has(&metrics, r#"pgbatch_runs_ended_total{queue="q",state="lost"} 1"#));
    assert!(has(&metrics, r#"pgbatch_run_duration_seconds_count{queue="q"} 1"#));
    assert!(has(&metrics, r#"pgbatch_run_duration_seconds_sum{queue="q"} 90.0"#));
}

#[test]
fn triggers_that_are_dropped_disappear_and_those_of_another_kind_stay() {
    let metrics = Metrics::new();
    metrics.trigger("kafka", "a", true);
    metrics.trigger("kafka", "b", false);
    metrics.trigger("scaled_job", "ns/a", true);
    metrics.trigger_lag("a", 12);
    assert!(has(&metrics, r#"pgbatch_trigger_kafka_lag{trigger="a"} 12"#));
    metrics.keep_triggers("kafka", |name| name == "b");
    assert!(has(&metrics, r#"pgbatch_trigger_error{kind="kafka",trigger="b"} 0"#));
    assert!(has(&metrics, r#"pgbatch_trigger_error{kind="scaled_job",trigger="ns/a"} 1"#));
    let text = rendered(&metrics);
    assert!(
        !text.contains(r#"kind="kafka",trigger="a""#) && !text.contains("pgbatch_trigger_kafka_lag{"),
        "{text}"
    );
}

#[test]
fn the_series_are_bounded_whatever_the_number_of_queues() {
    let metrics = Metrics::new();
    for number in 0..QUEUES_MAX + 5 {
        metrics.run_claimed(&spec(&format!("q{number}"), 1, 1, None));
    }
    assert!(has(&metrics, r#"pgbatch_runs_claimed_total{queue="q999"} 1"#));
    assert!(has(&metrics, r#"pgbatch_runs_claimed_total{queue="(other)"} 5"#));
}

#[tokio::test(start_paused = true)]
async fn each_step_of_a_run_is_timed_once() {
    let (metrics, mut progress) = (Metrics::new(), Progress::default());
    progress.claim(&spec("q", 1, 1, None), &metrics);
    advance(Duration::from_secs(2)).await;
    progress.see(&job(1, JobPhase::Creating, false), &metrics);
    progress.see(&job(1, JobPhase::Pending, false), &metrics);
    advance(Duration::from_secs(3)).await;
    progress.see(&job(1, JobPhase::Pending, false), &metrics);
    progress.see(&job(1, JobPhase::Running, true), &metrics);
    advance(Duration::from_secs(9)).await;
    progress.see(&job(1, JobPhase::Running, true), &metrics);
    for line in [
        "pgbatch_claim_to_create_seconds_count 1",
        "pgbatch_claim_to_create_seconds_sum 2.0",
        r#"pgbatch_create_to_running_seconds_count{queue="q"} 1"#,
        r#"pgbatch_create_to_running_seconds_sum{queue="q"} 3.0"#,
    ] {
        assert!(has(&metrics, line), "{line} is not in\n{}", rendered(&metrics));
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_ended_between_two_looks_has_run_and_a_rejected_one_has_not() {
    let (metrics, mut progress) = (Metrics::new(), Progress::default());
    for (queue, run, has_started) in [("ran", 1, true), ("rejected", 2, false)] {
        progress.claim(&spec(queue, run, 1, None), &metrics);
        progress.see(&job(run, JobPhase::Ended(Ending::default()), has_started), &metrics);
    }
    assert!(has(&metrics, "pgbatch_claim_to_create_seconds_count 1"));
    assert!(has(&metrics, r#"pgbatch_create_to_running_seconds_count{queue="ran"} 1"#));
}

/// The words of a text that look like a metric of ours.
fn named(text: &str) -> BTreeSet<String> {
    let starts = text.match_indices("pgbatch_").filter(|(at, _)| {
        !text[..*at].ends_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/' | '.'))
    });
    let names = starts.map(|(at, _)| {
        text[at..].chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect::<String>()
    });
    names.collect()
}

#[test]
fn alerts_and_dashboard_ask_for_series_that_there_are() {
    let there_are = Metrics::new().catalogue.series();
    for (what, text) in [("alerts.yaml", ALERTS), ("dashboard.json", DASHBOARD)] {
        let asked = named(text);
        assert!(!asked.is_empty(), "{what} asks for nothing");
        let unknown: Vec<_> = asked.difference(&there_are).collect();
        assert!(unknown.is_empty(), "{what} asks for {unknown:?}");
    }
}

#[test]
fn the_table_of_the_readme_is_the_catalogue() {
    let table = Metrics::new().catalogue.table();
    assert!(README.contains(&table), "the table is to be\n{table}");
    let section = README.split("### Metrics").nth(1).and_then(|rest| rest.split("\n### ").next()).unwrap();
    let mut there_are = Metrics::new().catalogue.series();
    there_are.extend(named(&table));
    let unknown: Vec<_> = named(section).difference(&there_are).cloned().collect();
    assert!(unknown.is_empty(), "the README speaks of {unknown:?}");
}

#[test]
fn each_alert_has_its_line_in_the_readme_and_words_for_who_is_woken() {
    let alerts: Vec<&str> = ALERTS.split("- alert: ").skip(1).collect();
    assert_eq!(alerts.len(), 7);
    for alert in alerts {
        let name = alert.lines().next().unwrap();
        assert!(README.contains(&format!("| `{name}` |")), "the README says nothing of {name}");
        for part in ["severity: ", "summary: ", "description: ", "runbook: "] {
            assert!(alert.contains(part), "{name} has no {part}");
        }
    }
}
