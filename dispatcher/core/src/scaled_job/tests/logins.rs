//! What a trigger logs in with, where somebody has read its TriggerAuthentication.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{kafka, noted, scaled_job};
use crate::scaled_job::authentication::{Found, Reference, attach, references};
use crate::scaled_job::{Import, NoteKind, Problem, Source, import};

fn found(parameters: &[&str], sasl: Option<&str>, tls: Option<&str>) -> Found {
    Found {
        folder: "there".to_owned(),
        parameters: parameters.iter().map(|name| (*name).to_owned()).collect(),
        sasl: sasl.map(str::to_owned),
        tls: tls.map(str::to_owned),
    }
}

/// A kafka trigger with this `metadata`, and what was found.
fn with(metadata: &Value, found: Found) -> Result<Import, Problem> {
    let mut triggers = kafka(metadata);
    triggers[0]["authenticationRef"] = json!({"name": "login", "kind": "TriggerAuthentication"});
    let mut manifest = scaled_job(&json!({}), &triggers);
    attach(&mut manifest, &BTreeMap::from([("spec.triggers[0]".to_owned(), found)]));
    import(&manifest)
}

fn options(import: &Import) -> Value {
    let Source::Kafka(kafka) = &import.triggers[0].source else { panic!("{import:?}") };
    kafka.options.clone()
}

#[test]
fn its_parameters_are_files_and_nothing_is_to_be_done() {
    let all = ["sasl", "tls", "username", "password", "ca", "cert", "key", "keyPassword"];
    let tls = json!({"ca_file": "there/ca", "cert_file": "there/cert", "key_file": "there/key",
        "key_password_file": "there/keyPassword"});
    let sasl = |mechanism: &str| json!({"mechanism": mechanism, "username_file": "there/username", "password_file": "there/password"});
    let cases = [
        (
            json!({}),
            found(&all, Some("scram_sha512"), Some("enable")),
            json!({"tls": tls, "sasl": sasl("SCRAM-SHA-512")}),
        ),
        // What the trigger says wins.
        (
            json!({"sasl": "plaintext", "tls": "disable"}),
            found(&all, Some("scram_sha512"), Some("enable")),
            json!({"sasl": sasl("PLAIN")}),
        ),
        (json!({"tls": "enable"}), found(&["ca"], None, None), json!({"tls": {"ca_file": "there/ca"}})),
        (json!({"tls": "enable"}), found(&[], None, None), json!({"tls": true})),
        (json!({}), found(&["sasl"], Some("none"), None), json!({})),
        (
            json!({"sasl": "oauthbearer"}),
            found(&["token"], None, None),
            json!({"sasl": {"mechanism": "OAUTHBEARER", "token_file": "there/token"}}),
        ),
    ];
    for (metadata, found, expected) in cases {
        let import = with(&metadata, found).unwrap();
        assert_eq!(options(&import), expected, "{metadata}");
        assert!(import.notes.iter().all(|note| note.kind != NoteKind::Todo), "{:?}", import.notes);
    }
}

#[test]
fn what_is_missing_is_said() {
    let problem = with(&json!({"sasl": "plaintext"}), found(&["username"], None, None)).unwrap_err();
    assert_eq!(problem.to_string(), "spec.triggers[0].authenticationRef: it has no parameter \"password\"");
    // KEDA would ask an issuer for the token.
    let import =
        with(&json!({"sasl": "oauthbearer"}), found(&["username", "password", "scopes"], None, None))
            .unwrap();
    assert_eq!(options(&import)["sasl"]["token_file"], "login/token");
    assert_eq!(noted(&import, "spec.triggers[0].authenticationRef"), Some(NoteKind::Todo));
    let import = with(&json!({}), found(&["sasl", "realm"], Some("gssapi"), None)).unwrap();
    assert_eq!((import.triggers.len(), noted(&import, "spec.triggers[0]")), (0, Some(NoteKind::Todo)));
    let import = with(&json!({}), found(&["realm"], None, None)).unwrap();
    assert_eq!(noted(&import, "spec.triggers[0].authenticationRef"), Some(NoteKind::Ignored));
    let mut manifest = scaled_job(&json!({}), &kafka(&json!({})));
    manifest["authentications"] = json!({"spec.triggers[0]": {"folder": 1}});
    assert_eq!(import_error(&manifest).path, "authentications");
}

fn import_error(manifest: &Value) -> Problem {
    import(manifest).unwrap_err()
}

#[test]
fn only_triggers_that_log_in_refer_to_one() {
    let triggers = json!([
        {"type": "postgresql", "authenticationRef": {"name": "database"}, "metadata": {}},
        {"type": "kafka", "authenticationRef": {"name": "one"}, "metadata": {}},
        {"type": "kafka", "metadata": {}},
        {"type": "apache-kafka", "authenticationRef": {"name": "two", "kind": "ClusterTriggerAuthentication"}, "metadata": {}},
        {"type": "kafka", "authenticationRef": {"name": ""}, "metadata": {}},
        "kafka"
    ]);
    let of = |number: u8, name: &str, is_cluster: bool| Reference {
        trigger: format!("spec.triggers[{number}]"),
        name: name.to_owned(),
        is_cluster,
    };
    assert_eq!(references(&scaled_job(&json!({}), &triggers)), [of(1, "one", false), of(3, "two", true)]);
    assert_eq!(references(&json!({"spec": 1})), []);
    let mut manifest = json!({"authentications": "somebody else's"});
    attach(&mut manifest, &BTreeMap::new());
    assert_eq!(manifest, json!({}));
}
