//! Each test states one rule: a small world in, the plan out.

mod live;

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::snapshot::{
    ExecutorView, FreshBatch, JobPhase, JobView, Limit, LiveRun, Queue, Retry, StoreView, Waiting,
};

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap_or_default()
}

fn after_s(seconds: i64) -> Timestamp {
    now() + SignedDuration::from_secs(seconds)
}

fn queue() -> Queue {
    Queue {
        name: "claps".into(),
        namespace: None,
        paused: false,
        priority: 0,
        max_parallel: 10,
        limit: None,
        items_per_run: 1,
        max_per_key: None,
        max_starts: None,
        max_starts_per_ms: 60_000,
        recent_starts: vec![],
        run_timeout_ms: None,
        retry_backoff_ms: 10_000,
        retry_backoff_max_ms: 3_600_000,
        keep_succeeded: 1,
        keep_failed: 1,
        fresh: vec![],
        retries: vec![],
    }
}

fn fresh(batch: BatchId, next_item: u32, items: u32) -> FreshBatch {
    FreshBatch { batch, priority: 0, key: None, next_item, items }
}

fn retry(batch: BatchId, item: u32, attempt: u32, due_at: Timestamp) -> Retry {
    Retry { batch, priority: 0, key: None, first_item: item, last_item: item, attempt, due_at }
}

fn live(run: RunId, state: RunState) -> LiveRun {
    LiveRun {
        run,
        queue: "claps".into(),
        namespace: None,
        batch: 1,
        key: None,
        attempt: 1,
        state,
        started_at: (state == RunState::Running).then(now),
        cancel: false,
        waiting: None,
        is_ready: false,
    }
}

fn job(run: RunId, phase: JobPhase) -> JobView {
    JobView {
        run,
        queue: "claps".into(),
        phase,
        started_at: Some(now()),
        stopping: false,
        waiting: None,
        disruptions: 0,
        is_ready: None,
    }
}

fn ended(succeeded: bool, at: Timestamp) -> JobPhase {
    JobPhase::Ended(Ending { succeeded, finished_at: Some(at), ..Ending::default() })
}

fn world(queue: Queue, live: Vec<LiveRun>, jobs: Vec<JobView>) -> Snapshot {
    Snapshot {
        store: StoreView {
            now: now(),
            queues: vec![queue],
            live,
            next_not_before: None,
            namespaces: BTreeSet::new(),
            prune_at: None,
            kafka: None,
        },
        executor: ExecutorView {
            synced: true,
            namespace: "own".into(),
            jobs: jobs.into_iter().map(|j| (j.run, j)).collect(),
            ..ExecutorView::default()
        },
        local_now: now(),
    }
}

fn claimed(plan: &Plan) -> Vec<(BatchId, u32, u32, u32)> {
    plan.claims.iter().map(|c| (c.batch, c.first_item, c.last_item, c.attempt)).collect()
}

fn reasons(plan: &Plan) -> Vec<Reason> {
    plan.held.iter().map(|h| h.reason.clone()).collect()
}

fn end_states(plan: &Plan) -> Vec<(RunId, RunState)> {
    plan.ends.iter().map(|e| (e.run, e.state)).collect()
}

#[test]
fn nothing_to_do_means_nothing_and_no_timer() {
    let plan = plan(&world(queue(), vec![], vec![]));
    assert!(plan.is_empty() && plan.held.is_empty() && plan.wake_at.is_none(), "{plan:?}");
}

#[test]
fn fresh_items_start_up_to_max_parallel_and_the_rest_is_told_why() {
    let q = Queue { max_parallel: 3, fresh: vec![fresh(1, 1, 60)], ..queue() };
    let plan = plan(&world(q, vec![live(7, RunState::Running)], vec![job(7, JobPhase::Running)]));
    assert_eq!(claimed(&plan), [(1, 1, 1, 1), (1, 2, 2, 1)]);
    assert_eq!(reasons(&plan), [Reason::AtMaxParallel { max_parallel: 3 }]);
}

