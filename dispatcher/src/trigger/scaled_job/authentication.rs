//! TriggerAuthentications: what triggers of a ScaledJob log in with. In this order:
//!
//! 1. a folder of its name below `--kafka-credentials`, a file for each parameter: then nothing is asked of the API server;
//! 2. the Secrets that it names. `get` on them is enough, and they are read again for every login (see `kafka::granted`): so
//!    a changed one is used from the next login on, without a watch on what is not ours.
//!
//! Where neither can be had, the ScaledJob is refused, and its status says what is missing. No secret is in these words.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::FutureExt;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use pgbatch_core::scaled_job::authentication::{Found, Reference, attach, references};
use pgbatch_core::scaled_job::{Source, import};
use serde_json::Value;

use crate::store::{Applied, with_causes};
use crate::trigger::kafka::{CredentialsFolder, Grant, Granted, Parameters};

/// The values of the parameters that decide how to log in. Whatever else is there is not repeated: it may be a password that
/// got there by mistake.
const SASL: [&str; 7] =
    ["none", "plaintext", "scram_sha256", "scram_sha512", "oauthbearer", "gssapi", "aws_msk_iam"];
const TLS: [&str; 2] = ["enable", "disable"];

/// Where to look.
pub(super) struct Authentications {
    pub(super) client: Client,
    /// Of ClusterTriggerAuthentications the Secrets are in the operator's namespace: here, in the dispatcher's.
    pub(super) own_namespace: String,
    pub(super) folder: CredentialsFolder,
    /// Whether one has been read.
    pub(super) is_needed: bool,
}

/// Why a trigger cannot log in, and what to do about it.
struct Missing {
    why: String,
    hint: String,
}

/// Where a parameter is.
#[derive(Clone)]
struct Place {
    parameter: String,
    secret: String,
    key: String,
}

/// The TriggerAuthentications of a namespace.
pub(super) fn resource(is_cluster: bool) -> ApiResource {
    let (kind, plural) = match is_cluster {
        true => ("ClusterTriggerAuthentication", "clustertriggerauthentications"),
        false => ("TriggerAuthentication", "triggerauthentications"),
    };
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("keda.sh", "v1alpha1", kind), plural)
}

impl Authentications {
    /// Finds out what the triggers of a ScaledJob log in with, says it in its manifest, and lets them.
    ///
    /// Returns why that cannot be done.
    pub(super) async fn find(
        &mut self,
        namespace: &str,
        name: &str,
        manifest: &mut Value,
    ) -> Result<(), Applied> {
        let mut all = BTreeMap::new();
        let mut sources = BTreeMap::new();
        for (number, reference) in references(manifest).into_iter().enumerate() {
            let folder = Granted::folder(namespace, name, number);
            let refused = |missing| refused(&reference, missing);
            let found = match self.on_disk(&reference.name).map_err(refused)? {
                Some(found) => found,
                None => {
                    let (found, source) =
                        self.in_secrets(namespace, folder, &reference).await.map_err(refused)?;
                    sources.insert(reference.trigger.clone(), (found.folder.clone(), source));
                    found
                }
            };
            all.insert(reference.trigger, found);
        }
        attach(manifest, &all);
        // What cannot be imported is refused by PostgreSQL too, and said there.
        let triggers = import(manifest).map_or_else(|_| vec![], |import| import.triggers);
        let grants = triggers.into_iter().filter_map(|trigger| match trigger.source {
            Source::Kafka(kafka) => {
                let (folder, source) = sources.remove(&trigger.path)?;
                Some((folder, source.grant(&kafka.bootstrap_servers)))
            }
            Source::Count(_) | Source::Schedule(_) => None,
        });
        self.folder.granted.put(namespace, name, grants.collect());
        Ok(())
    }

    /// One whose parameters are mounted.
    fn on_disk(&self, name: &str) -> Result<Option<Found>, Missing> {
        // As watch_kafka() lets it in as a folder.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(is_plain) {
            return Ok(None);
        }
        let Some(folder) = self.folder.below(name) else { return Ok(None) };
        let files = std::fs::read_dir(&folder).into_iter().flatten();
        let files = files.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let parameters: BTreeSet<String> = files.filter(|file| !file.starts_with('.')).collect();
        let (sasl, tls) = modes(|parameter| std::fs::read(folder.join(parameter)).ok())?;
        Ok(Some(Found { folder: name.to_owned(), parameters, sasl, tls }))
    }

    /// One whose Secrets can be read.
    async fn in_secrets(
        &mut self,
        namespace: &str,
        folder: String,
        reference: &Reference,
    ) -> Result<(Found, Secrets), Missing> {
        let places = self.places(namespace, reference).await?;
        let namespace = if reference.is_cluster { &self.own_namespace } else { namespace };
        let secrets = Secrets { client: self.client.clone(), namespace: namespace.to_owned(), places };
        let values = secrets.read().await.map_err(|why| Missing::new(why, &reference.name))?;
        let (sasl, tls) = modes(|parameter| values.get(parameter).cloned())?;
        Ok((Found { folder, parameters: values.into_keys().collect(), sasl, tls }, secrets))
    }

    /// What it says about where its parameters are.
    async fn places(&mut self, namespace: &str, reference: &Reference) -> Result<Vec<Place>, Missing> {
        let Reference { name, is_cluster, trigger: _ } = reference;
        let resource = resource(*is_cluster);
        let (api, place): (Api<DynamicObject>, _) = match is_cluster {
            true => (Api::all_with(self.client.clone(), &resource), String::new()),
            false => (
                Api::namespaced_with(self.client.clone(), namespace, &resource),
                format!(" in namespace {namespace}"),
            ),
        };
        let object = match api.get(name).await {
            Ok(object) => object,
            Err(error) => {
                let what = format!("{} {name:?}", resource.kind);
                let needed = format!("get on {}.keda.sh{place}", resource.plural);
                return Err(Missing::new(why(&what, &needed, &error), name));
            }
        };
        self.is_needed = true;
        let spec = object.data.get("spec").and_then(Value::as_object);
        let mut places = Vec::new();
        for (source, value) in spec.into_iter().flatten() {
            let is_empty = value.as_array().is_some_and(Vec::is_empty) || value["provider"] == "none";
            match source.as_str() {
                "secretTargetRef" => places.extend(value.as_array().into_iter().flatten().map(Place::read)),
                _ if is_empty => {}
                other => {
                    return Err(Missing::new(
                        format!("its {other} is not served, only secretTargetRef is"),
                        name,
                    ));
                }
            }
        }
        Ok(places)
    }
}

