//! The real API server: a client of it, the Jobs that are posted there, and its audit log, which says when it had answered.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::dispatcher::{Dispatcher, Options};
use e2e::postgres::OWNER;
use e2e::wait::until;
use e2e::world::World;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::api::ObjectMeta;
use serde_json::{Value, json};

use crate::rig::Failed;

const LIMIT: Duration = Duration::from_secs(300);

/// Jobs of these are never started, so that no pod of an earlier one takes the processors from a later one.
pub(crate) fn suspended() -> Value {
    json!({"spec": {"suspend": true, "template": {"spec": {"containers": [
        {"name": "main", "image": "pgbatch/tool:dev", "command": ["/bin/true"]}]}}}})
}

/// One of those Jobs, as somebody else would post it.
pub(crate) fn suspended_job(name: String) -> serde_json::Result<Job> {
    let mut job = suspended();
    job["metadata"] = json!({"name": name});
    job["spec"]["template"]["spec"]["restartPolicy"] = json!("Never");
    serde_json::from_value(job)
}

pub(crate) async fn client(cluster: &Cluster) -> Result<kube::Client, Failed> {
    let file = kube::config::Kubeconfig::read_from(cluster.kubeconfig())?;
    let config =
        kube::Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default()).await?;
    Ok(kube::Client::try_from(config)?)
}

/// A dispatcher with Jobs, as people run it: that of the tests logs more.
pub(crate) fn quiet_dispatcher(world: &World, cluster: &Cluster, namespace: &str) -> io::Result<Dispatcher> {
    Dispatcher::start(&Options {
        database_url: world.database.url(OWNER),
        flags: vec!["--executor=kubernetes".to_owned(), format!("--namespace={namespace}")],
        env: [("KUBECONFIG", cluster.kubeconfig()), ("PGBATCH_LOG", "info")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        log_dir: world.dir.clone(),
        netns: None,
    })
}

/// The same Job under another name, without what the server filled in for the first one.
pub(crate) fn bare(job: &Job, name: String) -> Job {
    let mut spec = job.spec.clone().unwrap_or_default();
    spec.selector = None;
    if let Some(metadata) = &mut spec.template.metadata {
        metadata.labels = None;
    }
    Job { metadata: ObjectMeta { name: Some(name), ..ObjectMeta::default() }, spec: Some(spec), status: None }
}

/// The audit log from a moment on: a line a request, written when it has been answered.
pub(crate) struct Audit {
    log: PathBuf,
    from: u64,
}

impl Audit {
    /// From now on.
    pub(crate) fn begin(cluster: &Cluster) -> io::Result<Self> {
        let log = cluster.audit_log();
        let from = std::fs::metadata(&log)?.len();
        Ok(Self { log, from })
    }

    /// The requests whose line has these words.
    pub(crate) fn requests(&self, words: &str) -> io::Result<Vec<Value>> {
        let mut file = File::open(&self.log)?;
        file.seek(SeekFrom::Start(self.from))?;
        let lines = BufReader::new(file).lines().map_while(Result::ok).filter(|line| line.contains(words));
        Ok(lines.filter_map(|line| serde_json::from_str(&line).ok()).collect())
    }

    /// How many requests have lines with all of these words. Reads no JSON: whoever waits takes little from what is measured.
    pub(crate) fn count(&self, words: &[&str]) -> io::Result<usize> {
        let mut file = File::open(&self.log)?;
        file.seek(SeekFrom::Start(self.from))?;
        let lines = BufReader::new(file).lines().map_while(Result::ok);
        Ok(lines.filter(|line| words.iter().all(|words| line.contains(words))).count())
    }

    /// Waits until the API server has answered the creates of so many Jobs of a namespace.
    pub(crate) async fn until_created(&self, namespace: &str, jobs: usize) -> BTreeMap<String, Timestamp> {
        let uri = format!("/namespaces/{namespace}/jobs");
        let words = [uri.as_str(), "\"verb\":\"create\"", "\"stage\":\"ResponseComplete\""];
        until("the Jobs", LIMIT, async || {
            self.count(&words).ok().filter(|answers| *answers >= jobs)?;
            self.created(namespace).ok().filter(|created| created.len() >= jobs)
        })
        .await
    }

    /// The Jobs of a namespace that were created, by name, and when the server had answered.
    pub(crate) fn created(&self, namespace: &str) -> io::Result<BTreeMap<String, Timestamp>> {
        let requests = self.requests(&format!("/namespaces/{namespace}/jobs"))?;
        let created = requests.iter().filter(|r| {
            r["verb"] == "create"
                && r["stage"] == "ResponseComplete"
                && r["objectRef"]["resource"] == "jobs"
                && r["responseStatus"]["code"] == 201
        });
        Ok(created.filter_map(name_and_time).collect())
    }
}

fn name_and_time(request: &Value) -> Option<(String, Timestamp)> {
    let name = request["objectRef"]["name"].as_str()?;
    Some((name.to_owned(), request["stageTimestamp"].as_str()?.parse().ok()?))
}

/// How long each Job took from its moment until it was created, in ms, once all are.
pub(crate) async fn waits(audit: &Audit, namespace: &str, from: &BTreeMap<String, Timestamp>) -> Vec<f64> {
    until("the Jobs", Duration::from_secs(120), async || {
        let created = audit.created(namespace).ok()?;
        let waits = from
            .iter()
            .map(|(name, at)| Some(created.get(name)?.duration_since(*at).as_secs_f64().max(0.0) * 1e3));
        waits.collect::<Option<Vec<f64>>>()
    })
    .await
}
