//! Each test states one rule: a small world in, the plan out.

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
fn a_claimed_run_without_a_job_is_created_again() {
    assert_eq!(plan(&world(queue(), vec![live(7, RunState::Starting)], vec![])).starts, [7]);
}

#[test]
fn a_create_under_way_is_left_alone() {
    for state in [RunState::Starting, RunState::Running] {
        let mut run = live(7, state);
        run.cancel = true;
        assert!(plan(&world(queue(), vec![run], vec![job(7, JobPhase::Creating)])).is_empty());
    }
}

#[test]
fn a_refused_create_is_tried_again_when_its_time_comes_by_the_local_clock() {
    let mut w = world(
        queue(),
        vec![live(7, RunState::Starting)],
        vec![job(7, JobPhase::Refused { again_at: after_s(600) })],
    );
    w.local_now = after_s(595);
    let held = plan(&w);
    assert!(held.is_empty());
    assert_eq!(held.wake_at, Some(after_s(5)));
    w.local_now = after_s(600);
    assert_eq!(plan(&w).starts, [7]);
}

#[test]
fn the_first_running_container_is_recorded_once() {
    let jobs = vec![job(7, JobPhase::Running)];
    let first = plan(&world(queue(), vec![live(7, RunState::Starting)], jobs.clone()));
    assert_eq!(first.running, [Started { run: 7, started_at: now() }]);
    assert!(plan(&world(queue(), vec![live(7, RunState::Running)], jobs)).is_empty());
}

#[test]
fn that_a_run_started_is_recorded_before_it_is_stopped_for_its_time() {
    let queue = Queue { run_timeout_ms: Some(1_000), ..queue() };
    let job = JobView { started_at: Some(after_s(-2)), ..job(7, JobPhase::Running) };
    let seen = plan(&world(queue.clone(), vec![live(7, RunState::Starting)], vec![job.clone()]));
    assert_eq!((seen.running.len(), seen.stops), (1, vec![]));
    let recorded = LiveRun { started_at: job.started_at, ..live(7, RunState::Running) };
    assert_eq!(plan(&world(queue, vec![recorded], vec![job])).stops, [7]);
}

#[test]
fn that_a_run_is_ready_is_recorded_when_it_changes_and_only_where_somebody_asks() {
    for (job_is_ready, known, noted) in [
        (None, false, None),
        (None, true, None),
        (Some(false), false, None),
        (Some(true), true, None),
        (Some(true), false, Some(true)),
        (Some(false), true, Some(false)),
    ] {
        for (phase, state) in
            [(JobPhase::Pending, RunState::Starting), (JobPhase::Running, RunState::Running)]
        {
            let run = LiveRun { is_ready: known, ..live(7, state) };
            let plan =
                plan(&world(queue(), vec![run], vec![JobView { is_ready: job_is_ready, ..job(7, phase) }]));
            let expected: Vec<Ready> = noted.map(|is_ready| Ready { run: 7, is_ready }).into_iter().collect();
            assert_eq!(plan.ready, expected, "{job_is_ready:?} {known} {state:?}");
        }
    }
}

#[test]
fn every_end_of_a_job_has_its_state() {
    let timeout = Some(1_000);
    let cases = [
        (ended(true, now()), false, false, RunState::Succeeded),
        (ended(false, now()), false, false, RunState::Failed),
        (ended(true, now()), true, false, RunState::Succeeded),
        (ended(false, now()), true, true, RunState::Cancelled),
        (ended(false, now()), false, true, RunState::TimedOut),
        (ended(false, after_s(-2)), false, true, RunState::Failed),
        (JobPhase::Gone, true, true, RunState::Cancelled),
        (JobPhase::Gone, false, true, RunState::TimedOut),
    ];
    for (phase, cancel, stopping, expected) in cases {
        let mut run = live(7, RunState::Running);
        run.cancel = cancel;
        run.started_at = Some(after_s(-2));
        let job = JobView { stopping, ..job(7, phase.clone()) };
        let plan = plan(&world(Queue { run_timeout_ms: timeout, ..queue() }, vec![run], vec![job]));
        assert_eq!(end_states(&plan), [(7, expected)], "{phase:?} cancel={cancel}");
    }
}

#[test]
fn a_job_that_vanished_is_lost_and_its_items_wait_inside_the_window() {
    for jobs in [vec![], vec![job(7, JobPhase::Gone)]] {
        let plan = plan(&world(queue(), vec![live(7, RunState::Running)], jobs));
        assert_eq!(end_states(&plan), [(7, RunState::Lost)]);
        assert_eq!(plan.ends[0].retry_window_ms, 10_000);
    }
}

