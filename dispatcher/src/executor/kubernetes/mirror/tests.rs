use pgbatch_core::snapshot::Ending;

use super::super::facts::{ContainerEnd, ContainerFacts, IMAGE_PULL};
use super::super::job_api::Watched;
use super::*;

mod gone;

const NS: &str = "batch";
const RUN: RunId = 7;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn waits(reason: &str) -> Waiting {
    Waiting { reason: reason.into(), message: format!("words about {reason}") }
}

fn blocked(uid: &str) -> BlockedFacts {
    BlockedFacts { run: RUN, uid: uid.into(), why: waits("FailedCreate") }
}

fn target(token: &str) -> Target {
    Target { run: RUN, namespace: NS.into(), name: "q-7".into(), uid: None, token: Some(token.into()) }
}

fn job(terminal: Option<bool>) -> JobFacts {
    JobFacts {
        run: RUN,
        queue: "q".into(),
        batch: Some("1".into()),
        namespace: NS.into(),
        name: "q-7".into(),
        uid: "u1".into(),
        token: Some("t".into()),
        deleting: false,
        single: true,
        terminal: terminal.map(|succeeded| Terminal {
            succeeded,
            finished_at: Some(at(90)),
            reason: (!succeeded).then(|| "BackoffLimitExceeded".into()),
            message: None,
        }),
    }
}

/// A pod that waits (None), runs (Some(None)), or ended.
fn pod(state: Option<Option<i32>>) -> PodFacts {
    let container = state.map(|exit_code| ContainerFacts {
        name: "main".into(),
        started_at: Some(at(10)),
        ended: exit_code.map(|exit_code| ContainerEnd {
            finished_at: Some(at(80)),
            exit_code,
            reason: Some("Error".into()),
            message: Some("words".into()),
        }),
    });
    PodFacts {
        run: RUN,
        queue: "q".into(),
        namespace: NS.into(),
        name: "q-7-abc".into(),
        live: !matches!(state, Some(Some(_))),
        containers: container.into_iter().collect(),
        ..PodFacts::default()
    }
}

/// A mirror whose first lists were empty.
fn synced() -> Mirror {
    let mut mirror = Mirror::new(NS);
    mirror.add_namespace(NS);
    mirror.tell_namespaces();
    relist(&mut mirror, &[], &[]);
    assert!(mirror.view().has_read(None));
    mirror.take_changed();
    mirror
}

fn relist(mirror: &mut Mirror, jobs: &[JobFacts], pods: &[PodFacts]) {
    mirror.begin_jobs(NS);
    jobs.iter().for_each(|job| mirror.list_job(job.clone()));
    mirror.end_jobs(NS);
    mirror.begin_pods(NS);
    pods.iter().for_each(|pod| mirror.list_pod(pod.clone()));
    mirror.end_pods(NS);
}

/// A mirror with a started Job that the watch has seen.
fn with_job() -> Mirror {
    let mut mirror = synced();
    assert!(mirror.begin(&target("t"), "q"));
    create(&mut mirror);
    mirror.apply_job(job(None));
    mirror
}

/// The API server answers at once.
fn read(mirror: &mut Mirror, job: Option<JobFacts>) {
    let as_of = mirror.lists_ended(NS);
    mirror.read(RUN, job, as_of);
}

/// The create request succeeds.
fn create(mirror: &mut Mirror) {
    mirror.created(RUN);
    assert_eq!(mirror.end_create(RUN), None);
}

fn view(mirror: &Mirror) -> JobView {
    mirror.view().jobs.remove(&RUN).unwrap()
}

fn phase(mirror: &Mirror) -> JobPhase {
    view(mirror).phase
}

fn ending(mirror: &Mirror) -> Ending {
    match phase(mirror) {
        JobPhase::Ended(ending) => ending,
        other => panic!("not ended: {other:?}"),
    }
}

