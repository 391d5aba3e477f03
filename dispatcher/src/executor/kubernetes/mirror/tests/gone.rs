//! Jobs that are gone: when the items of their runs are free.

use super::*;

#[test]
fn added_then_deleted_is_gone() {
    let mut mirror = with_job();
    mirror.delete_job(&job(None));
    mirror.answer_pods(RUN, vec![]);
    assert_eq!(phase(&mirror), JobPhase::Gone);
    mirror.forget(RUN);
    assert!(mirror.view().jobs.is_empty());
}

#[test]
fn a_run_is_not_over_before_its_last_pod() {
    let mut mirror = with_job();
    mirror.apply_pod(pod(Some(None)));
    mirror.stop(RUN);
    mirror.delete_job(&job(None));
    assert_eq!((phase(&mirror), view(&mirror).stopping), (JobPhase::Running, true));
    mirror.delete_pod(pod(Some(Some(143))));
    assert_eq!(phase(&mirror), JobPhase::Running, "there may be another pod");
    mirror.answer_pods(RUN, vec![]);
    assert_eq!(phase(&mirror), JobPhase::Gone);
}

#[test]
fn pods_without_a_job_are_found_again() {
    let mut mirror = synced();
    relist(&mut mirror, &[], &[pod(Some(None))]);
    assert_eq!((phase(&mirror), view(&mirror).stopping), (JobPhase::Running, true));
    relist(&mut mirror, &[], &[]);
    assert_eq!(phase(&mirror), JobPhase::Gone);
}

#[test]
fn an_end_that_is_not_recorded_outlives_its_job() {
    let mut mirror = with_job();
    mirror.apply_pod(pod(Some(Some(0))));
    mirror.apply_job(job(Some(true)));
    mirror.delete_job(&job(Some(true)));
    assert!(ending(&mirror).succeeded);
    mirror.forget(RUN);
    assert!(mirror.view().jobs.is_empty());
}

#[test]
fn a_list_tells_what_is_gone() {
    let mut mirror = with_job();
    relist(&mut mirror, &[job(None)], &[]);
    assert_eq!(phase(&mirror), JobPhase::Pending);
    relist(&mut mirror, &[], &[]);
    assert_eq!(phase(&mirror), JobPhase::Gone);
}

#[test]
fn a_create_that_is_younger_than_the_list_is_not_gone() {
    let mut mirror = synced();
    mirror.begin(&target("t"), "q");
    mirror.begin_jobs(NS);
    mirror.end_jobs(NS);
    assert_eq!((phase(&mirror), mirror.take_questions()), (JobPhase::Creating, vec![]), "not answered");
    mirror.begin_jobs(NS);
    create(&mut mirror);
    mirror.end_jobs(NS);
    assert_eq!(phase(&mirror), JobPhase::Creating, "answered while the list was under way");
    assert_eq!(
        mirror.take_questions(),
        [Question::Exists(RUN), Question::Exists(RUN)],
        "each list may be of after it"
    );
    mirror.begin_jobs(NS);
    mirror.end_jobs(NS);
    mirror.answer_pods(RUN, vec![]);
    assert_eq!(phase(&mirror), JobPhase::Gone, "answered before the list");
}

#[test]
fn whether_a_created_job_is_still_there_is_answered() {
    for (job, expected) in [(Some(job(None)), JobPhase::Pending), (None, JobPhase::Gone)] {
        let mut mirror = synced();
        mirror.begin(&target("t"), "q");
        create(&mut mirror);
        read(&mut mirror, job);
        mirror.answer_pods(RUN, vec![]);
        assert_eq!(phase(&mirror), expected);
    }
    // The watch was faster: an answer from before changes nothing.
    let mut mirror = with_job();
    read(&mut mirror, None);
    assert_eq!(phase(&mirror), JobPhase::Pending);
}

#[test]
fn a_list_since_an_answer_was_on_its_way_may_know_better() {
    let mut mirror = synced();
    mirror.begin(&target("t"), "q");
    relist(&mut mirror, &[], &[]);
    create(&mut mirror);
    assert_eq!(mirror.take_questions(), [Question::Exists(RUN)], "created and deleted before the list");
    let as_of = mirror.lists_ended(NS);
    mirror.begin_jobs(NS);
    mirror.end_jobs(NS);
    mirror.take_questions();
    assert!(mirror.begin(&target("t"), "q"), "that list was begun after the create: the Job is gone");
    mirror.read(RUN, Some(job(None)), as_of);
    assert_eq!((phase(&mirror), mirror.take_questions()), (JobPhase::Creating, vec![Question::Exists(RUN)]));
}

