//! Insert to Job created, one at a time, beside a bare POST of the same Job in the same run.
//!
//! "Created" is the moment at which the API server had answered the POST, by its audit log; the clocks are one machine's.

use std::time::{Duration, Instant};

use e2e::cluster::Cluster;
use e2e::wait::until;
use e2e::world::World;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{Api, PostParams};

use crate::api_server::{Audit, bare, client, suspended};
use crate::figures::{Bar, Report, Side, quantile};
use crate::rig::Failed;
use crate::settings::Settings;

/// Jobs of a turn, one after the other.
const JOBS: usize = 70;

pub(crate) async fn jobs(settings: &Settings) -> Result<Report, Failed> {
    let cluster = Cluster::find()?;
    let namespace = cluster.namespace("bench")?;
    let world = World::on_cluster("bench", &cluster).await?;
    let flag = format!("--namespace={}", namespace.name);
    let _dispatcher = world.kubernetes_dispatcher(&cluster, &[&flag])?;
    world
        .client
        .execute("SELECT pgbatch.create_queue('bench', $1, max_parallel => 10000)", &[&suspended()])
        .await?;
    let jobs: Api<Job> = Api::namespaced(client(&cluster).await?, &namespace.name);

    let mut sides = [
        "insert to Job created, p50",
        "bare POST of the Job, p50",
        "insert to Job created, p99",
        "bare POST of the Job, p99",
    ]
    .map(|name| Side::new(name, "ms"));
    // The first turn warms connections and caches of both sides.
    for round in 0..=settings.rounds {
        let (mut inserts, mut posts) = (vec![], vec![]);
        for number in 0..JOBS {
            let (inserted, job) = insert(&world, &cluster, &jobs, &namespace.name).await?;
            inserts.push(inserted.as_secs_f64() * 1e3);
            posts.push(post(&jobs, &job, round * JOBS + number).await?.as_secs_f64() * 1e3);
        }
        if round > 0 {
            let figures = [(&inserts, 0.5), (&posts, 0.5), (&inserts, 0.99), (&posts, 0.99)];
            for (side, (times, part)) in sides.iter_mut().zip(figures) {
                side.rounds.push(quantile(times, part));
            }
        }
    }
    let mut report = Report::default();
    let what =
        "commit to Job created on the real API server, one at a time, against a bare POST of that Job, p50";
    report.compare(what, &sides[0], &sides[1], Bar::AtMost(1.5));
    report.notes.push(format!("{JOBS} Jobs a turn, one at a time; the server for these does not fsync."));
    report.sides = sides.into();
    Ok(report)
}

/// One enqueue, until its Job is created. Returns the time, and the Job as the server has it.
async fn insert(
    world: &World,
    cluster: &Cluster,
    jobs: &Api<Job>,
    namespace: &str,
) -> Result<(Duration, Job), Failed> {
    let audit = Audit::begin(cluster)?;
    let started = Timestamp::now();
    let batch: i64 =
        world.client.query_one("SELECT pgbatch.enqueue('bench', '{\"n\": 1}')", &[]).await?.get(0);
    let run: i64 = until("the run", Duration::from_secs(10), async || {
        let row = world.client.query_opt("SELECT id FROM pgbatch.runs WHERE batch_id = $1", &[&batch]).await;
        row.ok().flatten().map(|r| r.get(0))
    })
    .await;
    let name = format!("bench-{run}");
    let created = until("the record of the POST", Duration::from_secs(10), async || {
        audit.created(namespace).ok()?.remove(&name)
    })
    .await;
    Ok((created.duration_since(started).try_into()?, jobs.get(&name).await?))
}

/// The same Job under another name, posted with nothing around it.
async fn post(jobs: &Api<Job>, job: &Job, number: usize) -> Result<Duration, Failed> {
    let bare = bare(job, format!("bare-{number}"));
    let started = Instant::now();
    jobs.create(&PostParams::default(), &bare).await?;
    Ok(started.elapsed())
}
