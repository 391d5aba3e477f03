//! An API server that turns requests away, by its Priority and Fairness.

use std::io;

use e2e::cluster::Cluster;
use serde_json::json;

use crate::on_cluster::{ACCOUNT, OnCluster};

/// While it lasts, requests that create Jobs for the account of [`OnCluster::service_account`] go one at a time, and those that come
/// meanwhile are turned away: the smallest share there is.
pub(crate) struct OneAtATime {
    cluster: Cluster,
    name: String,
}

impl OneAtATime {
    pub(crate) fn begin(on: &OnCluster) -> io::Result<Self> {
        let name = on.namespace.name.as_str();
        let api = "flowcontrol.apiserver.k8s.io/v1";
        let subject =
            json!({"kind": "ServiceAccount", "serviceAccount": {"name": ACCOUNT, "namespace": name}});
        // Before the first of them is made.
        let made = Self { cluster: on.cluster.clone(), name: name.to_owned() };
        on.cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": api, "kind": "PriorityLevelConfiguration", "metadata": {"name": name},
             "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 0, "lendablePercent": 0,
                      "borrowingLimitPercent": 0, "limitResponse": {"type": "Reject"}}}},
            {"apiVersion": api, "kind": "FlowSchema", "metadata": {"name": name},
             "spec": {"priorityLevelConfiguration": {"name": name}, "matchingPrecedence": 2,
                      "rules": [{"subjects": [subject], "resourceRules": [{"verbs": ["create"],
                                 "apiGroups": ["batch"], "resources": ["jobs"], "namespaces": ["*"]}]}]}}]}))?;
        Ok(made)
    }
}

impl Drop for OneAtATime {
    fn drop(&mut self) {
        for kind in ["flowschema", "prioritylevelconfiguration"] {
            if let Err(error) = self.cluster.kubectl(&["delete", kind, &self.name, "--ignore-not-found"]) {
                eprintln!("{error}");
            }
        }
    }
}