#[test]
fn a_run_over_its_time_is_stopped_once_and_one_inside_arms_the_timer() {
    let q = || Queue { run_timeout_ms: Some(60_000), ..queue() };
    let mut run = live(7, RunState::Running);
    let going = plan(&world(q(), vec![run.clone()], vec![job(7, JobPhase::Running)]));
    assert_eq!((going.stops.len(), going.wake_at), (0, Some(after_s(60))));
    run.started_at = Some(after_s(-60));
    assert_eq!(plan(&world(q(), vec![run.clone()], vec![job(7, JobPhase::Running)])).stops, [7]);
    let stopping = JobView { stopping: true, ..job(7, JobPhase::Running) };
    assert!(plan(&world(q(), vec![run], vec![stopping])).is_empty());
}

#[test]
fn waiting_for_a_node_or_an_image_does_not_count_towards_run_timeout() {
    let pending = JobView { started_at: None, ..job(7, JobPhase::Pending) };
    let q = Queue { run_timeout_ms: Some(1), ..queue() };
    let plan = plan(&world(q, vec![live(7, RunState::Starting)], vec![pending]));
    assert!(plan.is_empty() && plan.wake_at.is_none());
}

#[test]
fn a_cancelled_batch_stops_its_jobs_and_ends_those_that_never_had_one() {
    let mut run = live(7, RunState::Starting);
    run.cancel = true;
    let going = plan(&world(queue(), vec![run.clone()], vec![job(7, JobPhase::Pending)]));
    assert_eq!(going.stops, [7]);
    assert_eq!(end_states(&plan(&world(queue(), vec![run], vec![]))), [(7, RunState::Cancelled)]);
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

fn unschedulable() -> Waiting {
    Waiting { reason: "Unschedulable".into(), message: "0/1 nodes are available".into() }
}

#[test]
fn why_a_run_does_not_start_is_noted_once_and_withdrawn_when_it_is_over() {
    let waits = JobView { waiting: Some(unschedulable()), started_at: None, ..job(1, JobPhase::Pending) };
    let starting = live(1, RunState::Starting);
    let got = plan(&world(queue(), vec![starting.clone()], vec![waits.clone()]));
    assert_eq!(got.notes, [Note { run: 1, waiting: Some(unschedulable()) }]);

    let noted = LiveRun { waiting: Some(unschedulable()), ..starting };
    assert!(plan(&world(queue(), vec![noted.clone()], vec![waits])).is_empty());

    let pending = JobView { started_at: None, ..job(1, JobPhase::Pending) };
    let got = plan(&world(queue(), vec![noted.clone()], vec![pending]));
    assert_eq!(got.notes, [Note { run: 1, waiting: None }]);

    let got = plan(&world(queue(), vec![noted], vec![job(1, JobPhase::Running)]));
    assert!(got.notes.is_empty() && got.running.len() == 1, "that it runs says it all");
}

#[test]
fn a_refusal_is_noted_while_it_lasts() {
    let refused =
        JobView { waiting: Some(unschedulable()), ..job(1, JobPhase::Refused { again_at: after_s(5) }) };
    let got = plan(&world(queue(), vec![live(1, RunState::Starting)], vec![refused]));
    assert_eq!(got.notes.len(), 1);
}

#[test]
fn a_job_without_a_live_run_is_asked_about_unless_it_ended_or_stops() {
    let stopping = JobView { stopping: true, ..job(3, JobPhase::Running) };
    let jobs =
        vec![job(1, JobPhase::Running), job(2, ended(true, now())), stopping, job(4, JobPhase::Creating)];
    assert_eq!(plan(&world(queue(), vec![], jobs)).strays, [1]);
    let alive = world(queue(), vec![live(1, RunState::Running)], vec![job(1, JobPhase::Running)]);
    assert!(plan(&alive).strays.is_empty());
}

#[test]
fn a_disruption_burns_no_attempt_and_too_many_stop_the_run() {
    let often = JobView { disruptions: DISRUPTIONS_MAX + 1, ..job(1, JobPhase::Running) };
    let running = live(1, RunState::Running);
    assert_eq!(plan(&world(queue(), vec![running.clone()], vec![often.clone()])).stops, [1]);
    let gone = JobView { phase: JobPhase::Gone, stopping: true, ..often };
    let [end] = &plan(&world(queue(), vec![running.clone()], vec![gone])).ends[..] else {
        unreachable!("one end")
    };
    assert_eq!((end.state, end.ending.disrupted), (RunState::Failed, true));
    assert_eq!(end.ending.reason.as_deref(), Some("DisruptedTooOften"));

    let ending = Ending { disrupted: true, ..Ending::default() };
    let evicted = world(queue(), vec![running.clone()], vec![job(1, JobPhase::Ended(ending.clone()))]);
    assert!(plan(&evicted).ends[0].ending.disrupted);
    let cancelled = LiveRun { cancel: true, ..running };
    let got = plan(&world(queue(), vec![cancelled], vec![job(1, JobPhase::Ended(ending))]));
    assert_eq!((got.ends[0].state, got.ends[0].ending.disrupted), (RunState::Cancelled, false));
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
