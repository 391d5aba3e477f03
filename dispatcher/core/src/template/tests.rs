//! Tables: a template, and what is said about it.

use serde_json::{Value, json};

use super::check;

fn problems(template: &Value) -> Vec<String> {
    check(template).err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

/// A good template, changed at one place.
fn with(pointer: &str, value: Value) -> Value {
    let mut template = json!({"spec": {"template": {"metadata": {"labels": {}}, "spec": {
        "containers": [{"name": "main", "image": "busybox", "resources": {}}]}}}});
    let (parent, key) = pointer.rsplit_once('/').unwrap_or(("", pointer));
    if let Some(Value::Object(entries)) = template.pointer_mut(parent) {
        entries.insert(key.to_owned(), value);
    }
    template
}

const POD: &str = "spec.template.spec";
const CONTAINER: &str = "/spec/template/spec/containers/0";

/// The first problem of each template begins as given.
fn check_first(cases: &[(Value, String)]) {
    for (template, expected) in cases {
        let found = problems(template);
        assert!(found.first().is_some_and(|p| p.starts_with(expected)), "{template}: {found:?}");
    }
}

#[test]
fn good_templates_pass() {
    for good in [
        with("/metadata", json!({"creationTimestamp": null, "labels": {"team": "x", "example.com/a": ""}})),
        with("/spec/backoffLimit", json!(0)),
        with("/spec/template/spec/restartPolicy", json!("OnFailure")),
        with(
            &format!("{CONTAINER}/resources"),
            json!({"limits": {"cpu": 1, "memory": "1.5Gi", "nvidia.com/gpu": "1"}}),
        ),
        with(&format!("{CONTAINER}/livenessProbe"), json!({"httpGet": {"port": "http"}})),
        with(
            &format!("{CONTAINER}/env"),
            json!([{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]),
        ),
        with(
            "/spec/template/spec/initContainers",
            json!([{"name": "side", "image": "b", "restartPolicy": "Always"}]),
        ),
        with("/spec/template/spec/volumes", json!([{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}])),
    ] {
        assert_eq!(problems(&good), Vec::<String>::new(), "{good}");
    }
}

#[test]
fn unknown_fields_and_wrong_types_are_found_with_their_path() {
    let containers = format!("{POD}.containers[0]");
    let cases = [
        (json!({"foo": 1}), "foo: unknown field".to_owned()),
        (json!([]), "$: invalid type: sequence, expected JobTemplateSpec".to_owned()),
        (json!({"kind": "Job", "spec": null}), "kind: unknown field".to_owned()),
        (
            with(&format!("{CONTAINER}/imge"), json!("b")),
            format!("{containers}.imge: unknown field, did you mean \"image\"?"),
        ),
        (
            with("/spec/template/spec/restartpolicy", json!("Never")),
            format!("{POD}.restartpolicy: unknown field, did you mean \"restartPolicy\"?"),
        ),
        (
            with("/spec/backoffLimit", json!("3")),
            "spec.backoffLimit: invalid type: string \"3\", expected i32".to_owned(),
        ),
        (
            with("/spec/parallelism", json!(99_999_999_999_i64)),
            "spec.parallelism: invalid value: integer `99999999999`, expected i32".to_owned(),
        ),
        (
            with(&format!("{CONTAINER}/env"), json!([{"name": "A"}, {"name": "B", "value": 2}])),
            format!("{containers}.env[1].value: invalid type: integer `2`, expected a string"),
        ),
        (
            with(&format!("{CONTAINER}/command"), json!("sh")),
            format!("{containers}.command: invalid type: string \"sh\", expected a sequence"),
        ),
        (
            with("/metadata", json!({"labels": {"a.b/c": 1}})),
            "metadata.labels[\"a.b/c\"]: invalid type: integer `1`, expected a string".to_owned(),
        ),
    ];
    check_first(&cases);
}

#[test]
fn missing_parts_and_bad_words_are_found_with_their_path() {
    let container = format!("{POD}.containers[0]");
    let cases = [
        (json!({}), "spec: missing".to_owned()),
        (json!({"spec": {}}), format!("{POD}: missing")),
        (
            with("/spec/template/spec/containers", json!([])),
            format!("{POD}.containers: missing, at least one container is needed"),
        ),
        (with(&format!("{CONTAINER}/name"), json!("")), format!("{container}.name: missing")),
        (
            with(&format!("{CONTAINER}/name"), json!("Main")),
            format!("{container}.name: \"Main\" is not a name"),
        ),
        (
            with("/spec/template/spec/initContainers", json!([{"name": "main", "image": "b"}])),
            format!("{container}.name: \"main\" is the name of another container"),
        ),
        (with(&format!("{CONTAINER}/image"), Value::Null), format!("{container}.image: missing")),
        (
            with("/spec/template/spec/restartPolicy", json!("Always")),
            format!("{POD}.restartPolicy: \"Always\" is not for a Job"),
        ),
        (
            with(&format!("{CONTAINER}/resources"), json!({"limits": {"cpu": "1 core"}})),
            format!("{container}.resources.limits.cpu: \"1 core\" is not a quantity"),
        ),
        (
            with(&format!("{CONTAINER}/resources"), json!({"requests": {"memory": -1}})),
            format!("{container}.resources.requests.memory: \"-1\" is not a quantity"),
        ),
        (
            with("/spec/template/spec/volumes", json!([{"name": "v", "emptyDir": {"sizeLimit": "big"}}])),
            format!("{POD}.volumes[0].emptyDir.sizeLimit: \"big\" is not a quantity"),
        ),
        (
            with(&format!("{CONTAINER}/env"), json!([{"name": "PGBATCH_ITEM", "value": "x"}])),
            format!("{container}.env[0].name: reserved"),
        ),
    ];
    check_first(&cases);
}

#[test]
fn bad_and_reserved_metadata_is_found_with_its_path() {
    let cases = [
        (
            with("/metadata", json!({"labels": {"pgbatch.io/queue": "x"}})),
            "metadata.labels[\"pgbatch.io/queue\"]: reserved".to_owned(),
        ),
        (
            with("/metadata", json!({"annotations": {"pgbatch.io/x": "x"}})),
            "metadata.annotations[\"pgbatch.io/x\"]: reserved".to_owned(),
        ),
        (
            with("/metadata", json!({"labels": {"app.kubernetes.io/managed-by": "x"}})),
            "metadata.labels[\"app.kubernetes.io/managed-by\"]: reserved".to_owned(),
        ),
        (
            with("/metadata", json!({"labels": {"a b": "x"}})),
            "metadata.labels[\"a b\"]: not a key".to_owned(),
        ),
        (
            with("/spec/template/metadata/labels", json!({"a": "x y"})),
            "spec.template.metadata.labels.a: \"x y\" is not a label value".to_owned(),
        ),
        (
            with("/metadata", json!({"namespace": "x"})),
            "metadata.namespace: not taken from the template".to_owned(),
        ),
    ];
    check_first(&cases);
}

#[test]
fn all_unknown_fields_are_listed() {
    let template = json!({"a": 1, "spec": {"b": 2, "template": {"spec": {"containers": [{"c": 3}]}}}});
    assert_eq!(problems(&template).len(), 3);
}
