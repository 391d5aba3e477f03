//! How a run ended, from its Job's last condition and what its pods say.

use jiff::Timestamp;
use pgbatch_core::snapshot::Ending;

use super::super::message::clean;
use super::super::signal::{reason_of, words_of};
use super::facts::{ContainerEnd, ContainerFacts, PodFacts, Terminal};

/// The ending of a run whose Job has reached its fate.
pub(super) fn ending<'a>(terminal: &Terminal, pods: impl Iterator<Item = &'a PodFacts>) -> Ending {
    let mut pods: Vec<&PodFacts> = pods.collect();
    // A pod that was evicted has been replaced: its end decides only where there is no other.
    if pods.iter().any(|pod| !pod.disrupted) {
        pods.retain(|pod| !pod.disrupted);
    }
    if terminal.succeeded { success(terminal, &pods) } else { failure(terminal, &pods) }
}

fn success(terminal: &Terminal, pods: &[&PodFacts]) -> Ending {
    let message = ends(pods).find_map(|(_, end)| clean(end.message.as_deref()?));
    Ending {
        succeeded: true,
        finished_at: terminal.finished_at,
        exit_code: Some(0),
        reason: Some("Completed".to_owned()),
        message,
        disrupted: false,
    }
}

fn failure(terminal: &Terminal, pods: &[&PodFacts]) -> Ending {
    // The first to fail is the cause; what was stopped because of it ended later.
    let culprit = ends(pods)
        .filter(|(_, end)| end.exit_code != 0)
        .min_by_key(|(_, end)| end.finished_at.unwrap_or(Timestamp::MAX));
    let whole_pod = pods.iter().find(|pod| pod.reason.is_some() || pod.message.is_some());
    let job_words = (terminal.reason.clone(), terminal.message.as_deref().and_then(clean));
    let (reason, message) = match (culprit, whole_pod) {
        // The Job's own deadline: that the container was then stopped is the effect.
        _ if !is_about_pods(terminal.reason.as_deref()) => job_words,
        (Some((container, end)), _) => {
            let message = end.message.as_deref().and_then(clean);
            let words = || format!("container {} {}", container.name, words_of(end.exit_code));
            // Of an end by a signal, Kubernetes says no more than that, unless it was the one for too much memory.
            let reason = match end.reason.as_deref() {
                Some("Error") => Some(reason_of(end.exit_code).to_owned()),
                _ => end.reason.clone(),
            };
            (reason, Some(message.unwrap_or_else(words)))
        }
        (None, Some(pod)) => {
            (pod.reason.clone().or(job_words.0), pod.message.as_deref().and_then(clean).or(job_words.1))
        }
        (None, None) => job_words,
    };
    Ending {
        succeeded: false,
        finished_at: terminal.finished_at,
        exit_code: culprit.map(|(_, end)| end.exit_code),
        reason,
        message,
        disrupted: !pods.is_empty() && pods.iter().all(|pod| pod.disrupted),
    }
}

/// Whether the Job failed because of its pods: then they know better why.
fn is_about_pods(reason: Option<&str>) -> bool {
    matches!(
        reason,
        None | Some(
            "BackoffLimitExceeded" | "PodFailurePolicy" | "FailedIndexes" | "MaxFailedIndexesExceeded"
        )
    )
}

/// The ends of all containers, pod by pod: app containers before init containers.
fn ends<'a>(pods: &'a [&PodFacts]) -> impl Iterator<Item = (&'a ContainerFacts, &'a ContainerEnd)> {
    pods.iter().flat_map(|pod| &pod.containers).filter_map(|c| Some((c, c.ended.as_ref()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Option<Timestamp> {
        Timestamp::from_second(second).ok()
    }

    fn failed(reason: &str) -> Terminal {
        Terminal {
            succeeded: false,
            finished_at: at(100),
            reason: Some(reason.into()),
            message: Some("the Job's words".into()),
        }
    }

    fn container(name: &str, exit_code: i32, second: i64, message: Option<&str>) -> ContainerFacts {
        let ended = ContainerEnd {
            finished_at: at(second),
            exit_code,
            reason: Some(if exit_code == 137 { "OOMKilled" } else { "Error" }.into()),
            message: message.map(Into::into),
        };
        ContainerFacts { name: name.into(), started_at: at(second - 1), ended: Some(ended) }
    }

    fn pod(containers: Vec<ContainerFacts>) -> PodFacts {
        PodFacts { containers, ..PodFacts::default() }
    }

    fn check(terminal: &Terminal, pods: &[PodFacts], expected: (Option<i32>, &str, Option<&str>)) {
        let got = ending(terminal, pods.iter());
        let got_words = (got.exit_code, got.reason.as_deref().unwrap_or_default(), got.message.as_deref());
        assert_eq!(got_words, expected, "{terminal:?} {pods:?}");
        assert_eq!((got.succeeded, got.finished_at), (terminal.succeeded, terminal.finished_at));
    }

    #[test]
    fn success_has_the_first_message_there_is() {
        let complete = Terminal {
            succeeded: true,
            finished_at: at(100),
            reason: Some("CompletionsReached".into()),
            message: None,
        };
        check(&complete, &[], (Some(0), "Completed", None));
        let pods = [pod(vec![container("a", 0, 9, None), container("b", 0, 9, Some("{\"n\":1}\n"))])];
        check(&complete, &pods, (Some(0), "Completed", Some("{\"n\":1}")));
    }

    #[test]
    fn the_container_that_failed_first_is_the_cause() {
        let backoff = failed("BackoffLimitExceeded");
        let pods = [pod(vec![container("late", 143, 20, None), container("first", 3, 10, Some("boom\0\n"))])];
        check(&backoff, &pods, (Some(3), "Error", Some("boom")));
        let killed = [pod(vec![container("a", 137, 10, None)])];
        let words = "container a was ended by SIGKILL (exit code 137)";
        check(&backoff, &killed, (Some(137), "OOMKilled", Some(words)));
        let crashed = [pod(vec![container("a", 139, 10, Some("about to crash"))])];
        check(&backoff, &crashed, (Some(139), "SIGSEGV", Some("about to crash")));
    }

    #[test]
    fn an_evicted_pod_that_was_replaced_is_not_the_cause() {
        let evicted = PodFacts { disrupted: true, ..pod(vec![container("a", 137, 5, None)]) };
        let own = pod(vec![container("a", 2, 50, Some("no such table"))]);
        check(&failed("BackoffLimitExceeded"), &[evicted, own], (Some(2), "Error", Some("no such table")));
    }

    #[test]
    fn without_a_container_the_pod_or_the_job_says_why() {
        let rejected = PodFacts {
            reason: Some("UnexpectedAdmissionError".into()),
            message: Some("no device".into()),
            ..pod(vec![])
        };
        let backoff = failed("BackoffLimitExceeded");
        check(&backoff, &[rejected], (None, "UnexpectedAdmissionError", Some("no device")));
        check(&backoff, &[], (None, "BackoffLimitExceeded", Some("the Job's words")));
    }

    #[test]
    fn the_jobs_own_deadline_is_its_reason() {
        let pods = [pod(vec![container("a", 143, 99, None)])];
        check(&failed("DeadlineExceeded"), &pods, (Some(143), "DeadlineExceeded", Some("the Job's words")));
    }
}