#[test]
fn a_job_that_is_gone_may_have_a_pod_that_the_watch_has_not_shown() {
    let mut mirror = with_job();
    mirror.delete_job(&job(None));
    assert_eq!((phase(&mirror), view(&mirror).stopping), (JobPhase::Pending, true));
    assert_eq!(mirror.take_questions(), [Question::Pods(RUN)]);
    assert!(!mirror.give_up(&Question::Pods(RUN)), "no answer is no pod");
    mirror.answer_pods(RUN, vec![pod(Some(None))]);
    assert_eq!(phase(&mirror), JobPhase::Running);
    mirror.delete_pod(pod(Some(Some(143))));
    assert_eq!(phase(&mirror), JobPhase::Gone);
}

#[test]
fn a_fate_that_is_known_stays_so_when_the_job_goes() {
    let mut mirror = with_job();
    mirror.apply_job(job(Some(true)));
    mirror.delete_job(&job(Some(true)));
    assert_eq!(mirror.take_questions(), [Question::Pods(RUN)]);
    assert!(mirror.give_up(&Question::Pods(RUN)), "those are details");
    assert!(ending(&mirror).succeeded);
}

/// A mirror with a create request under way, for a run whose Job an earlier dispatcher has created.
fn with_job_of_another() -> Mirror {
    let mut mirror = synced();
    assert!(mirror.begin(&target("t"), "q"));
    mirror.apply_job(job(None));
    mirror
}

#[test]
fn a_stop_waits_for_the_answer_to_a_create() {
    let mut mirror = with_job_of_another();
    assert_eq!(mirror.stop(RUN), None, "the create could be carried out after the delete");
    assert!(view(&mirror).stopping);
    assert_eq!(mirror.end_create(RUN).and_then(|target| target.uid).as_deref(), Some("u1"));
}

#[test]
fn a_job_that_is_gone_while_a_create_is_under_way_may_be_there_again() {
    let mut mirror = with_job_of_another();
    mirror.delete_job(&job(None));
    mirror.answer_pods(RUN, vec![]);
    assert_eq!(phase(&mirror), JobPhase::Pending);
    mirror.created(RUN);
    mirror.take_questions();
    assert_eq!(mirror.end_create(RUN), None);
    assert_eq!(mirror.take_questions(), [Question::Exists(RUN)]);
    read(&mut mirror, Some(JobFacts { uid: "u2".into(), ..job(None) }));
    assert_eq!((phase(&mirror), view(&mirror).stopping), (JobPhase::Pending, false));
}

#[test]
fn another_job_of_the_run_can_be_stopped_too() {
    let mut mirror = with_job();
    mirror.stop(RUN);
    mirror.apply_job(JobFacts { uid: "u2".into(), ..job(None) });
    assert!(!view(&mirror).stopping);
    assert_eq!(mirror.stop(RUN).and_then(|target| target.uid).as_deref(), Some("u2"));
}

#[test]
fn what_a_pod_had_done_is_done_though_its_job_never_said_so() {
    let done = || PodFacts { done: true, ..pod(Some(Some(0))) };
    let mut mirror = with_job();
    mirror.apply_pod(done());
    mirror.delete_job(&job(None));
    // On its way out it counts no more as one that nobody told to stop.
    mirror.delete_pod(pod(Some(Some(0))));
    mirror.answer_pods(RUN, vec![]);
    let ending = ending(&mirror);
    assert_eq!((ending.succeeded, ending.finished_at), (true, Some(at(80))));
    assert_eq!(ending.message.as_deref(), Some("words"));

    let vanished = |job: JobFacts, pod: PodFacts| {
        let mut mirror = with_job();
        mirror.apply_job(job.clone());
        mirror.apply_pod(pod);
        mirror.delete_job(&job);
        mirror.answer_pods(RUN, vec![]);
        phase(&mirror)
    };
    assert_eq!(vanished(job(None), pod(Some(Some(0)))), JobPhase::Gone, "it was told to stop");
    assert_eq!(vanished(JobFacts { single: false, ..job(None) }, done()), JobPhase::Gone, "one of several");
}
