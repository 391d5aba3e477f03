//! The `PGBATCH_*` variables of a run, and `TRACEPARENT`, and Kubernetes' `$(NAME)` expansion of values.

use std::collections::BTreeMap;

use crate::item::Item;
use crate::run::RunSpec;

/// The variable that holds the run's token.
pub const RUN_TOKEN: &str = "PGBATCH_RUN_TOKEN";

/// The variables of a run, in a fixed order. A run of a queue with `items_per_run` = 1 has one item; with more, all
/// are in `PGBATCH_ITEMS`, and a run that happens to have one item has the variables of both kinds.
#[must_use]
pub fn variables(spec: &RunSpec) -> Vec<(String, String)> {
    let mut variables = vec![
        named("QUEUE", spec.queue.clone()),
        named("BATCH_ID", spec.batch.to_string()),
        named("RUN_ID", spec.run.to_string()),
        (RUN_TOKEN.to_owned(), spec.token.clone()),
        named("ATTEMPT", spec.attempt.to_string()),
    ];
    if spec.items_per_run > 1 {
        let items: Vec<&str> = spec.items.iter().map(Item::json).collect();
        variables.push(named("ITEMS", format!("[{}]", items.join(", "))));
        variables.push(named("FIRST_ITEM_NO", spec.first_item.to_string()));
        variables.push(named("LAST_ITEM_NO", spec.last_item.to_string()));
    }
    if spec.first_item == spec.last_item {
        variables.push(named("ITEM_NO", spec.first_item.to_string()));
        if let Some(item) = spec.items.first() {
            variables.push(named("ITEM", item.json().to_owned()));
            variables.extend(arguments(item));
        }
    }
    if let Some(traceparent) = &spec.traceparent {
        // As OpenTelemetry's SDKs and the programs of others look for it.
        variables.push(("TRACEPARENT".to_owned(), traceparent.clone()));
    }
    variables
}

fn named(name: &str, value: String) -> (String, String) {
    (format!("PGBATCH_{name}"), value)
}

/// `PGBATCH_ARG_<KEY>` for each top-level scalar. Where two keys become one name, the first in sort order wins.
fn arguments(item: &Item) -> BTreeMap<String, String> {
    let mut arguments = BTreeMap::new();
    for (key, value) in item.scalars() {
        arguments.entry(argument_name(&key)).or_insert(value);
    }
    arguments
}

fn argument_name(key: &str) -> String {
    let name = key.chars().map(|c| match c.to_ascii_uppercase() {
        c @ ('A'..='Z' | '0'..='9' | '_') => c,
        _ => '_',
    });
    format!("PGBATCH_ARG_{}", name.collect::<String>())
}

/// Replaces `$(NAME)` as Kubernetes does it in `command`, `args` and `env` values: `$$` is a `$`, an unknown name
/// and anything that is no reference stay as they are, and what was put in is not looked at again.
#[must_use]
pub fn expand<'a>(text: &str, lookup: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        rest = if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            after
        } else if let Some((name, after)) = after.strip_prefix('(').and_then(|r| r.split_once(')')) {
            match lookup(name) {
                Some(value) => expanded.push_str(value),
                None => expanded.extend(["$(", name, ")"]),
            }
            after
        } else {
            expanded.push('$');
            after
        };
    }
    expanded.push_str(rest);
    expanded
}

