//! What a trigger logs in with, where somebody has read its TriggerAuthentication: not the secrets, but where they are.
//!
//! Whoever can read them adds to the manifest what he has found, by [`attach`]; whoever imports a manifest from a file has
//! found nothing, and then a note tells which files are needed.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Problem;
use super::object::Object;

/// The field of a manifest beside KEDA's in which it is said what was found.
pub(super) const FIELD: &str = "authentications";
/// The triggers that log in anywhere. One of type `postgresql` needs no login here: its query is run in this database.
const TYPES: [&str; 2] = ["kafka", "apache-kafka"];
/// What a kafka trigger can use.
const USED: [&str; 9] = ["sasl", "tls", "username", "password", "token", "ca", "cert", "key", "keyPassword"];

/// The TriggerAuthentication of a trigger that logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The trigger's path in the manifest.
    pub trigger: String,
    /// Its name.
    pub name: String,
    /// Whether it is a ClusterTriggerAuthentication.
    pub is_cluster: bool,
}

/// What it has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Found {
    /// The folder in which the dispatcher finds each parameter, as a file of its name.
    pub folder: String,
    /// The parameters that there are.
    pub parameters: BTreeSet<String>,
    /// The one called `sasl`: a word of KEDA's.
    #[serde(default)]
    pub sasl: Option<String>,
    /// The one called `tls`: a word of KEDA's.
    #[serde(default)]
    pub tls: Option<String>,
}

/// The TriggerAuthentications that the triggers of a ScaledJob log in with.
#[must_use]
pub fn references(manifest: &Value) -> Vec<Reference> {
    let triggers = manifest.pointer("/spec/triggers").and_then(Value::as_array);
    let text = |value: &Value, pointer: &str| {
        value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().trim().to_owned()
    };
    let of = |(number, trigger): (usize, &Value)| {
        let name = text(trigger, "/authenticationRef/name");
        let is_one = TYPES.contains(&text(trigger, "/type").as_str()) && !name.is_empty();
        is_one.then(|| Reference {
            trigger: format!("spec.triggers[{number}]"),
            name,
            is_cluster: text(trigger, "/authenticationRef/kind") == "ClusterTriggerAuthentication",
        })
    };
    triggers.into_iter().flatten().enumerate().filter_map(of).collect()
}

/// Says in a manifest what was found for its triggers, by their paths; and nothing else than that.
pub fn attach(manifest: &mut Value, found: &BTreeMap<String, Found>) {
    if let Some(fields) = manifest.as_object_mut() {
        fields.remove(FIELD);
        if !found.is_empty() {
            fields.insert(FIELD.to_owned(), json!(found));
        }
    }
}

/// What was found, by trigger.
pub(super) fn read(root: &mut Object<'_>) -> Result<BTreeMap<String, Found>, Problem> {
    let Some(found) = root.take(FIELD) else { return Ok(BTreeMap::new()) };
    BTreeMap::deserialize(found).map_err(|error| {
        Problem::new(FIELD, error.to_string(), "It is for the dispatcher to say. Leave it out.")
    })
}

impl Found {
    pub(super) fn has(&self, parameter: &str) -> bool {
        self.parameters.contains(parameter)
    }

    /// As `watch_kafka()` names it.
    pub(super) fn file(&self, parameter: &str) -> String {
        format!("{}/{parameter}", self.folder)
    }

    /// Those that no trigger here has a use for.
    pub(super) fn unused(&self) -> Vec<&str> {
        self.parameters.iter().map(String::as_str).filter(|name| !USED.contains(name)).collect()
    }
}