#[test]
fn several_items_a_run_end_with_a_short_one() {
    let q = Queue { items_per_run: 4, fresh: vec![fresh(1, 3, 9)], ..queue() };
    assert_eq!(claimed(&plan(&world(q, vec![], vec![]))), [(1, 3, 6, 1), (1, 7, 9, 1)]);
}

#[test]
fn due_retries_go_before_fresh_items_and_priority_before_both() {
    let urgent = FreshBatch { priority: 5, ..fresh(9, 1, 1) };
    let q = Queue { fresh: vec![fresh(1, 2, 2), urgent], retries: vec![retry(2, 4, 2, now())], ..queue() };
    assert_eq!(claimed(&plan(&world(q, vec![], vec![]))), [(9, 1, 1, 1), (2, 4, 4, 2), (1, 2, 2, 1)]);
}

#[test]
fn a_retry_that_is_not_due_arms_the_timer() {
    let q = Queue { retries: vec![retry(1, 1, 2, after_s(30)), retry(1, 2, 2, after_s(20))], ..queue() };
    let plan = plan(&world(q, vec![], vec![]));
    assert!(plan.is_empty());
    assert_eq!(plan.wake_at, Some(after_s(20)));
    assert_eq!(reasons(&plan), [Reason::RetryDue { at: after_s(20) }]);
}

#[test]
fn a_paused_queue_starts_nothing_and_arms_no_timer_but_its_runs_end() {
    let q = Queue {
        paused: true,
        fresh: vec![fresh(1, 1, 2)],
        retries: vec![retry(1, 1, 2, after_s(9))],
        ..queue()
    };
    let plan = plan(&world(q, vec![live(7, RunState::Running)], vec![job(7, ended(true, now()))]));
    assert_eq!(end_states(&plan), [(7, RunState::Succeeded)]);
    assert!(plan.claims.is_empty() && plan.wake_at.is_none());
    assert!(reasons(&plan).contains(&Reason::Paused));
}

#[test]
fn nothing_is_claimed_before_the_executor_knows_its_jobs() {
    let mut w =
        world(Queue { fresh: vec![fresh(1, 1, 2)], ..queue() }, vec![live(7, RunState::Running)], vec![]);
    w.executor.synced = false;
    let plan = plan(&w);
    assert!(plan.is_empty(), "a missing Job means nothing yet: {plan:?}");
    assert_eq!(reasons(&plan), [Reason::ExecutorNotReady]);
}

#[test]
fn a_key_at_its_limit_holds_its_own_batches_only() {
    let with_key = |batch, key: &str| FreshBatch { key: Some(key.into()), ..fresh(batch, 1, 2) };
    let q = Queue { max_per_key: Some(1), fresh: vec![with_key(1, "a"), with_key(2, "b")], ..queue() };
    let mut running = live(7, RunState::Running);
    running.key = Some("a".into());
    let plan = plan(&world(q, vec![running], vec![job(7, JobPhase::Running)]));
    assert_eq!(claimed(&plan), [(2, 1, 1, 1)]);
    let at = |key: &str| Reason::AtMaxPerKey { key: key.into(), max_per_key: 1 };
    assert_eq!(reasons(&plan), [at("a"), at("b")]);
}

#[test]
fn strictly_serial_means_that_a_waiting_retry_keeps_its_successors_waiting() {
    let waiting = Retry { key: Some("a".into()), ..retry(1, 1, 2, after_s(5)) };
    let next = FreshBatch { key: Some("a".into()), ..fresh(2, 1, 1) };
    let q = Queue { max_per_key: Some(1), fresh: vec![next], retries: vec![waiting], ..queue() };
    assert!(plan(&world(q, vec![], vec![])).claims.is_empty());
}

