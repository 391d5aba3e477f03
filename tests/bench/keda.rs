//! Insert to Job created beside KEDA's poll, as a loop with its operator's timing: 30 s, its default, and 1 s, its fastest.
//!
//! ```text
//! each period: SELECT count(*), in a session that stays ─> so many Jobs, one POST after another
//! ```
//! The loop is as fast as KEDA can be: Jobs claim their rows at once, it has no limit of requests, and writes no status.

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::wait::until;
use e2e::world::World;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{Api, PostParams};
use tokio::time::{Instant, sleep_until};
use tokio_postgres::Client;

use crate::api_server::{Audit, client, suspended, suspended_job, waits};
use crate::figures::{Bar, Report, Side, quantile};
use crate::rig::{Failed, QUEUE};
use crate::settings::Settings;

/// KEDA's periods, in seconds.
pub(crate) const PERIODS: [u64; 2] = [30, 1];
/// What is inserted comes a random part of this after the one before.
pub(crate) const GAP: Duration = Duration::from_secs(2);
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

pub(crate) async fn keda(settings: &Settings) -> Result<Report, Failed> {
    let cluster = Cluster::find()?;
    let namespace = cluster.namespace("bench-keda")?;
    let world = World::on_cluster("bench-keda", &cluster).await?;
    let flag = format!("--namespace={}", namespace.name);
    let _dispatcher = world.kubernetes_dispatcher(&cluster, &[&flag])?;
    let sql = "SELECT pgbatch.create_queue($1, $2, max_parallel => 100000)";
    world.client.execute(sql, &[&QUEUE, &suspended()]).await?;
    world
        .client
        .batch_execute(
            "CREATE TABLE work (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, done bool DEFAULT false)",
        )
        .await?;
    let jobs: Api<Job> = Api::namespaced(client(&cluster).await?, &namespace.name);

    let mut report = Report::default();
    for seconds in PERIODS {
        let period = Duration::from_secs(seconds);
        // Two periods, and enough inserts for a median.
        let time = settings.turn(60).max(period).min(period * 20);
        let names = ["pgbatch, beside", "KEDA's"].map(|who| format!("{who} poll each {seconds} s"));
        let mut p50 =
            names.clone().map(|name| Side::new(format!("{name}, insert to Job created, p50"), "ms"));
        let mut max = names.map(|name| Side::new(format!("{name}, insert to Job created, max"), "ms"));
        for _ in 0..settings.rounds {
            let audit = Audit::begin(&cluster)?;
            let poll = tokio::spawn(poll(world.database.connect().await?, jobs.clone(), period));
            let (ours, rows) = insert(&world.client, time).await?;
            let names = ours_by_name(&world.client, &ours).await;
            let theirs = rows.into_iter().map(|(id, at)| (format!("keda-{id}"), at)).collect();
            for (number, inserted) in [names, theirs].iter().enumerate() {
                let waits = waits(&audit, &namespace.name, inserted).await;
                p50[number].rounds.push(quantile(&waits, 0.5));
                max[number].rounds.push(quantile(&waits, 1.0));
            }
            poll.abort();
        }
        let what = format!("insert to Job created, one at a time, against KEDA's poll each {seconds} s");
        report.compare(format!("{what}, p50"), &p50[0], &p50[1], Bar::Below(1.0));
        report.compare(format!("{what}, longest"), &max[0], &max[1], Bar::Below(1.0));
        report.sides.extend([p50, max].into_iter().flatten());
    }
    report.notes.push(
        "Not KEDA but its poll as a loop, which costs 2 and 60 statements a minute for each trigger; with nothing to do ours \
         are 0. To the moment at which the API server had answered the POST, by its audit log."
            .to_owned(),
    );
    Ok(report)
}

/// What KEDA's operator does about one trigger, with its strategy "default". The period is from start to start.
async fn poll(client: Client, jobs: Api<Job>, period: Duration) -> Result<(), String> {
    let mut next = Instant::now();
    loop {
        next += period;
        let rows = client.query("SELECT id FROM work WHERE NOT done ORDER BY id", &[]).await;
        for row in rows.map_err(|e| e.to_string())? {
            let id: i64 = row.get(0);
            let job = suspended_job(format!("keda-{id}")).map_err(|e| e.to_string())?;
            jobs.create(&PostParams::default(), &job).await.map_err(|e| e.to_string())?;
            let done = "UPDATE work SET done = true WHERE id = $1";
            client.execute(done, &[&id]).await.map_err(|e| e.to_string())?;
        }
        sleep_until(next).await;
    }
}

/// When each was committed, by its number.
type Inserted = Vec<(i64, Timestamp)>;

/// Inserts one for each side, at random moments, for so long. Returns our batches, and the rows.
async fn insert(client: &Client, time: Duration) -> Result<(Inserted, Inserted), Failed> {
    let (mut ours, mut rows) = (vec![], vec![]);
    let end = Instant::now() + time;
    while Instant::now() < end {
        tokio::time::sleep(GAP.mul_f64(fastrand::f64())).await;
        let batch = client.query_one("SELECT pgbatch.enqueue($1)", &[&QUEUE]).await?.get(0);
        ours.push((batch, Timestamp::now()));
        let row = client.query_one("INSERT INTO work DEFAULT VALUES RETURNING id", &[]).await?.get(0);
        rows.push((row, Timestamp::now()));
    }
    Ok((ours, rows))
}

/// The same by the names of the Jobs.
async fn ours_by_name(client: &Client, ours: &Inserted) -> BTreeMap<String, Timestamp> {
    let batches: Vec<i64> = ours.iter().map(|(batch, _)| *batch).collect();
    let sql = "SELECT batch_id, job_name FROM pgbatch.runs WHERE batch_id = ANY ($1)";
    let rows = until("our runs", LIMIT, async || {
        client.query(sql, &[&batches]).await.ok().filter(|rows| rows.len() == batches.len())
    })
    .await;
    let names: BTreeMap<i64, String> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    ours.iter().filter_map(|(batch, at)| Some((names.get(batch)?.clone(), *at))).collect()
}
