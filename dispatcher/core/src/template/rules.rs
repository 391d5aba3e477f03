//! What the types of a Job template leave open: everything there is optional or any text.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::batch::v1::JobTemplateSpec;
use k8s_openapi::api::core::v1::{Container, PodSpec, Volume};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::Problem;
use super::strict::push_key;
use super::syntax::{is_amount, is_dns_label, is_label_key, is_label_value};
use crate::name;

/// The prefix of the keys that pgbatch sets and reads.
const OWN_PREFIX: &str = "pgbatch.io/";
/// The prefix of the environment variables that tell a run what it is for.
const OWN_VARIABLES: &str = "PGBATCH_";

type Amounts = BTreeMap<String, Quantity>;
type Texts = BTreeMap<String, String>;

/// Applies every rule.
pub(super) fn check(template: &JobTemplateSpec) -> Vec<Problem> {
    let mut rules = Rules::default();
    if let Some(metadata) = &template.metadata {
        rules.metadata("metadata", metadata);
    }
    let Some(spec) = &template.spec else {
        rules.problem("spec", "missing");
        return rules.problems;
    };
    if let Some(metadata) = &spec.template.metadata {
        rules.metadata("spec.template.metadata", metadata);
    }
    match &spec.template.spec {
        Some(pod) => rules.pod("spec.template.spec", pod),
        None => rules.problem("spec.template.spec", "missing"),
    }
    rules.problems
}

#[derive(Default)]
struct Rules {
    problems: Vec<Problem>,
    containers: BTreeSet<String>,
}

impl Rules {
    fn problem(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem { path: path.into(), message: message.into() });
    }

    fn metadata(&mut self, path: &str, metadata: &ObjectMeta) {
        if metadata.namespace.is_some() {
            self.problem(
                format!("{path}.namespace"),
                "not taken from the template, give the queue a namespace",
            );
        }
        let labels_path = format!("{path}.labels");
        let labels = metadata.labels.as_ref();
        self.keys(&labels_path, labels);
        for (key, value) in labels.into_iter().flatten() {
            if key == name::MANAGED_BY {
                self.problem(at(&labels_path, key), "reserved, pgbatch sets it");
            }
            if !is_label_value(value) {
                self.problem(
                    at(&labels_path, key),
                    format!(
                        "{value:?} is not a label value: at most 63 of A-Z, a-z, 0-9, \"-\", \"_\" and \".\""
                    ),
                );
            }
        }
        self.keys(&format!("{path}.annotations"), metadata.annotations.as_ref());
    }

    fn keys(&mut self, path: &str, entries: Option<&Texts>) {
        for key in entries.into_iter().flat_map(BTreeMap::keys) {
            if key.starts_with(OWN_PREFIX) {
                self.problem(
                    at(path, key),
                    format!("reserved, pgbatch sets the keys that begin with {OWN_PREFIX}"),
                );
            } else if !is_label_key(key) {
                self.problem(at(path, key), "not a key of the form \"name\" or \"prefix/name\"");
            }
        }
    }

    fn pod(&mut self, path: &str, pod: &PodSpec) {
        if pod.containers.is_empty() {
            self.problem(format!("{path}.containers"), "missing, at least one container is needed");
        }
        for (index, container) in pod.init_containers.iter().flatten().enumerate() {
            self.container(&format!("{path}.initContainers[{index}]"), container);
        }
        for (index, container) in pod.containers.iter().enumerate() {
            self.container(&format!("{path}.containers[{index}]"), container);
        }
        if let Some(policy) = pod.restart_policy.as_deref().filter(|p| !matches!(*p, "Never" | "OnFailure")) {
            self.problem(
                format!("{path}.restartPolicy"),
                format!("{policy:?} is not for a Job, expected \"Never\" or \"OnFailure\""),
            );
        }
        if let Some(resources) = &pod.resources {
            self.amounts(&format!("{path}.resources.limits"), resources.limits.as_ref());
            self.amounts(&format!("{path}.resources.requests"), resources.requests.as_ref());
        }
        for (index, volume) in pod.volumes.iter().flatten().enumerate() {
            self.volume(&format!("{path}.volumes[{index}]"), volume);
        }
    }

    fn container(&mut self, path: &str, container: &Container) {
        let name = &container.name;
        if name.is_empty() {
            self.problem(format!("{path}.name"), "missing");
        } else if !is_dns_label(name) {
            self.problem(
                format!("{path}.name"),
                format!("{name:?} is not a name: at most 63 of a-z, 0-9 and \"-\", first and last not \"-\""),
            );
        } else if !self.containers.insert(name.clone()) {
            self.problem(format!("{path}.name"), format!("{name:?} is the name of another container, too"));
        }
        if container.image.as_deref().unwrap_or_default().is_empty() {
            self.problem(format!("{path}.image"), "missing");
        }
        for (index, variable) in container.env.iter().flatten().enumerate() {
            if variable.name.is_empty() {
                self.problem(format!("{path}.env[{index}].name"), "missing");
            } else if variable.name.starts_with(OWN_VARIABLES) {
                self.problem(
                    format!("{path}.env[{index}].name"),
                    format!("reserved, pgbatch sets the variables that begin with {OWN_VARIABLES}"),
                );
            }
        }
        if let Some(resources) = &container.resources {
            self.amounts(&format!("{path}.resources.limits"), resources.limits.as_ref());
            self.amounts(&format!("{path}.resources.requests"), resources.requests.as_ref());
        }
    }

    fn volume(&mut self, path: &str, volume: &Volume) {
        if volume.name.is_empty() {
            self.problem(format!("{path}.name"), "missing");
        }
        if let Some(limit) = volume.empty_dir.as_ref().and_then(|dir| dir.size_limit.as_ref()) {
            self.amount(format!("{path}.emptyDir.sizeLimit"), limit);
        }
    }

    fn amounts(&mut self, path: &str, amounts: Option<&Amounts>) {
        for (resource, amount) in amounts.into_iter().flatten() {
            self.amount(at(path, resource), amount);
        }
    }

    fn amount(&mut self, path: String, amount: &Quantity) {
        if !is_amount(&amount.0) {
            self.problem(path, format!("{:?} is not a quantity like \"2\", \"500m\" or \"1.5Gi\"", amount.0));
        }
    }
}

fn at(path: &str, key: &str) -> String {
    let mut path = path.to_owned();
    push_key(&mut path, key);
    path
}