#[test]
fn a_rate_limit_counts_past_and_planned_starts() {
    let q = Queue {
        max_starts: Some(3),
        recent_starts: vec![after_s(-90), after_s(-50), after_s(-10)],
        fresh: vec![fresh(1, 1, 5)],
        ..queue()
    };
    let plan = plan(&world(q, vec![], vec![]));
    assert_eq!(plan.claims.len(), 1, "two of three starts lie inside the minute");
    assert_eq!(plan.wake_at, Some(after_s(10)));
    assert_eq!(reasons(&plan), [Reason::AtMaxStarts { until: after_s(10) }]);
}

#[test]
fn one_pass_claims_a_bounded_number() {
    let q = Queue { max_parallel: 10_000, fresh: vec![fresh(1, 1, 10_000)], ..queue() };
    assert_eq!(plan(&world(q, vec![], vec![])).claims.len(), CLAIMS_MAX);
}

#[test]
fn while_many_jobs_are_being_created_no_more_are_asked_for() {
    let q = || Queue { max_parallel: 10_000, fresh: vec![fresh(1, 1, 10_000)], ..queue() };
    let half = RunId::try_from(STARTS_MAX / 2).unwrap();
    let creating = |n: RunId| (1..=n).map(|run| job(run, JobPhase::Creating)).collect::<Vec<_>>();
    let starting =
        |from: RunId, n: RunId| (from..from + n).map(|run| live(run, RunState::Starting)).collect();
    assert_eq!(plan(&world(q(), starting(1, half), creating(half))).claims.len(), CLAIMS_MAX);
    let busy = plan(&world(q(), starting(1, half + 1), creating(half + 1)));
    assert!(busy.is_empty() && busy.wake_at.is_none());
    assert_eq!(reasons(&busy), [Reason::StartsUnderWay]);
    // Of a dispatcher that was killed before it could ask.
    let left = plan(&world(q(), starting(1, 10_000), vec![]));
    assert_eq!((left.starts.len(), left.claims.len()), (STARTS_MAX, 0));
    let few = plan(&world(q(), starting(1, half * 2 - 3), vec![]));
    assert_eq!((few.starts.len(), few.claims.len()), (STARTS_MAX - 3, 3));
}

#[test]
fn the_newest_ended_jobs_stay_and_those_not_recorded_yet_too() {
    let q = Queue { keep_succeeded: 2, keep_failed: 1, ..queue() };
    let jobs = vec![
        job(1, ended(true, after_s(-9))),
        job(2, ended(true, after_s(-1))),
        job(3, ended(true, after_s(-5))),
        job(4, ended(false, after_s(-8))),
        job(5, ended(false, after_s(-7))),
        job(6, ended(false, after_s(-99))),
    ];
    let plan = plan(&world(q, vec![live(6, RunState::Running)], jobs));
    assert_eq!(plan.removals, [1, 4]);
}

#[test]
fn a_limit_holds_several_queues_together() {
    let limit = |live| Some(Limit { name: "licences".into(), max_parallel: 3, live });
    let named =
        |name: &str| Queue { name: name.into(), limit: limit(1), fresh: vec![fresh(1, 1, 9)], ..queue() };
    let mut seen = world(named("a"), vec![], vec![]);
    seen.store.queues.push(named("b"));
    let got = plan(&seen);
    assert_eq!(got.claims.len(), 2, "three less the one that is live elsewhere");
    let reason = Reason::AtLimit { limit: "licences".into(), max_parallel: 3 };
    assert_eq!(got.held.iter().filter(|h| h.reason == reason).count(), 2);
}

#[test]
fn old_batches_are_pruned_when_they_are_due() {
    let mut seen = world(queue(), vec![], vec![]);
    seen.store.prune_at = Some(after_s(60));
    let got = plan(&seen);
    assert_eq!((got.prune, got.wake_at), (false, Some(after_s(60))));
    seen.store.prune_at = Some(now());
    assert!(plan(&seen).prune);
}

