use serde_json::{Value, json};

use super::*;
use crate::environment::tests::spec;

fn context() -> ManifestContext {
    ManifestContext { installation: "3f1c".into(), ..ManifestContext::default() }
}

fn with_template(template: Value) -> RunSpec {
    RunSpec { job_template: Some(template), ..spec() }
}

fn built(template: Value) -> Value {
    serde_json::to_value(build(&with_template(template), &context()).unwrap()).unwrap()
}

/// A difference is shown where it is; a wanted one is taken over by hand, so that it is read.
fn assert_golden(job: &Job, golden: &str) {
    let got = serde_json::to_string_pretty(job).unwrap();
    for (line, (got, expected)) in got.lines().zip(golden.lines()).enumerate() {
        assert_eq!(got, expected, "line {}", line + 1);
    }
    assert_eq!(got.lines().count(), golden.lines().count(), "{got}");
}

#[test]
fn a_rich_template() {
    let template = serde_json::from_str(include_str!("rich_template.json")).unwrap();
    let job = build(&with_template(template), &context()).unwrap();
    assert_golden(&job, include_str!("rich_job.json"));
}

#[test]
fn a_queue_of_sql() {
    let context =
        ManifestContext { sql_image: Some("pgbatch:1".into()), sql_secret: Some("db".into()), ..context() };
    assert_golden(&build(&spec(), &context).unwrap(), include_str!("sql_job.json"));
}

/// Never with another login, and least of all with the one that the extension's owner's statements have.
#[test]
fn a_statement_by_another_role_has_the_login_of_that_role() {
    let by = |role: &str| RunSpec { sql_role: Some(role.into()), ..spec() };
    let context = ManifestContext {
        sql_image: Some("pgbatch:1".into()),
        sql_secret: Some("db".into()),
        sql_secrets: [("shop".into(), "shop-login".into())].into(),
        ..context()
    };
    let job = serde_json::to_value(build(&by("shop"), &context).unwrap()).unwrap();
    let env = &job["spec"]["template"]["spec"]["containers"][0]["env"];
    let logins: Vec<_> = env.as_array().unwrap().iter().filter(|v| v["name"] == DATABASE_URL).collect();
    assert_eq!(logins.len(), 1);
    assert_eq!(logins[0]["valueFrom"]["secretKeyRef"], json!({"name": "shop-login", "key": SQL_SECRET_KEY}));
    assert_eq!(
        job["spec"]["template"]["spec"]["volumes"][0]["secret"]["secretName"], "shop-login",
        "and its authority"
    );
    let error = build(&by("crm"), &context).unwrap_err().to_string();
    assert!(error.contains("role \"crm\"") && error.contains("--sql-secrets crm=NAME"), "{error}");
}

#[test]
fn a_queue_of_sql_names_the_missing_flag() {
    let image = ManifestContext { sql_image: Some("pgbatch:1".into()), ..context() };
    for (context, flag) in [(context(), "--sql-image"), (image, "--sql-secret")] {
        let error = build(&spec(), &context).unwrap_err().to_string();
        assert!(error.contains(flag) && error.contains("claps-a"), "{error}");
    }
}

#[test]
fn the_conditions_by_which_a_run_is_pending_are_known_to_whoever_sees_its_pod() {
    let template = json!({"spec": {"template": {"metadata": {"annotations": {"a": "b", PENDING_POD_CONDITIONS: "Mine"}},
        "spec": {"containers": [{"name": "a", "image": "b"}]}}}});
    let spec = RunSpec {
        pending_pod_conditions: Some(vec!["Ready".into(), "example.com/Warm".into()]),
        ..with_template(template)
    };
    let job = serde_json::to_value(build(&spec, &context()).unwrap()).unwrap();
    assert_eq!(
        job["spec"]["template"]["metadata"]["annotations"],
        json!({"a": "b", PENDING_POD_CONDITIONS: "Ready,example.com/Warm"})
    );
}

#[test]
fn how_many_pods_is_up_to_the_template() {
    let containers = json!({"spec": {"containers": [{"name": "a", "image": "b"}]}});
    let cases = [
        (json!({}), json!([1, 1])),
        (json!({"parallelism": 7}), json!([1, 1])),
        (json!({"completions": 3}), json!([3, null])),
        (json!({"completionMode": "Indexed", "completions": 4, "parallelism": 2}), json!([4, 2])),
        (json!({"completionMode": "NonIndexed"}), json!([1, 1])),
    ];
    for (mut job, expected) in cases {
        job["template"] = containers.clone();
        let got = built(json!({"spec": job}));
        assert_eq!(json!([got["spec"]["completions"], got["spec"]["parallelism"]]), expected, "{job}");
    }
}

#[test]
fn a_policy_of_its_own_stays() {
    let rules = json!([{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [3]}}]);
    let got = built(json!({"spec": {
        "podFailurePolicy": {"rules": rules}, "backoffLimitPerIndex": 2, "suspend": true,
        "template": {"spec": {"containers": []}},
    }}));
    assert_eq!(got["spec"]["podFailurePolicy"]["rules"], rules);
    assert_eq!(got["spec"]["backoffLimit"], Value::Null);
    assert_eq!(got["spec"]["suspend"], json!(true));
}

#[test]
fn a_template_that_is_none_is_an_error() {
    let error = build(&with_template(json!({"spec": 1})), &context()).unwrap_err();
    assert!(matches!(error, ManifestError::ReadTemplate(_)), "{error}");
}
