//! A thousand items in one batch: how fast their Jobs are created, beside the fastest loop that posts the same manifest.

use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::postgres::Server;
use e2e::wait::until;
use e2e::world::World;
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{Api, ListParams, PostParams};

use crate::api_server::{Audit, bare, client, quiet_dispatcher, suspended};
use crate::figures::{Bar, Report, Side};
use crate::rig::{Failed, QUEUE};
use crate::settings::Settings;

/// How many posts are under way at once, in the loops of which the fastest counts.
const LOOPS: [usize; 3] = [8, 16, 32];
const LIMIT: Duration = Duration::from_secs(300);

struct Burst {
    cluster: Cluster,
    namespace: String,
    world: World,
    jobs: Api<Job>,
    size: usize,
}

pub(crate) async fn burst(server: &Server, settings: &Settings) -> Result<Report, Failed> {
    let cluster = Cluster::find()?;
    let namespace = cluster.namespace("bench-burst")?;
    let world = World::on("bench-burst", server).await?;
    let _dispatcher = quiet_dispatcher(&world, &cluster, &namespace.name)?;
    let sql = "SELECT pgbatch.create_queue($1, $2, max_parallel => 100000)";
    world.client.execute(sql, &[&QUEUE, &suspended()]).await?;
    let jobs = Api::namespaced(client(&cluster).await?, &namespace.name);
    let size = usize::try_from(settings.items(1000))?;
    let burst = Burst { cluster, namespace: namespace.name.clone(), world, jobs, size };

    let mut ours = Side::new(format!("pgbatch, Jobs of a batch of {size} items"), "Jobs/s");
    let mut theirs =
        Vec::from(LOOPS.map(|n| Side::new(format!("posts of the same Job, {n} at once"), "Jobs/s")));
    // The first turn warms connections and caches of both sides, and says which loops may be the fastest.
    burst.ours().await?;
    let job = burst.one().await?;
    for round in 0..settings.rounds {
        let mut turns: Vec<usize> = (0..=LOOPS.len()).collect();
        turns.rotate_left(round % (LOOPS.len() + 1));
        for turn in turns {
            match turn.checked_sub(1) {
                None => ours.rounds.push(burst.ours().await?),
                Some(number) => {
                    theirs[number].rounds.push(burst.theirs(&job, LOOPS[number], round).await?);
                }
            }
        }
    }
    let mut report = Report::default();
    if let Some(best) = theirs.iter().max_by(|a, b| a.median().total_cmp(&b.median())) {
        let what = format!(
            "burst of {size} items, Jobs created per second, against the fastest concurrent POST loop"
        );
        report.compare(what, &ours, best, Bar::AtLeast(0.9));
    }
    report.notes.push(
        "From the acknowledgement of the commit, or the first POST, to the last of the API server's answers, by its audit \
         log. The Jobs are suspended, and stay until the end."
            .to_owned(),
    );
    report.sides = std::iter::once(ours).chain(theirs).collect();
    Ok(report)
}

impl Burst {
    async fn ours(&self) -> Result<f64, Failed> {
        let audit = Audit::begin(&self.cluster)?;
        let query = format!("SELECT n FROM generate_series(1, {}) n", self.size);
        self.world.client.execute("SELECT pgbatch.enqueue_query($1, $2)", &[&QUEUE, &query]).await?;
        self.rate(&audit, Timestamp::now()).await
    }

    /// One of ours, as the server has it.
    async fn one(&self) -> Result<Job, Failed> {
        let list = self.jobs.list(&ListParams::default().limit(1)).await?;
        list.items.into_iter().next().ok_or_else(|| "no Job was created".into())
    }

    async fn theirs(&self, job: &Job, at_once: usize, round: usize) -> Result<f64, Failed> {
        let audit = Audit::begin(&self.cluster)?;
        let bare: Vec<Job> =
            (0..self.size).map(|number| bare(job, format!("bare-{round}-{at_once}-{number}"))).collect();
        let began = Timestamp::now();
        let parameters = PostParams::default();
        let mut posts =
            stream::iter(&bare).map(|job| self.jobs.create(&parameters, job)).buffer_unordered(at_once);
        while let Some(posted) = posts.next().await {
            posted?;
        }
        self.rate(&audit, began).await
    }

    /// Waits until all are created, and until the Job controller has seen them: its work is not the next turn's.
    async fn rate(&self, audit: &Audit, began: Timestamp) -> Result<f64, Failed> {
        let created = audit.until_created(&self.namespace, self.size).await;
        let last = created.values().max().copied().unwrap_or(began);
        let status = format!("/namespaces/{}/jobs/", self.namespace);
        until("the Job controller", LIMIT, async || {
            let told = audit.count(&[&status, "\"subresource\":\"status\""]).ok()?;
            (told >= self.size).then_some(())
        })
        .await;
        Ok(self.size as f64 / last.duration_since(began).as_secs_f64())
    }
}
