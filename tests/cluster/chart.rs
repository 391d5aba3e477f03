//! The chart, on the real cluster: installed, upgraded and uninstalled, with the rights that it gives and no more.

use std::io;
use std::process::{Command, Stdio};

use e2e::repository;
use e2e::wait::until;
use serde_json::{Value, json};

use crate::on_cluster::{OnCluster, Shape, kind_without_schema};
use crate::{SOON, Tested};

/// The values of a test: the image that the cluster has.
const VALUES: [&str; 3] = ["image.tag=dev", "image.pullPolicy=Never", "database.existingSecret=database"];

impl OnCluster {
    /// Runs helm and returns what it printed.
    pub(crate) fn helm(&self, arguments: &[&str]) -> io::Result<String> {
        let tool = Command::new(repository().join("deploy/helm/tool.sh")).stdin(Stdio::null()).output()?;
        let mut helm = Command::new(String::from_utf8_lossy(&tool.stdout).trim());
        helm.args(arguments).args(["--namespace", &self.namespace.name]);
        let output = helm.env("KUBECONFIG", self.cluster.kubeconfig()).stdin(Stdio::null()).output()?;
        if !output.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn install(&self, values: &[&str]) -> io::Result<String> {
        let chart = repository().join("deploy/helm/pgbatch");
        let chart = chart.to_string_lossy();
        let mut arguments = vec!["upgrade", "--install", "batches", &chart, "--wait", "--timeout", "3m"];
        for value in VALUES.iter().chain(values) {
            arguments.extend(["--set", value]);
        }
        self.helm(&arguments)
    }

    pub(crate) fn kubectl(&self, arguments: &[&str]) -> io::Result<String> {
        self.cluster.kubectl(&[&["--namespace", &self.namespace.name], arguments].concat())
    }

    /// Whether the dispatcher's account may do this.
    fn may(&self, verb: &str, resource: &str) -> bool {
        let account = format!("--as=system:serviceaccount:{}:batches-pgbatch", self.namespace.name);
        // `kubectl auth can-i` fails where it says no.
        self.kubectl(&["auth", "can-i", verb, resource, &account]).is_ok_and(|said| said.trim() == "yes")
    }

    async fn one_batch(&self) -> Tested {
        let batch = self.enqueue("hello", json!({})).await?;
        self.until_state(batch, "succeeded", SOON).await;
        Ok(())
    }
}

#[tokio::test]
async fn it_is_installed_upgraded_and_uninstalled() -> Tested {
    let on = OnCluster::new("chart").await?;
    on.world.sql_secret(&on.cluster, &on.namespace.name)?;
    on.queue("hello", "exit 0", Shape::default()).await?;

    let notes = on.install(&[])?;
    assert!(notes.contains("CREATE EXTENSION pgbatch"), "{notes}");
    on.one_batch().await?;
    for (verb, resource, expected) in [
        ("create", "jobs", true),
        ("delete", "jobs", true),
        ("watch", "pods", true),
        ("watch", "events", true),
        ("create", "events", true),
        ("patch", "events", false),
        ("list", "events", false),
        ("update", "jobs", false),
        ("delete", "pods", false),
        ("create", "pods", false),
        ("get", "secrets", false),
        ("list", "secrets", false),
        ("list", "namespaces", false),
    ] {
        assert_eq!(on.may(verb, resource), expected, "{verb} {resource}");
    }

    on.install(&["replicas=2"])?;
    assert_eq!(on.cluster.list(&on.namespace.name, "poddisruptionbudgets")?.len(), 1);
    on.one_batch().await?;
    on.install(&["replicas=1"])?;
    assert_eq!(on.cluster.list(&on.namespace.name, "poddisruptionbudgets")?.len(), 0);
    on.one_batch().await?;

    on.helm(&["uninstall", "batches", "--wait"])?;
    for kind in ["deployments", "roles", "rolebindings", "poddisruptionbudgets", "networkpolicies"] {
        assert_eq!(on.cluster.list(&on.namespace.name, kind)?, Vec::<Value>::new(), "{kind}");
    }
    assert_eq!(on.jobs().len(), 3, "the data stays");
    Ok(())
}

#[tokio::test]
async fn its_pods_comply_with_the_strictest_pod_security() -> Tested {
    let on = OnCluster::new("chart-strict").await?;
    on.kubectl(&["label", "namespace", &on.namespace.name, "pod-security.kubernetes.io/enforce=restricted"])?;
    on.world.sql_secret(&on.cluster, &on.namespace.name)?;
    on.install(&["networkPolicy.create=true"])?;
    let pods = on.cluster.list(&on.namespace.name, "pods")?;
    assert!(pods.iter().all(|pod| pod["status"]["phase"] == "Running"), "{pods:?}");
    on.helm(&["uninstall", "batches"])?;
    Ok(())
}

/// Against the real API server, where an unknown field is an error.
#[tokio::test]
async fn every_option_renders_what_the_api_server_takes() -> Tested {
    let on = OnCluster::new("chart-options").await?;
    let chart = repository().join("deploy/helm/pgbatch");
    let values = repository().join("deploy/helm/every-option.yaml");
    // That of the values: no pod is taken, be it for a trial, whose account there is not.
    on.kubectl(&["create", "serviceaccount", "dispatcher"])?;
    for names in [("PodMonitor", "podmonitors"), ("PrometheusRule", "prometheusrules")] {
        on.cluster.apply(&kind_without_schema("monitoring.coreos.com", "v1", names, "Namespaced"))?;
        let name = format!("crd/{}.monitoring.coreos.com", names.1);
        until(&format!("{} to be served", names.1), SOON, async || {
            on.cluster.kubectl(&["wait", "--for=condition=Established", &name, "--timeout=60s"]).ok()
        })
        .await;
    }
    let namespaces = format!("namespaces={{{}}}", on.namespace.name);
    let manifest = on.helm(&[
        "template",
        "batches",
        &chart.to_string_lossy(),
        "--values",
        &values.to_string_lossy(),
        "--set",
        &namespaces,
    ])?;
    let file = on.world.dir.join("manifest.yaml");
    std::fs::write(&file, manifest)?;
    let said = on.kubectl(&[
        "apply",
        "--dry-run=server",
        "--validate=strict",
        "--filename",
        &file.to_string_lossy(),
    ])?;
    assert_eq!(said.lines().count(), 11, "{said}");
    Ok(())
}