/// The text that [`expand`] (and Kubernetes) turns back into `value`: data is never taken for a reference.
#[must_use]
pub fn escape(value: &str) -> String {
    value.replace('$', "$$")
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn item(value: Value) -> Item {
        serde_json::from_value(value).unwrap()
    }

    pub(crate) fn spec() -> RunSpec {
        RunSpec {
            run: 42,
            queue: "claps-a".into(),
            batch: 7,
            namespace: None,
            first_item: 3,
            last_item: 3,
            attempt: 2,
            token: "5a0e".into(),
            items: vec![item(json!({"user": "ann $(PGBATCH_RUN_TOKEN)", "duration-seconds": 5}))],
            job_template: None,
            sql_role: None,
            pending_pod_conditions: None,
            items_per_run: 1,
            waited_ms: None,
            traceparent: None,
        }
    }

    fn names(spec: &RunSpec) -> Vec<String> {
        variables(spec).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn one_item() {
        let expected = [
            ("PGBATCH_QUEUE", "claps-a"),
            ("PGBATCH_BATCH_ID", "7"),
            ("PGBATCH_RUN_ID", "42"),
            ("PGBATCH_RUN_TOKEN", "5a0e"),
            ("PGBATCH_ATTEMPT", "2"),
            ("PGBATCH_ITEM_NO", "3"),
            ("PGBATCH_ITEM", r#"{"duration-seconds":5,"user":"ann $(PGBATCH_RUN_TOKEN)"}"#),
            ("PGBATCH_ARG_DURATION_SECONDS", "5"),
            ("PGBATCH_ARG_USER", "ann $(PGBATCH_RUN_TOKEN)"),
        ];
        let got = variables(&spec());
        let got: Vec<(&str, &str)> = got.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn its_program_goes_on_in_its_trace() {
        let traced = RunSpec { traceparent: Some("00-1-2-01".into()), ..spec() };
        assert_eq!(variables(&traced).pop(), Some(("TRACEPARENT".into(), "00-1-2-01".into())));
        assert!(!names(&spec()).contains(&"TRACEPARENT".to_owned()));
    }

    #[test]
    fn several_items() {
        let items = vec![item(json!({"n": 1})), item(json!({"n": 2}))];
        let several = RunSpec { first_item: 3, last_item: 4, items, items_per_run: 2, ..spec() };
        let got = variables(&several);
        assert_eq!(got[5], ("PGBATCH_ITEMS".into(), r#"[{"n":1}, {"n":2}]"#.into()));
        assert_eq!(names(&several)[6..], ["PGBATCH_FIRST_ITEM_NO", "PGBATCH_LAST_ITEM_NO"]);
    }

    #[test]
    fn a_single_item_of_a_queue_that_takes_several() {
        let single = RunSpec { items_per_run: 10, items: vec![item(json!({"n": 1}))], ..spec() };
        let expected = ["ITEMS", "FIRST_ITEM_NO", "LAST_ITEM_NO", "ITEM_NO", "ITEM", "ARG_N"];
        assert_eq!(names(&single)[5..], expected.map(|n| format!("PGBATCH_{n}")));
    }

    #[test]
    fn scalars_become_arguments() {
        let cases = [
            (json!({"a": "x"}), vec![("A", "x")]),
            (json!({"a": 1.5, "b": true, "c": -3}), vec![("A", "1.5"), ("B", "true"), ("C", "-3")]),
            (json!({"a": null, "b": [1], "c": {"d": 1}}), vec![]),
            (json!({"über-Größe.x": "y"}), vec![("_BER_GR__E_X", "y")]),
            // 'A-b' sorts before 'a_b': the first wins, whatever order the map has.
            (json!({"a_b": "second", "A-b": "first"}), vec![("A_B", "first")]),
            // A null is no value, so it takes no name.
            (json!({"A-b": null, "a_b": "second"}), vec![("A_B", "second")]),
            (json!({"": "x"}), vec![("", "x")]),
        ];
        for (value, expected) in cases {
            let expected: BTreeMap<String, String> =
                expected.into_iter().map(|(n, v)| (format!("PGBATCH_ARG_{n}"), v.to_owned())).collect();
            assert_eq!(arguments(&item(value.clone())), expected, "{value}");
        }
    }

    #[test]
    fn expansion_is_that_of_kubernetes() {
        // The cases of k8s.io/kubernetes third_party/forked/golang/expansion, and some with more than ASCII.
        let cases = [
            ("$(VAR_A)", "A"),
            ("___$(VAR_B)___", "___B___"),
            ("___$(VAR_C)", "___C"),
            ("$(VAR_A)-$(VAR_A)", "A-A"),
            ("$(VAR_A)-1", "A-1"),
            ("$(VAR_DNE)", "$(VAR_DNE)"),
            ("foo$(VAR_EMPTY)bar", "foobar"),
            ("$$(VAR_A)", "$(VAR_A)"),
            ("$$$(VAR_A)", "$A"),
            ("$$$$(VAR_A)", "$$(VAR_A)"),
            ("foo$$(foo)bar", "foo$(foo)bar"),
            ("$VAR_A", "$VAR_A"),
            ("${VAR_A}", "${VAR_A}"),
            ("f000-$(VAR_A", "f000-$(VAR_A"),
            ("$$Var", "$Var"),
            ("$()", "$()"),
            ("$", "$"),
            ("a$", "a$"),
            ("$(", "$("),
            ("$($(VAR_A))", "$($(VAR_A))"),
            ("$(VAR_REF)", "$(VAR_A)"),
            ("$é$(VAR_A)é", "$éAé"),
        ];
        let values =
            [("VAR_A", "A"), ("VAR_B", "B"), ("VAR_C", "C"), ("VAR_EMPTY", ""), ("VAR_REF", "$(VAR_A)")];
        for (text, expected) in cases {
            let got = expand(text, |name| values.iter().find(|(n, _)| *n == name).map(|(_, v)| *v));
            assert_eq!(got, expected, "{text:?}");
        }
    }

    #[test]
    fn data_survives_expansion() {
        for value in ["", "$", "$$", "$(A)", "$$(A)", "a$(A)b$$", "$(", "x$", "ümläut $(A) $"] {
            assert_eq!(expand(&escape(value), |_| Some("spliced")), value, "{value:?}");
        }
    }
}
