//! README, operations, alerts and dashboard speak of the metrics and alerts that there are, and of all of them where they should.

use std::collections::BTreeSet;

use super::Metrics;

const README: &str = include_str!("../../../README.md");
const OPERATIONS: &str = include_str!("../../../deploy/operations.md");
const ALERTS: &str = include_str!("../../../deploy/helm/pgbatch/files/alerts.yaml");
const ALERTS_TEST: &str = include_str!("../../../deploy/helm/alerts_test.yaml");
const DASHBOARD: &str = include_str!("../../../deploy/helm/pgbatch/files/dashboard.json");

/// No metric, though its name begins like one: a channel.
const CHANNEL: &str = "pgbatch_done";

/// The words of a text that begin so, and not in the middle of another one.
fn words(text: &str, start: &str) -> BTreeSet<String> {
    let starts = text.match_indices(start).filter(|(at, _)| {
        !text[..*at].ends_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/' | '.'))
    });
    let words = starts.map(|(at, _)| {
        text[at..].chars().take_while(|c| c.is_ascii_alphabetic() || *c == '_').collect::<String>()
    });
    words.collect()
}

/// The words of a text that look like a metric of ours.
fn named(text: &str) -> BTreeSet<String> {
    words(text, "pgbatch_")
}

/// The alerts that there are, each with its rule.
fn rules() -> Vec<(&'static str, &'static str)> {
    let rules = ALERTS.split("- alert: ").skip(1);
    rules.map(|rule| (rule.lines().next().unwrap_or_default(), rule)).collect()
}

#[test]
fn alerts_dashboard_and_operations_ask_for_series_that_there_are() {
    let mut there_are = Metrics::new().catalogue.series();
    there_are.insert(CHANNEL.to_owned());
    let texts = [
        ("alerts.yaml", ALERTS),
        ("alerts_test.yaml", ALERTS_TEST),
        ("dashboard.json", DASHBOARD),
        ("operations.md", OPERATIONS),
    ];
    for (what, text) in texts {
        let asked = named(text);
        assert!(!asked.is_empty(), "{what} asks for nothing");
        let unknown: Vec<_> = asked.difference(&there_are).collect();
        assert!(unknown.is_empty(), "{what} asks for {unknown:?}");
    }
}

#[test]
fn the_table_of_the_readme_is_the_catalogue() {
    let table = Metrics::new().catalogue.table();
    assert!(README.contains(&table), "the table is to be\n{table}");
    let section = README.split("### Metrics").nth(1).and_then(|rest| rest.split("\n### ").next()).unwrap();
    let mut there_are = Metrics::new().catalogue.series();
    there_are.extend(named(&table));
    let unknown: Vec<_> = named(section).difference(&there_are).cloned().collect();
    assert!(unknown.is_empty(), "the README speaks of {unknown:?}");
}

#[test]
fn each_alert_has_its_line_in_the_readme_its_section_a_test_and_words_for_who_is_woken() {
    let rules = rules();
    assert!(rules.len() >= 8, "{rules:?}");
    for (name, rule) in rules {
        assert!(README.contains(&format!("| `{name}` |")), "the README says nothing of {name}");
        assert!(OPERATIONS.contains(&format!("\n### {name}\n")), "operations.md says nothing of {name}");
        assert!(ALERTS_TEST.contains(&format!("alertname=\"{name}\"")), "nothing tries {name}");
        for part in ["severity: ", "summary: ", "description: ", "runbook: "] {
            assert!(rule.contains(part), "{name} has no {part}");
        }
    }
}

#[test]
fn no_alert_is_spoken_of_that_there_is_not() {
    let there_are: BTreeSet<String> = rules().into_iter().map(|(name, _)| name.to_owned()).collect();
    for (what, text) in
        [("README.md", README), ("operations.md", OPERATIONS), ("alerts_test.yaml", ALERTS_TEST)]
    {
        let unknown: Vec<_> = words(text, "Pgbatch").difference(&there_are).cloned().collect();
        assert!(unknown.is_empty(), "{what} speaks of {unknown:?}");
    }
}
