//! Names and labels of what a run is in the cluster: one place, so that what is written can be found again.

use std::collections::BTreeMap;

use crate::run::RunSpec;
use crate::snapshot::RunId;

/// Who made the object; the selector of every watch starts with it.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`].
pub const MANAGER: &str = "pgbatch";
/// The queue of the run.
pub const QUEUE: &str = "pgbatch.io/queue";
/// The batch of the run.
pub const BATCH: &str = "pgbatch.io/batch";
/// The run.
pub const RUN: &str = "pgbatch.io/run";
/// Which pgbatch: the id of the database's installation. Two databases may share a namespace.
pub const INSTALLATION: &str = "pgbatch.io/installation";
/// An annotation of the pods of runs that count as pending by conditions: which ones, comma-separated. With it a watch that
/// sees a pod knows what to look for, whoever created it.
pub const PENDING_POD_CONDITIONS: &str = "pgbatch.io/pending-pod-conditions";

/// The name of a run's Job: deterministic, so that a second create finds the first one's Job.
///
/// A queue's name has at most 40 characters and a run number at most 19, so the name and everything that Kubernetes
/// derives from it stay inside a DNS label.
#[must_use]
pub fn job_name(queue: &str, run: RunId) -> String {
    format!("{queue}-{run}")
}

/// The labels of a run's Job and of its pods.
#[must_use]
pub fn labels(spec: &RunSpec, installation: &str) -> BTreeMap<String, String> {
    [
        (MANAGED_BY, MANAGER.to_owned()),
        (QUEUE, spec.queue.clone()),
        (BATCH, spec.batch.to_string()),
        (RUN, spec.run.to_string()),
        (INSTALLATION, installation.to_owned()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

/// Selects the Jobs and pods of one installation.
#[must_use]
pub fn selector(installation: &str) -> String {
    format!("{MANAGED_BY}={MANAGER},{INSTALLATION}={installation}")
}

/// The run that an object with these labels belongs to.
#[must_use]
pub fn run_of(labels: &BTreeMap<String, String>) -> Option<RunId> {
    labels.get(RUN)?.parse().ok().filter(|run| *run > 0)
}

/// The queue that an object with these labels belongs to.
#[must_use]
pub fn queue_of(labels: &BTreeMap<String, String>) -> Option<&str> {
    labels.get(QUEUE).map(String::as_str)
}

/// The run and the queue in a name made by [`job_name`].
#[must_use]
pub fn parse_job_name(name: &str) -> Option<(&str, RunId)> {
    let (queue, run) = name.rsplit_once('-')?;
    let run = run.parse().ok().filter(|run| *run > 0)?;
    (!queue.is_empty()).then_some((queue, run))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::tests::spec;

    #[test]
    fn what_is_written_is_found_again() {
        let labels = labels(&spec(), "3f1c");
        assert_eq!(run_of(&labels), Some(42));
        assert_eq!(queue_of(&labels), Some("claps-a"));
        assert_eq!(parse_job_name(&job_name("claps-a", 42)), Some(("claps-a", 42)));
        for part in selector("3f1c").split(',') {
            let (key, value) = part.split_once('=').unwrap();
            assert_eq!(labels.get(key).map(String::as_str), Some(value));
        }
    }

    #[test]
    fn the_longest_name_is_a_dns_label() {
        assert!(job_name(&"q".repeat(40), RunId::MAX).len() <= 63);
    }

    #[test]
    fn foreign_labels_and_names_are_no_run() {
        for value in ["", "x", "-1", "0", "9223372036854775808"] {
            assert_eq!(run_of(&BTreeMap::from([(RUN.to_owned(), value.to_owned())])), None, "{value:?}");
        }
        assert_eq!(run_of(&BTreeMap::new()), None);
        for name in ["", "claps", "claps-", "-7", "claps-x", "claps-0"] {
            assert_eq!(parse_job_name(name), None, "{name:?}");
        }
    }
}
