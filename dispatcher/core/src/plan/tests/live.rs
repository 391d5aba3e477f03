//! Live runs, beside what is seen of their Jobs.

use super::*;
use crate::notice::StopReason;

fn stop(run: RunId, why: StopReason) -> Stop {
    Stop { run, why }
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
    assert_eq!(plan(&world(queue, vec![recorded], vec![job])).stops, [stop(7, StopReason::RunTimeout)]);
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
    assert_eq!(
        plan(&world(q(), vec![run.clone()], vec![job(7, JobPhase::Running)])).stops,
        [stop(7, StopReason::RunTimeout)]
    );
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
    assert_eq!(going.stops, [stop(7, StopReason::Cancelled)]);
    assert_eq!(end_states(&plan(&world(queue(), vec![run], vec![]))), [(7, RunState::Cancelled)]);
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
    assert_eq!(
        plan(&world(queue(), vec![running.clone()], vec![often.clone()])).stops,
        [stop(1, StopReason::DisruptedTooOften)]
    );
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
