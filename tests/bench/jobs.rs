//! Commit to Job created, one at a time, beside a bare POST of the same Job in the same run.
//!
//! The commit is the moment at which the client has its acknowledgement, "created" the one at which the API server had answered
//! the POST, by its audit log; the clocks are one machine's. The enqueue itself, with the flush of its commit, is a side of its own.

use std::time::{Duration, Instant};

use e2e::cluster::Cluster;
use e2e::postgres::Server;
use e2e::world::World;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{Api, PostParams};

use crate::api_server::{Audit, bare, client, quiet_dispatcher, suspended};
use crate::figures::{Bar, Report, Side, quantile};
use crate::rig::Failed;
use crate::settings::Settings;

/// Jobs of a turn, one after the other.
const JOBS: usize = 70;
/// After each, until what follows it is over too, watches and the Job controller's work.
const REST: Duration = Duration::from_millis(100);

pub(crate) async fn jobs(server: &Server, settings: &Settings) -> Result<Report, Failed> {
    let cluster = Cluster::find()?;
    let namespace = cluster.namespace("bench")?;
    let world = World::on("bench", server).await?;
    let _dispatcher = quiet_dispatcher(&world, &cluster, &namespace.name)?;
    world
        .client
        .execute("SELECT pgbatch.create_queue('bench', $1, max_parallel => 10000)", &[&suspended()])
        .await?;
    let jobs: Api<Job> = Api::namespaced(client(&cluster).await?, &namespace.name);

    let mut sides = [
        "commit to Job created, p50",
        "bare POST of the Job, p50",
        "commit to Job created, p99",
        "bare POST of the Job, p99",
        "the enqueue itself, to its acknowledgement, p50",
    ]
    .map(|name| Side::new(name, "ms"));
    // The first turn warms connections and caches of both sides.
    for round in 0..=settings.rounds {
        let (mut enqueues, mut creates, mut posts) = (vec![], vec![], vec![]);
        for number in 0..JOBS {
            let (enqueued, created, job) = insert(&world, &cluster, &jobs, &namespace.name).await?;
            enqueues.push(enqueued.as_secs_f64() * 1e3);
            creates.push(created);
            posts.push(post(&jobs, &job, round * JOBS + number).await?.as_secs_f64() * 1e3);
        }
        if round > 0 {
            let figures =
                [(&creates, 0.5), (&posts, 0.5), (&creates, 0.99), (&posts, 0.99), (&enqueues, 0.5)];
            for (side, (times, part)) in sides.iter_mut().zip(figures) {
                side.rounds.push(quantile(times, part));
            }
        }
    }
    let mut report = Report::default();
    let what =
        "commit to Job created on the real API server, one at a time, against a bare POST of that Job, p50";
    report.compare(what, &sides[0], &sides[1], Bar::AtMost(1.5));
    report.notes.push(format!("{JOBS} Jobs a turn, one at a time."));
    report.sides = sides.into();
    Ok(report)
}

/// One enqueue, until its Job is created. Returns the time to its acknowledgement, the milliseconds from there on, which are less
/// than none where the Job was quicker than the acknowledgement, and the Job as the server has it.
async fn insert(
    world: &World,
    cluster: &Cluster,
    jobs: &Api<Job>,
    namespace: &str,
) -> Result<(Duration, f64, Job), Failed> {
    let audit = Audit::begin(cluster)?;
    let started = Instant::now();
    world.client.execute("SELECT pgbatch.enqueue('bench', '{\"n\": 1}')", &[]).await?;
    let (enqueued, committed) = (started.elapsed(), Timestamp::now());
    // Nobody asks anything meanwhile: the answer says when it was.
    tokio::time::sleep(REST).await;
    let created = audit.until_created(namespace, 1).await;
    let (name, at) = created.into_iter().next().ok_or("no Job was created")?;
    Ok((enqueued, at.duration_since(committed).as_secs_f64() * 1e3, jobs.get(&name).await?))
}

/// The same Job under another name, posted with nothing around it.
async fn post(jobs: &Api<Job>, job: &Job, number: usize) -> Result<Duration, Failed> {
    let bare = bare(job, format!("bare-{number}"));
    let started = Instant::now();
    jobs.create(&PostParams::default(), &bare).await?;
    let posted = started.elapsed();
    tokio::time::sleep(REST).await;
    Ok(posted)
}
