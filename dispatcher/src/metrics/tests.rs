//! What is rendered, and what is timed.

use pgbatch_core::snapshot::{Ending, ExecutorView, JobPhase, JobView};
use serde_json::json;
use tokio::time::advance;

use super::*;
use crate::store::Counts;
use crate::trigger::kafka::KAFKA;
use crate::trigger::scaled_job::SCALED_JOB;

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

fn counts(queues: &[(&str, i64, Option<&str>)], triggers: &[(&str, &str, bool, Option<f64>)]) -> Counts {
    let queues: Vec<_> = queues
        .iter()
        .map(|(name, pending, oldest)| {
            json!({"name": name, "pending": pending, "running": 2, "retrying": 3, "failed": 4, "oldest_pending": oldest})
        })
        .collect();
    let triggers: Vec<_> = triggers
        .iter()
        .map(|(kind, name, is_in_error, value)| {
            json!({"kind": kind, "name": name, "is_in_error": is_in_error, "value": value,
                   "fired_at": value.map(|_| "1970-01-01T00:01:00.5Z")})
        })
        .collect();
    serde_json::from_value(json!({"queues": queues, "triggers": triggers})).unwrap()
}

#[test]
fn items_and_triggers_are_those_that_were_counted_last() {
    let metrics = Metrics::new();
    metrics.trigger(KAFKA, "k", false);
    metrics.trigger(SCALED_JOB, "ns/s", true);
    let counted = counts(
        &[("a", 7, Some("1970-01-01T00:00:09Z")), ("b", 0, None)],
        // What PostgreSQL was told of a topic is older than what is known here.
        &[("count", "c", true, Some(1.5)), (KAFKA, "k", true, None)],
    );
    metrics.counted(&counted, Duration::ZERO);
    for line in [
        r#"pgbatch_items{queue="a",state="pending"} 7"#,
        r#"pgbatch_items{queue="a",state="running"} 2"#,
        r#"pgbatch_items{queue="a",state="retrying"} 3"#,
        r#"pgbatch_items{queue="b",state="failed"} 4"#,
        r#"pgbatch_oldest_pending_timestamp_seconds{queue="a"} 9.0"#,
        r#"pgbatch_trigger_error{kind="count",trigger="c"} 1"#,
        r#"pgbatch_trigger_error{kind="kafka",trigger="k"} 0"#,
        r#"pgbatch_trigger_error{kind="scaled_job",trigger="ns/s"} 1"#,
        r#"pgbatch_trigger_value{kind="count",trigger="c"} 1.5"#,
        r#"pgbatch_trigger_last_fired_timestamp_seconds{kind="count",trigger="c"} 60.5"#,
    ] {
        assert!(has(&metrics, line), "{line} is not in\n{}", rendered(&metrics));
    }
    assert!(!rendered(&metrics).contains(r#"pgbatch_oldest_pending_timestamp_seconds{queue="b""#));
    assert!(!rendered(&metrics).contains(r#"pgbatch_trigger_value{kind="kafka""#));

    metrics.counted(&counts(&[("b", 0, None)], &[]), Duration::ZERO);
    let left = rendered(&metrics);
    for gone in [r#"pgbatch_items{queue="a""#, r#"kind="count""#, "pgbatch_oldest_pending_timestamp_seconds{"]
    {
        assert!(!left.contains(gone), "{gone} is in\n{left}");
    }
    metrics.lead_lost();
    assert!(!rendered(&metrics).contains("pgbatch_items{"));
}

#[test]
fn queues_beyond_the_thousandth_are_counted_together() {
    let metrics = Metrics::new();
    let names: Vec<String> = (0..QUEUES_MAX + 2).map(|number| format!("q{number:04}")).collect();
    let at = |seconds| format!("1970-01-01T00:00:{seconds:02}Z");
    let times: Vec<String> = (0..names.len()).map(|number| at(59 - number % 60)).collect();
    let queues: Vec<_> =
        names.iter().zip(&times).map(|(name, at)| (name.as_str(), 5, Some(at.as_str()))).collect();
    metrics.counted(&counts(&queues, &[]), Duration::ZERO);
    assert!(has(&metrics, r#"pgbatch_items{queue="(other)",state="pending"} 10"#));
    // The later of the two is the older one.
    assert!(has(&metrics, r#"pgbatch_oldest_pending_timestamp_seconds{queue="(other)"} 18.0"#));
}

#[tokio::test(start_paused = true)]
async fn it_is_counted_once_for_what_has_changed_and_not_too_often() {
    let metrics = Metrics::new();
    assert!(!metrics.count(), "nothing was looked at");
    looks_at(&metrics, &[], &[]);
    assert!(metrics.count());
    advance(Duration::from_hours(1)).await;
    assert!(!metrics.count(), "nothing has changed");
    metrics.trigger_lag("k", 5);
    assert!(metrics.count(), "a lag has changed");
    looks_at(&metrics, &[], &[]);
    assert!(!metrics.count(), "too soon");
    advance(Duration::from_secs(1)).await;
    assert!(metrics.count());
    metrics.not_counted();
    advance(Duration::from_secs(1)).await;
    assert!(metrics.count(), "it has failed");
    metrics.counted(&Counts::default(), Duration::from_secs(3));
    looks_at(&metrics, &[], &[]);
    advance(Duration::from_secs(59)).await;
    assert!(!metrics.count(), "it has had its share of the time");
    advance(Duration::from_secs(1)).await;
    assert!(metrics.count());
}