#[test]
fn the_first_list_is_worth_a_look_when_it_begins_to_come_and_when_it_is_complete() {
    let other = JobFacts { run: RUN + 1, uid: "other".into(), ..job(None) };
    let mut mirror = Mirror::new(NS);
    mirror.add_namespace(NS);
    mirror.tell_namespaces();
    mirror.begin_jobs(NS);
    assert!(!mirror.view().has_heard(None), "no answer, for all that is known");
    mirror.list_job(job(None));
    assert!(mirror.take_changed() && mirror.view().has_heard(None) && !mirror.view().has_read(None));
    mirror.list_job(other);
    assert!(!mirror.take_changed());
    mirror.end_jobs(NS);
    assert!(mirror.take_changed());
    mirror.begin_pods(NS);
    mirror.end_pods(NS);
    assert!(mirror.view().has_read(None));
    relist(&mut mirror, &[JobFacts { deleting: true, ..job(None) }], &[]);
    assert!(mirror.take_changed(), "a later one may show what the watch has not");
}

#[test]
fn a_life() {
    let mut mirror = synced();
    assert!(mirror.begin(&target("t"), "q"));
    assert!(!mirror.begin(&target("t"), "q"), "one start at a time");
    assert_eq!(phase(&mirror), JobPhase::Creating);
    mirror.created(RUN);
    assert_eq!(phase(&mirror), JobPhase::Creating, "answered is not seen");
    mirror.apply_job(job(None));
    assert_eq!(phase(&mirror), JobPhase::Pending);
    mirror.apply_pod(pod(None));
    assert_eq!(phase(&mirror), JobPhase::Pending);
    mirror.apply_pod(pod(Some(None)));
    assert_eq!((phase(&mirror), view(&mirror).started_at), (JobPhase::Running, Some(at(10))));
    mirror.apply_pod(pod(Some(Some(3))));
    assert_eq!(phase(&mirror), JobPhase::Running, "the fate is the Job's");
    mirror.apply_job(job(Some(false)));
    let end = ending(&mirror);
    assert_eq!((end.exit_code, end.message.as_deref()), (Some(3), Some("words")));
    assert_eq!(mirror.take_questions(), []);
    mirror.forget(RUN);
    assert_eq!(ending(&mirror).message, None, "what is recorded is not kept twice");
    mirror.delete_job(&job(Some(false)));
    assert!(mirror.view().jobs.is_empty());
}

#[test]
fn only_what_the_planner_sees_wakes_it() {
    let mut mirror = with_job();
    assert!(mirror.take_changed());
    mirror.apply_job(job(None));
    mirror.apply_pod(pod(None));
    assert!(!mirror.take_changed());
    mirror.apply_pod(pod(Some(None)));
    assert!(mirror.take_changed());
}

#[test]
fn an_end_without_a_word_of_the_pods_is_asked_for_once() {
    let mut mirror = with_job();
    mirror.apply_job(job(Some(false)));
    mirror.apply_job(job(Some(false)));
    assert_eq!(phase(&mirror), JobPhase::Pending);
    assert!(view(&mirror).stopping, "the planner does not stop it: its pods would go before they are asked");
    assert_eq!(mirror.take_questions(), [Question::Pods(RUN)]);
    mirror.answer_pods(RUN, vec![pod(Some(Some(3)))]);
    assert!(!view(&mirror).stopping);
    assert_eq!(ending(&mirror).exit_code, Some(3));

    let mut mirror = with_job();
    mirror.apply_job(job(Some(false)));
    mirror.answer_pods(RUN, vec![]);
    assert_eq!(ending(&mirror).reason.as_deref(), Some("BackoffLimitExceeded"));
}

#[test]
fn the_first_list_of_pods_answers_for_the_jobs_that_ended_before() {
    let mut mirror = Mirror::new(NS);
    mirror.add_namespace(NS);
    relist(&mut mirror, &[job(Some(true))], &[]);
    assert_eq!(mirror.take_questions(), []);
    assert!(ending(&mirror).succeeded);
}

