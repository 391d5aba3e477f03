//! The real Kubernetes of `make cluster`, seen through kubectl as a person would see it.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use crate::repository;

/// A cluster of this clone.
#[derive(Debug, Clone)]
pub struct Cluster {
    dir: PathBuf,
    facts: BTreeMap<String, String>,
}

/// Names the folder of another cluster than that of `make cluster`.
const DIR: &str = "PGBATCH_CLUSTER_DIR";

impl Cluster {
    /// The running cluster.
    ///
    /// # Errors
    /// There is none: `make cluster` starts it.
    pub fn find() -> io::Result<Self> {
        Self::in_dir(std::env::var_os(DIR).map_or_else(|| repository().join("target/cluster"), PathBuf::from))
    }

    /// A cluster that nobody minds to see broken: started by the first who asks, beside that of `make cluster`. It stays
    /// until `make cluster-down`.
    ///
    /// # Errors
    /// It does not start: the script has said why.
    pub fn to_be_broken() -> io::Result<Self> {
        let dir = repository().join("target/broken-cluster");
        let status = script("up.sh").env(DIR, &dir).stdout(Stdio::null()).status()?;
        match status.success() {
            true => Self::in_dir(dir),
            false => Err(io::Error::other(format!("up.sh: {status}"))),
        }
    }

    fn in_dir(dir: PathBuf) -> io::Result<Self> {
        let path = dir.join("env");
        let text = std::fs::read_to_string(&path)
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}; run make cluster", path.display())))?;
        let facts =
            text.lines().filter_map(|l| l.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect();
        Ok(Self { dir, facts })
    }

    fn fact(&self, name: &str) -> &str {
        self.facts.get(name).map_or("", String::as_str)
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> &str {
        self.fact("KUBECONFIG")
    }

    /// The network namespace that the cluster lives in.
    #[must_use]
    pub fn netns(&self) -> &str {
        self.fact("CLUSTER_NETNS")
    }

    /// An address inside it that pods and the host reach.
    #[must_use]
    pub fn node_ip(&self) -> &str {
        self.fact("CLUSTER_NODE_IP")
    }

    /// The API server's record of every request.
    #[must_use]
    pub fn audit_log(&self) -> PathBuf {
        self.dir.join("logs/audit.log")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(repository().join("target/cluster/bin/kubectl"));
        command.args(arguments).env("KUBECONFIG", self.kubeconfig()).stdin(Stdio::null());
        command
    }

    /// Runs kubectl and returns what it printed.
    ///
    /// # Errors
    /// kubectl failed: the error is its stderr.
    pub fn kubectl(&self, arguments: &[&str]) -> io::Result<String> {
        let Output { status, stdout, stderr } = self.command(arguments).output()?;
        if !status.success() {
            let words = String::from_utf8_lossy(&stderr);
            return Err(io::Error::other(format!("kubectl {}: {words}", arguments.join(" "))));
        }
        Ok(String::from_utf8_lossy(&stdout).into_owned())
    }

    /// Applies a manifest.
    ///
    /// # Errors
    /// kubectl failed.
    pub fn apply(&self, manifest: &Value) -> io::Result<()> {
        self.feed(&["apply", "--filename", "-"], manifest)
    }

    /// Evicts a pod as a drain does it.
    ///
    /// # Errors
    /// kubectl failed.
    pub fn evict(&self, namespace: &str, pod: &str) -> io::Result<()> {
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/eviction");
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": pod, "namespace": namespace}});
        self.feed(&["create", "--raw", &path, "--filename", "-"], &eviction)
    }

    fn feed(&self, arguments: &[&str], manifest: &Value) -> io::Result<()> {
        let mut kubectl = self.command(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        if let Some(mut stdin) = kubectl.stdin.take() {
            stdin.write_all(manifest.to_string().as_bytes())?;
        }
        match kubectl.wait()?.success() {
            true => Ok(()),
            false => Err(io::Error::other(format!("kubectl {} failed", arguments.join(" ")))),
        }
    }

    /// The API server as a port of this host, for plain HTTP: whoever comes there is the user of this kubeconfig.
    ///
    /// # Errors
    /// kubectl does not start.
    pub fn proxy(&self, kubeconfig: &str) -> io::Result<Proxy> {
        let mut kubectl = self.command(&["proxy", "--port=0", "--kubeconfig", kubeconfig]);
        // It tells of each request that is cut off.
        let mut child = kubectl.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let mut proxy = Proxy { child, port: 0 };
        let port = line.trim().rsplit(':').next().and_then(|port| port.parse().ok());
        proxy.port = port.ok_or_else(|| io::Error::other(format!("kubectl proxy: {line}")))?;
        Ok(proxy)
    }

    /// The objects of a kind in a namespace.
    ///
    /// # Errors
    /// kubectl failed.
    pub fn list(&self, namespace: &str, kind: &str) -> io::Result<Vec<Value>> {
        let text = self.kubectl(&["get", kind, "--namespace", namespace, "--output", "json"])?;
        let mut list: Value = serde_json::from_str(&text)?;
        Ok(list["items"].as_array_mut().map(std::mem::take).unwrap_or_default())
    }

    /// Starts, stops or kills one component alone, e.g. `kube-apiserver`.
    ///
    /// # Errors
    /// The script failed.
    pub fn component(&self, verb: &str, component: &str) -> io::Result<()> {
        let mut script = script("component.sh");
        let status = script.args([verb, component]).env(DIR, &self.dir).stdout(Stdio::null()).status()?;
        match status.success() {
            true => Ok(()),
            false => Err(io::Error::other(format!("component.sh {verb} {component}: {status}"))),
        }
    }

    /// A namespace of its own for a test; deleted with the value.
    ///
    /// # Errors
    /// kubectl failed.
    pub fn namespace(&self, test: &str) -> io::Result<Namespace> {
        let name = format!("{test}-{}", std::process::id());
        self.kubectl(&["create", "namespace", &name])?;
        Ok(Namespace { cluster: self.clone(), name })
    }
}

/// See [`Cluster::proxy`]; ends with the value.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    port: u16,
}

impl Proxy {
    /// Where it listens, on this host.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn script(name: &str) -> Command {
    Command::new(repository().join("tests/kubernetes").join(name))
}

/// A namespace that is deleted when the test is over; `PGBATCH_KEEP=1` keeps it.
#[derive(Debug)]
pub struct Namespace {
    cluster: Cluster,
    /// Its name.
    pub name: String,
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let state =
                self.cluster.kubectl(&["get", "jobs,pods", "--namespace", &self.name, "--output", "wide"]);
            eprintln!("--- jobs and pods of {}\n{}", self.name, state.unwrap_or_default());
        }
        if std::env::var_os("PGBATCH_KEEP").is_none()
            && let Err(error) = self.cluster.kubectl(&["delete", "namespace", &self.name, "--wait=false"])
        {
            eprintln!("{error}");
        }
    }
}
