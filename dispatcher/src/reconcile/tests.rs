//! When the executor's news need no look at PostgreSQL.

use jiff::SignedDuration;
use pgbatch_core::snapshot::{Ending, JobView};
use serde_json::json;

use super::*;

const RUN: i64 = 7;
const TIMEOUT: Duration = Duration::from_secs(60);

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn view(phase: JobPhase) -> ExecutorView {
    let started_at = (phase == JobPhase::Running).then(now);
    let job = JobView {
        run: RUN,
        queue: "q".into(),
        phase,
        started_at,
        stopping: false,
        waiting: None,
        disruptions: 0,
        is_ready: None,
    };
    ExecutorView { synced: true, jobs: [(RUN, job)].into(), ..ExecutorView::default() }
}

/// A look at one live run, which leaves nothing to do.
fn look(state: &str, phase: JobPhase) -> Look {
    let store = json!({
        "now": now(), "next_not_before": null, "namespaces": [], "prune_at": null,
        "queues": [{
            "name": "q", "namespace": null, "paused": false, "priority": 0, "max_parallel": 1, "limit": null,
            "items_per_run": 1, "max_per_key": null, "max_starts": null, "max_starts_per_ms": 1, "recent_starts": [],
            "run_timeout_ms": 60_000, "retry_backoff_ms": 1, "retry_backoff_max_ms": 1, "keep_succeeded": 0,
            "keep_failed": 0, "fresh": [], "retries": []}],
        "live": [{
            "run": RUN, "queue": "q", "namespace": null, "batch": 1, "key": null, "attempt": 1, "state": state,
            "started_at": (state == "running").then(now), "cancel": false, "waiting": null}],
    });
    let store = serde_json::from_value(store).unwrap();
    let seen = Snapshot { store, executor: view(phase), local_now: now() };
    assert!(plan(&seen).is_empty());
    Look { seen, with_history: BTreeSet::new(), at: Instant::now(), next: None }
}

fn still_holds(look: &mut Look, phase: JobPhase) -> bool {
    look.still_holds(view(phase), &mut Vec::new())
}

#[tokio::test(start_paused = true)]
async fn what_changes_nothing_asks_nothing() {
    let mut look = look("starting", JobPhase::Creating);
    assert!(still_holds(&mut look, JobPhase::Pending), "the Job is there");
    assert!(!still_holds(&mut look, JobPhase::Running), "to be written down");
}

#[tokio::test(start_paused = true)]
async fn an_end_asks() {
    let mut look = look("running", JobPhase::Running);
    assert!(!still_holds(&mut look, JobPhase::Ended(Ending::default())));
}

#[tokio::test(start_paused = true)]
async fn an_ended_job_of_a_queue_that_was_not_asked_about_asks() {
    let mut look = look("running", JobPhase::Running);
    look.seen.store.live.clear();
    assert!(!still_holds(&mut look, JobPhase::Ended(Ending::default())));
    look.with_history.insert("q".to_owned());
    look.seen.store.queues[0].keep_failed = 1;
    assert!(still_holds(&mut look, JobPhase::Ended(Ending::default())), "its queue keeps it");
}

#[tokio::test(start_paused = true)]
async fn time_goes_on_meanwhile() {
    let mut look = look("running", JobPhase::Running);
    tokio::time::advance(TIMEOUT / 2).await;
    assert!(still_holds(&mut look, JobPhase::Running));
    let left = look.next.unwrap() - Instant::now();
    assert_eq!(left.as_secs(), 30, "until its run_timeout is over: {left:?}");
    assert_eq!(look.seen.store.now, now() + SignedDuration::from_secs(30));
    tokio::time::advance(TIMEOUT / 2).await;
    assert!(!still_holds(&mut look, JobPhase::Running), "it is to be stopped");
}
