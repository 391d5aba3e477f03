//! What whoever looks at a run's Job is told of it, in words: the dispatcher's Events in Kubernetes.
//!
//! Only what nobody else says there. That a Job was created, that a pod of it failed or that it is complete, the Job controller
//! says; what becomes of the run's items, and by whose will a Job goes, it does not know.

use std::fmt;

use jiff::Timestamp;
use serde::Deserialize;

use crate::run::Outcome;
use crate::snapshot::{BatchId, RunId, Waiting};

/// Kubernetes takes no longer words: in bytes.
const WORDS_MAX: usize = 1024;
/// Of an error: its first line, and of that no more than this, in characters.
const ERROR_MAX: usize = 300;

/// Why a Job is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// Its batch was cancelled.
    Cancelled,
    /// It had the time that its queue gives a run.
    RunTimeout,
    /// Its pods were evicted, drained or preempted too often.
    DisruptedTooOften,
    /// PostgreSQL holds its run for over, or for none.
    Over,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cancelled => "its batch was cancelled",
            Self::RunTimeout => "it ran for longer than its queue's run_timeout",
            Self::DisruptedTooOften => "its pods were evicted, drained or preempted too often",
            Self::Over => "its run is over",
        })
    }
}

/// What comes after a run that did not succeed: a row of `pgbatch.next_attempts()`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct NextAttempt {
    /// The run.
    pub run: RunId,
    /// Its batch.
    pub batch: BatchId,
    /// Which attempt it was.
    pub attempt: u32,
    /// So many may be made at its items.
    pub max_attempts: u32,
    /// So many of its items have failed for good.
    pub failed: u32,
    /// When others are tried again; none = none is.
    pub due_at: Option<Timestamp>,
}

/// Something to tell about a run's Job.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// It does not start.
    Waits(Waiting),
    /// It is about to be deleted.
    Stopped(StopReason),
    /// It did not succeed. The words are what is known of why.
    Failed {
        /// What comes next.
        next: NextAttempt,
        /// Why.
        why: String,
    },
}

impl Notice {
    /// That the run with this outcome did not succeed.
    #[must_use]
    pub fn failed(outcome: &Outcome, next: NextAttempt) -> Self {
        Self::Failed { next, why: why(outcome) }
    }

    /// One word for it, as Kubernetes has them.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Waits(_) => "RunNotStarting",
            Self::Stopped(_) => "RunStopped",
            Self::Failed { next: NextAttempt { due_at: Some(_), .. }, .. } => "RunRetried",
            Self::Failed { .. } => "RunFailed",
        }
    }

    /// Whether it is worth a look.
    #[must_use]
    pub fn is_warning(&self) -> bool {
        !matches!(self, Self::Stopped(StopReason::Cancelled | StopReason::Over))
    }

    /// The same for the same news of one run, and part of a DNS name: a dispatcher that takes over tells nothing twice.
    #[must_use]
    pub fn key(&self) -> String {
        let of = match self {
            Self::Waits(waiting) => waiting.reason.as_str(),
            Self::Stopped(_) | Self::Failed { .. } => "",
        };
        let letters = [self.reason(), of].concat();
        letters.chars().filter(char::is_ascii_alphanumeric).take(64).collect::<String>().to_ascii_lowercase()
    }

    /// The words.
    #[must_use]
    pub fn words(&self) -> String {
        let words = match self {
            // As explain_item() has them.
            Self::Waits(Waiting { reason, message }) => format!("{reason}: {message}"),
            Self::Stopped(why) => format!("stopped, as {why}"),
            Self::Failed { next, why } => {
                let NextAttempt { attempt, max_attempts, .. } = next;
                format!("attempt {attempt} of {max_attempts} failed ({why}); {}", what_is_next(next))
            }
        };
        words[..words.floor_char_boundary(WORDS_MAX)].to_owned()
    }
}

