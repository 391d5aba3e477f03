use serde::Deserialize;

use super::*;

/// One line of `cases.json`: one poll of KEDA.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// Value, target, activation.
    readings: Vec<(f64, f64, f64)>,
    policy: Policy,
    #[serde(default)]
    running: u32,
    #[serde(default)]
    pending: u32,
    create: u32,
}

/// One line of `pending.json`: the pods of one open Job.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PendingCase {
    name: String,
    /// Phase, and the conditions that are True.
    pods: Vec<(String, Vec<String>)>,
    conditions: Vec<String>,
    pending: bool,
}

#[test]
fn every_branch_of_the_formulas() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("cases.json")).unwrap();
    for case in cases {
        let readings: Vec<_> = case
            .readings
            .iter()
            .map(|(value, target, activation)| Reading::new(*value, *target, *activation))
            .collect();
        let open = OpenJobs { running: case.running, pending: case.pending };
        assert_eq!(jobs_to_create(&readings, &case.policy, open), case.create, "{}", case.name);
    }
}

#[test]
fn what_counts_as_pending() {
    let cases: Vec<PendingCase> = serde_json::from_str(include_str!("pending.json")).unwrap();
    for case in cases {
        let held: Vec<Vec<&str>> =
            case.pods.iter().map(|(_, held)| held.iter().map(String::as_str).collect()).collect();
        let pods: Vec<_> = case
            .pods
            .iter()
            .zip(&held)
            .map(|((phase, _), held)| Pod { phase, true_conditions: held })
            .collect();
        let conditions: Vec<&str> = case.conditions.iter().map(String::as_str).collect();
        assert_eq!(is_pending(&pods, &conditions), case.pending, "{}", case.name);
    }
}

#[test]
fn a_reading_may_be_active_for_another_reason_than_its_value() {
    let persistent = Reading { value: 0.0, target: 10.0, is_active: true };
    let policy: Policy = serde_json::from_str(r#"{"combine": "sum", "min": 0}"#).unwrap();
    assert_eq!(jobs_to_create(&[persistent], &policy, OpenJobs::default()), 0);
    let silent = Reading { value: 50.0, target: 10.0, is_active: false };
    assert_eq!(jobs_to_create(&[silent], &policy, OpenJobs::default()), 0);
    assert_eq!(jobs_to_create(&[Reading { is_active: true, ..silent }], &policy, OpenJobs::default()), 5);
}

#[test]
fn an_unknown_word_is_refused() {
    for policy in [r#"{"strategy": "greedy"}"#, r#"{"combine": "median"}"#, r#"{"stratgey": "default"}"#] {
        assert!(serde_json::from_str::<Policy>(policy).is_err(), "{policy}");
    }
}