#[test]
fn a_refused_start_can_be_tried_again_or_stopped() {
    let mut mirror = synced();
    mirror.begin(&target("t"), "q");
    mirror.refuse(RUN, waits("QuotaExceeded"), |refusals| at(refusals.into()));
    assert_eq!(phase(&mirror), JobPhase::Refused { again_at: at(1) });
    assert!(mirror.begin(&target("t"), "q"));
    mirror.refuse(RUN, waits("QuotaExceeded"), |refusals| at(refusals.into()));
    assert_eq!(mirror.end_create(RUN), None);
    assert_eq!(phase(&mirror), JobPhase::Refused { again_at: at(2) }, "refusals in a row count");
    let asked = mirror.stop(RUN).unwrap();
    assert_eq!((asked.uid, asked.token.as_deref()), (None, Some("t")));
    assert_eq!(phase(&mirror), JobPhase::Creating, "until the delete is answered");
    read(&mut mirror, None);
    mirror.answer_pods(RUN, vec![]);
    assert_eq!(phase(&mirror), JobPhase::Gone);
}

#[test]
fn a_rejected_start_is_an_end_that_only_memory_has() {
    let mut mirror = synced();
    mirror.begin(&target("t"), "q");
    mirror.reject(RUN, at(5), "JobRejected", "no".into());
    assert_eq!(ending(&mirror).reason.as_deref(), Some("JobRejected"));
    relist(&mut mirror, &[], &[]);
    assert_eq!(ending(&mirror).message.as_deref(), Some("no"));
    mirror.forget(RUN);
    assert!(mirror.view().jobs.is_empty());
}

#[test]
fn a_job_of_another_life_is_not_this_runs() {
    let mut mirror = synced();
    relist(&mut mirror, &[job(Some(true))], &[]);
    assert!(mirror.begin(&target("other"), "q"));
    mirror.apply_job(job(Some(true)));
    mirror.delete_job(&job(Some(true)));
    assert_eq!(phase(&mirror), JobPhase::Creating);
}

#[test]
fn a_removal_is_asked_for_once() {
    let mut mirror = with_job();
    assert_eq!(mirror.remove(RUN), None, "it has not ended");
    mirror.apply_pod(pod(Some(Some(0))));
    mirror.apply_job(job(Some(true)));
    assert_eq!(mirror.remove(RUN).and_then(|target| target.uid).as_deref(), Some("u1"));
    assert!(view(&mirror).stopping, "the planner does not ask again");
    mirror.delete_job(&job(Some(true)));
    assert!(mirror.view().jobs.is_empty());
}

#[test]
fn a_deletion_by_hand_shows_as_stopping() {
    let mut mirror = with_job();
    mirror.apply_job(JobFacts { deleting: true, ..job(None) });
    assert!(view(&mirror).stopping);
}

#[test]
fn nothing_is_synced_before_all_namespaces_are_known_and_read() {
    let mut mirror = Mirror::new(NS);
    mirror.add_namespace(NS);
    relist(&mut mirror, &[], &[]);
    assert!(!mirror.view().has_read(None), "there may be other namespaces");
    mirror.tell_namespaces();
    assert!(mirror.view().has_read(None));
    mirror.add_namespace("other");
    assert!(mirror.view().has_read(None) && !mirror.view().has_read(Some("other")));
}

#[test]
fn a_watch_that_is_interrupted_is_told_until_it_goes_on() {
    let mut mirror = Mirror::new(NS);
    mirror.add_namespace(NS);
    assert_eq!(
        mirror.unsynced().as_deref(),
        Some("the watch of namespace batch is not synced: no answer yet")
    );
    let refused = Some("connection refused".to_owned());
    mirror.note_trouble(NS, Watched::Pods, refused.clone());
    let not_synced = "the watch of namespace batch is not synced: connection refused";
    assert_eq!(mirror.unsynced().as_deref(), Some(not_synced));
    let mut mirror = synced();
    assert_eq!(mirror.unsynced(), None);
    mirror.note_trouble(NS, Watched::Jobs, refused.clone());
    let interrupted = "the watch of namespace batch is interrupted: connection refused";
    assert_eq!(mirror.unsynced().as_deref(), Some(interrupted));
    assert!(mirror.view().has_read(None), "what was read is still known");
    mirror.note_trouble(NS, Watched::Jobs, None);
    mirror.note_trouble(NS, Watched::Blocked, refused);
    assert_eq!(mirror.unsynced(), None, "nothing is decided by what is for people");
}

fn reason(mirror: &Mirror) -> Option<String> {
    view(mirror).waiting.map(|waiting| waiting.reason)
}