fn what_is_next(next: &NextAttempt) -> String {
    match (next.due_at, next.failed) {
        (Some(at), _) => format!("attempt {} is due at {}", next.attempt + 1, seconds(at)),
        (None, 0) => "none of its items is tried again".to_owned(),
        (None, failed) => format!(
            "{failed} of its items failed for good, pgbatch.retry_batch({}) tries them again",
            next.batch
        ),
    }
}

/// A run that is due in between is due at the later second.
fn seconds(at: Timestamp) -> Timestamp {
    let whole = at.as_second() + i64::from(at.subsec_nanosecond() > 0);
    Timestamp::from_second(whole).unwrap_or(at)
}

/// The one word, the exit code and the first line of the words that are known.
fn why(outcome: &Outcome) -> String {
    let code = outcome.exit_code.map(|code| format!("exit code {code}"));
    let line = outcome.message.as_deref().and_then(|message| message.lines().find(|l| !l.trim().is_empty()));
    let line = line.map(|line| line.trim().chars().take(ERROR_MAX).collect());
    let known: Vec<String> = [outcome.reason.clone(), code, line].into_iter().flatten().collect();
    if known.is_empty() { outcome.state.to_string() } else { known.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::RunState;

    fn outcome(message: &str) -> Outcome {
        Outcome {
            run: 7,
            state: RunState::Failed,
            started_at: None,
            finished_at: None,
            exit_code: Some(3),
            reason: Some("Error".into()),
            message: Some(message.into()),
            result: None,
            retry_in_ms: 0,
            disrupted: false,
        }
    }

    fn next(failed: u32, due_at: Option<&str>) -> NextAttempt {
        let due_at = due_at.map(|at| at.parse().unwrap());
        NextAttempt { run: 7, batch: 12, attempt: 2, max_attempts: 3, failed, due_at }
    }

    #[test]
    fn a_failed_run_says_what_is_next() {
        let outcome = outcome("\n no such table \nand more");
        let cases = [
            (
                next(0, Some("2026-01-01T00:00:01.5Z")),
                "RunRetried",
                "attempt 2 of 3 failed (Error, exit code 3, no such table); attempt 3 is due at 2026-01-01T00:00:02Z",
            ),
            (
                next(4, None),
                "RunFailed",
                "attempt 2 of 3 failed (Error, exit code 3, no such table); 4 of its items failed for good, \
                 pgbatch.retry_batch(12) tries them again",
            ),
            (
                next(0, None),
                "RunFailed",
                "attempt 2 of 3 failed (Error, exit code 3, no such table); none of its items is tried again",
            ),
        ];
        for (next, reason, words) in cases {
            let notice = Notice::failed(&outcome, next);
            assert_eq!((notice.reason(), notice.words().as_str()), (reason, words));
            assert!(notice.is_warning());
        }
    }

    #[test]
    fn without_a_word_the_state_is_told() {
        let outcome = Outcome { reason: None, exit_code: None, message: None, ..outcome("") };
        assert!(
            Notice::failed(&outcome, next(1, None)).words().starts_with("attempt 2 of 3 failed (failed); ")
        );
    }

    #[test]
    fn words_of_any_length_are_cut_between_letters() {
        let long = Waiting { reason: "Refused".into(), message: "ä".repeat(2000) };
        let words = Notice::Waits(long).words();
        assert!(words.len() <= 1024 && words.len() > 1020, "{}", words.len());
        let long = Notice::failed(&outcome(&"ä".repeat(2000)), next(1, None)).words();
        assert!(long.len() <= 1024 && long.ends_with("tries them again"), "{long}");
    }

    #[test]
    fn its_key_is_part_of_a_dns_name_whatever_the_reason_is() {
        let waits =
            |reason: &str| Notice::Waits(Waiting { reason: reason.into(), message: "m".into() }).key();
        assert_eq!(waits("ImagePullBackOff"), "runnotstartingimagepullbackoff");
        assert_eq!(waits("Über/Größe_1"), "runnotstartingbergre1");
        assert_eq!(waits(&"x".repeat(500)).len(), 64);
        assert_eq!(Notice::Stopped(StopReason::Cancelled).key(), "runstopped");
    }
}
