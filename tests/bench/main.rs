//! `make bench`: insert to Job created, one at a time, beside a bare POST of the same Job in the same run.
//!
//! The Jobs are suspended, so that no pod of an earlier one takes the processors from a later one. "Created" is the
//! moment at which the API server had answered the POST, by its audit log; the clocks are one machine's.

use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::time::{Duration, Instant};

use e2e::cluster::Cluster;
use e2e::wait::until;
use e2e::world::World;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{Api, ObjectMeta, PostParams};
use serde_json::{Value, json};

const ROUNDS: usize = 200;

type Failed = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let cluster = Cluster::find()?;
    let namespace = cluster.namespace("bench")?;
    let world = World::on_cluster("bench", &cluster).await?;
    let flag = format!("--namespace={}", namespace.name);
    let _dispatcher = world.kubernetes_dispatcher(&cluster, &[&flag])?;
    let template = json!({"spec": {"suspend": true, "template": {"spec": {"containers": [
        {"name": "main", "image": "pgbatch/tool:dev", "command": ["/bin/true"]}]}}}});
    world
        .client
        .execute("SELECT pgbatch.create_queue('bench', $1, max_parallel => 10000)", &[&template])
        .await?;
    let jobs: Api<Job> = Api::namespaced(client(&cluster).await?, &namespace.name);

    let mut inserts = Vec::new();
    let mut posts = Vec::new();
    for round in 0..ROUNDS + 5 {
        let (inserted, job) = insert(&world, &cluster, &jobs).await?;
        let posted = post(&jobs, job, round).await?;
        // The first rounds warm connections and caches of both sides.
        if round >= 5 {
            inserts.push(inserted);
            posts.push(posted);
        }
    }
    let mut out = std::io::stdout();
    writeln!(out, "command:  make bench ({ROUNDS} rounds, interleaved, one at a time)")?;
    writeln!(out, "machine:  {} processors, {}", std::thread::available_parallelism()?, system()?)?;
    writeln!(out, "                          p50        p99")?;
    writeln!(out, "insert to Job created  {}", percentiles(&mut inserts))?;
    writeln!(out, "bare POST of the Job   {}", percentiles(&mut posts))?;
    Ok(())
}

async fn client(cluster: &Cluster) -> Result<kube::Client, Failed> {
    let file = kube::config::Kubeconfig::read_from(cluster.kubeconfig())?;
    let config =
        kube::Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default()).await?;
    Ok(kube::Client::try_from(config)?)
}

/// One enqueue, until its Job is created. Returns the time, and the Job as the server has it.
async fn insert(world: &World, cluster: &Cluster, jobs: &Api<Job>) -> Result<(Duration, Job), Failed> {
    let logged = std::fs::metadata(cluster.audit_log())?.len();
    let started = Timestamp::now();
    let batch: i64 =
        world.client.query_one("SELECT pgbatch.enqueue('bench', '{\"n\": 1}')", &[]).await?.get(0);
    let run: i64 = until("the run", Duration::from_secs(10), async || {
        let row = world.client.query_opt("SELECT id FROM pgbatch.runs WHERE batch_id = $1", &[&batch]).await;
        row.ok().flatten().map(|r| r.get(0))
    })
    .await;
    let name = format!("bench-{run}");
    let created =
        until("the record of the POST", Duration::from_secs(10), async || created_at(cluster, &name, logged))
            .await;
    Ok((created.duration_since(started).try_into()?, jobs.get(&name).await?))
}

/// When the API server had answered the POST of this Job, by its log from byte `from` on.
fn created_at(cluster: &Cluster, name: &str, from: u64) -> Option<Timestamp> {
    let mut log = std::fs::File::open(cluster.audit_log()).ok()?;
    log.seek(SeekFrom::Start(from)).ok()?;
    BufReader::new(log)
        .lines()
        .map_while(Result::ok)
        .filter(|l| l.contains(name) && l.contains("\"create\""))
        .filter_map(|l| serde_json::from_str::<Value>(&l).ok())
        .filter(|e| e["stage"] == "ResponseComplete" && e["objectRef"]["resource"] == "jobs")
        .filter(|e| e["objectRef"]["name"] == name || e["responseObject"]["metadata"]["name"] == name)
        .find_map(|e| e["stageTimestamp"].as_str()?.parse().ok())
}

/// The same Job under another name, posted with nothing around it.
async fn post(jobs: &Api<Job>, job: Job, round: usize) -> Result<Duration, Failed> {
    let mut spec = job.spec.unwrap_or_default();
    // What the server filled in for the first one is made anew for the second.
    spec.selector = None;
    if let Some(metadata) = &mut spec.template.metadata {
        metadata.labels = None;
    }
    let name = Some(format!("bare-{round}"));
    let bare = Job { metadata: ObjectMeta { name, ..ObjectMeta::default() }, spec: Some(spec), status: None };
    let started = Instant::now();
    jobs.create(&PostParams::default(), &bare).await?;
    Ok(started.elapsed())
}

fn percentiles(times: &mut [Duration]) -> String {
    times.sort();
    let at = |percent: usize| {
        times.get((times.len() * percent / 100).min(times.len() - 1)).copied().unwrap_or_default()
    };
    format!("{:>7.1} ms {:>7.1} ms", at(50).as_secs_f64() * 1e3, at(99).as_secs_f64() * 1e3)
}

fn system() -> std::io::Result<String> {
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let memory = memory.lines().next().unwrap_or_default().replace("MemTotal:", "").trim().to_owned();
    Ok(format!("{memory} of memory, {}", std::env::consts::ARCH))
}