impl Missing {
    fn new(why: String, name: &str) -> Self {
        let hint = format!(
            "Let the dispatcher read it (the chart: scaledJobs.readSecrets); or mount its parameters as the folder {name} \
             below the dispatcher's --kafka-credentials, a file for each."
        );
        Self { why, hint }
    }
}

fn refused(reference: &Reference, missing: Missing) -> Applied {
    let error = format!("{}.authenticationRef: {}", reference.trigger, missing.why);
    Applied::Refused { error, hint: Some(missing.hint) }
}

impl Place {
    fn read(value: &Value) -> Self {
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        Self { parameter: text("parameter"), secret: text("name"), key: text("key") }
    }
}

/// Where to read the parameters of a TriggerAuthentication.
#[derive(Clone)]
struct Secrets {
    client: Client,
    namespace: String,
    places: Vec<Place>,
}

impl Secrets {
    async fn read(&self) -> Parameters {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut secrets: BTreeMap<&str, Secret> = BTreeMap::new();
        let mut values = BTreeMap::new();
        for Place { parameter, secret, key } in &self.places {
            if !secrets.contains_key(secret.as_str()) {
                let what = format!("Secret {secret:?}");
                let needed = format!("get on secrets in namespace {}", self.namespace);
                let found = api.get(secret).await.map_err(|error| why(&what, &needed, &error))?;
                secrets.insert(secret, found);
            }
            let data = secrets.get(secret.as_str()).and_then(|secret| secret.data.as_ref());
            let value = data.and_then(|data| data.get(key));
            let value = value.ok_or_else(|| format!("Secret {secret:?} has no key {key:?}"))?;
            // As with KEDA, an empty one is none.
            if !value.0.is_empty() {
                values.insert(parameter.clone(), value.0.clone());
            }
        }
        Ok(values)
    }

    fn grant(self, servers: &str) -> Grant {
        let servers = servers.split(',').map(|server| server.trim().to_owned()).collect();
        let secrets = Arc::new(self);
        let read = move || {
            let secrets = secrets.clone();
            async move { secrets.read().await }.boxed()
        };
        Grant { servers, read: Arc::new(read) }
    }
}

/// Why something cannot be read.
fn why(what: &str, needed: &str, error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 403 => {
            format!("{what} cannot be read: needed is {needed}")
        }
        kube::Error::Api(status) if status.code == 404 => {
            format!("{what} does not exist, or is not known to this cluster")
        }
        kube::Error::Api(status) => format!("{what} cannot be read: {}", status.message),
        // An answer that cannot be read is not repeated: it is of a Secret.
        kube::Error::SerdeError(_) => format!("{what} is not what it should be"),
        other => format!("{what} cannot be read: {}", with_causes(other)),
    }
}

/// The parameters `sasl` and `tls`.
fn modes(value: impl Fn(&str) -> Option<Vec<u8>>) -> Result<(Option<String>, Option<String>), Missing> {
    let mode = |parameter: &str, words: &[&str]| match value(parameter) {
        Some(value) => word(&value, words).map_err(|()| {
            let why = format!("its parameter {parameter} is none of {}", words.join(", "));
            Missing { why, hint: "See where that parameter comes from.".to_owned() }
        }),
        None => Ok(None),
    };
    Ok((mode("sasl", &SASL)?, mode("tls", &TLS)?))
}

/// One of these words; none = nothing.
fn word(value: &[u8], words: &[&str]) -> Result<Option<String>, ()> {
    let text = std::str::from_utf8(value).unwrap_or("?").trim();
    match words.iter().find(|word| **word == text) {
        Some(word) => Ok(Some((*word).to_owned())),
        None if text.is_empty() => Ok(None),
        None => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_known_word_is_not_repeated() {
        assert_eq!(word(b" scram_sha512\n", &SASL), Ok(Some("scram_sha512".to_owned())));
        assert_eq!(word(b"\n", &SASL), Ok(None));
        for bad in [b"hunter2".as_slice(), b"\xff"] {
            assert_eq!(word(bad, &SASL), Err(()));
        }
    }
}