#[test]
fn a_list_under_way_holds_no_claims_and_decides_about_nobody() {
    let q = Queue { fresh: vec![fresh(1, 1, 1)], ..queue() };
    let begun = live(3, RunState::Starting);
    let mut seen = world(q, vec![live(2, RunState::Running), begun], vec![job(9, JobPhase::Running)]);
    seen.executor.unread.insert(seen.executor.namespace.clone());
    let got = plan(&seen);
    assert_eq!(claimed(&got), [(1, 1, 1, 1)], "new Jobs need not wait for the list of the old ones");
    assert!(got.ends.is_empty() && got.starts.is_empty(), "what is not in it yet may come: {got:?}");
}

#[test]
fn a_namespace_that_cannot_be_read_holds_its_own_queues_only() {
    let elsewhere = |q: Queue| Queue { name: "b".into(), namespace: Some("other".into()), ..q };
    let busy = Queue { fresh: vec![fresh(1, 1, 1)], ..queue() };
    let lost = LiveRun { namespace: Some("other".into()), ..live(1, RunState::Running) };
    let mut seen = world(busy.clone(), vec![lost, live(2, RunState::Running)], vec![]);
    seen.store.queues.push(elsewhere(busy));
    seen.executor.unread.insert("other".into());
    seen.executor.unheard.insert("other".into());
    let got = plan(&seen);
    assert_eq!((got.claims.len(), got.held.len()), (1, 1));
    assert_eq!(got.ends.iter().map(|e| e.run).collect::<Vec<_>>(), [2], "what is missing there may be there");
}

fn permitted(seen: &Snapshot) -> Vec<(String, u32)> {
    permits(seen).into_iter().map(|p| (p.queue, p.runs)).collect()
}

#[test]
fn an_idle_queue_may_start_what_it_has_room_for_before_the_next_look() {
    let running = || (vec![live(7, RunState::Running)], vec![job(7, JobPhase::Running)]);
    let (runs, jobs) = running();
    assert_eq!(permitted(&world(Queue { max_parallel: 3, ..queue() }, runs, jobs)), [("claps".into(), 2)]);
    let (runs, jobs) = running();
    assert_eq!(permitted(&world(Queue { max_parallel: 1, ..queue() }, runs, jobs)), []);
    assert_eq!(
        permitted(&world(Queue { max_parallel: 10_000, ..queue() }, vec![], vec![])),
        [("claps".into(), 256)]
    );
}

#[test]
fn what_only_a_look_can_judge_has_no_permit() {
    let limit = Some(Limit { name: "both".into(), max_parallel: 9, live: 0 });
    for q in [
        Queue { paused: true, ..queue() },
        Queue { limit, ..queue() },
        Queue { max_per_key: Some(1), ..queue() },
        Queue { max_starts: Some(1), ..queue() },
        Queue { fresh: vec![fresh(1, 1, 2)], ..queue() },
        Queue { retries: vec![retry(1, 1, 2, after_s(30))], ..queue() },
    ] {
        assert_eq!(permitted(&world(q.clone(), vec![], vec![])), [], "{q:?}");
    }
    let mut unheard = world(queue(), vec![], vec![]);
    unheard.executor.unheard.insert("own".into());
    assert_eq!(permitted(&unheard), []);
}

#[test]
fn permits_share_the_jobs_that_may_be_created_by_priority() {
    let jobs = (1..=200).map(|run| job(run, JobPhase::Creating)).collect();
    let mut w = world(Queue { max_parallel: 200, ..queue() }, vec![], jobs);
    w.store.queues.push(Queue { name: "urgent".into(), priority: 1, max_parallel: 100, ..queue() });
    w.store.queues.push(Queue { name: "zebra".into(), max_parallel: 100, ..queue() });
    assert_eq!(permitted(&w), [("urgent".into(), 100), ("claps".into(), 156)]);
}