fn pod_that_waits(waiting: Waiting) -> PodFacts {
    PodFacts { waiting: Some(waiting), ..pod(None) }
}

#[test]
fn why_a_run_does_not_start_is_known_for_as_long_as_it_does_not() {
    let mut mirror = synced();
    mirror.begin(&target("t"), "q");
    mirror.refuse(RUN, waits("QuotaExceeded"), |_| at(1));
    assert_eq!(reason(&mirror).as_deref(), Some("QuotaExceeded"));
    mirror.begin(&target("t"), "q");
    assert_eq!(reason(&mirror).as_deref(), Some("QuotaExceeded"), "another try is no other reason");
    mirror.created(RUN);
    mirror.block_job(blocked("u0"));
    mirror.apply_job(job(None));
    assert_eq!(reason(&mirror), None, "that event was about another Job of the name");
    mirror.block_job(blocked("u1"));
    assert_eq!(reason(&mirror).as_deref(), Some("FailedCreate"));
    mirror.apply_pod(pod_that_waits(waits("Unschedulable")));
    assert_eq!(reason(&mirror).as_deref(), Some("Unschedulable"), "there is a pod");
    mirror.apply_pod(pod_that_waits(waits(IMAGE_PULL)));
    let backing_off = Waiting { message: "Back-off pulling image".into(), ..waits(IMAGE_PULL) };
    mirror.apply_pod(pod_that_waits(backing_off));
    assert_eq!(view(&mirror).waiting, Some(waits(IMAGE_PULL)), "the first message says more");
    mirror.apply_pod(pod(Some(None)));
    assert_eq!(reason(&mirror), None);
}

/// The reasons that people are told.
fn told(mirror: &mut Mirror) -> Vec<String> {
    let reasons = mirror.take_news().into_iter().map(|(job, notice)| match notice {
        Notice::Waits(waiting) => format!("{} {}", job.uid.unwrap_or_default(), waiting.reason),
        other => panic!("{other:?}"),
    });
    reasons.collect()
}

#[test]
fn people_are_told_once_for_each_reason_that_nobody_else_tells_on_the_job() {
    let mut mirror = synced();
    mirror.begin(&target("t"), "q");
    mirror.refuse(RUN, waits("QuotaExceeded"), |_| at(1));
    assert!(told(&mut mirror).is_empty(), "there is no Job to look at");
    mirror.begin(&target("t"), "q");
    create(&mut mirror);
    mirror.apply_job(job(None));
    mirror.block_job(blocked("u1"));
    assert_eq!(reason(&mirror).as_deref(), Some("FailedCreate"));
    assert!(told(&mut mirror).is_empty(), "the Job controller has said it");
    mirror.apply_pod(pod_that_waits(waits("Unschedulable")));
    assert_eq!(told(&mut mirror), ["u1 Unschedulable"]);
    let other_words = Waiting { message: "2 of 3 nodes".into(), ..waits("Unschedulable") };
    mirror.apply_pod(pod_that_waits(other_words));
    assert!(told(&mut mirror).is_empty(), "the reason is the same");
    mirror.apply_pod(pod_that_waits(waits(IMAGE_PULL)));
    assert_eq!(told(&mut mirror), [format!("u1 {IMAGE_PULL}")]);
    mirror.apply_pod(pod(Some(None)));
    assert!(told(&mut mirror).is_empty());
}

#[test]
fn disrupted_pods_are_counted_and_an_end_by_disruption_alone_is_told() {
    let mut mirror = with_job();
    let evicted = |name: &str| PodFacts { name: name.into(), disrupted: true, ..pod(Some(Some(137))) };
    for name in ["a", "b", "b"] {
        mirror.apply_pod(evicted(name));
        mirror.delete_pod(evicted(name));
    }
    assert_eq!(view(&mirror).disruptions, 2);
    mirror.apply_job(job(Some(false)));
    assert!(ending(&mirror).disrupted);

    let mut mirror = with_job();
    mirror.apply_pod(evicted("a"));
    mirror.apply_pod(pod(Some(Some(1))));
    mirror.apply_job(job(Some(false)));
    assert!(!ending(&mirror).disrupted, "the pod that replaced it failed by itself");
}
