//! How long work waits for a dispatcher that starts, and for the standby of one that was killed, with ten million items
//! pending and ten thousand live Jobs.

use std::time::{Duration, Instant};

use e2e::cluster::Cluster;
use e2e::postgres::Server;
use e2e::wait::until;
use e2e::world::World;
use tokio_postgres::Client;

use crate::api_server::{Audit, quiet_dispatcher, suspended};
use crate::backlog::fill;
use crate::figures::{Bar, Report, Side};
use crate::rig::{Failed, QUEUE};
use crate::settings::Settings;

/// The queue of the live Jobs.
const LIVE: &str = "live";
const LIMIT: Duration = Duration::from_secs(900);
/// How often it is looked whether the new item has been claimed: much less than the bar.
const LOOK: Duration = Duration::from_millis(2);

pub(crate) async fn takeover(server: &Server, settings: &Settings) -> Result<Report, Failed> {
    let pending = settings.items(10_000_000);
    // As many as pending items for a try with few.
    let live = pending.min(10_000);
    let cluster = Cluster::find()?;
    let namespace = cluster.namespace("bench-takeover")?;
    let world = World::on("bench-takeover", server).await?;
    let template = suspended().to_string();
    fill(&world.database, pending, &format!("'{template}'")).await?;
    world
        .client
        .batch_execute(&format!(
            "SELECT pgbatch.create_queue('{LIVE}', '{template}', max_parallel => {live});
             SELECT pgbatch.create_queue('{QUEUE}', '{template}', max_parallel => 1000);
             SELECT pgbatch.enqueue_query('{LIVE}', 'SELECT n FROM generate_series(1, {live}) n')"
        ))
        .await?;
    let start = || quiet_dispatcher(&world, &cluster, &namespace.name);
    let (audit, made) = (Audit::begin(&cluster)?, Instant::now());
    let mut leader = start()?;
    until_live(&world.client, live, &audit, &namespace.name).await;
    let made = made.elapsed().as_secs();

    let mut starts = Side::new("pgbatch dispatch, started, to the claim of a new item", "ms");
    let mut takeovers =
        Side::new("pgbatch dispatch, killed with a standby, to the claim of a new item", "ms");
    for _ in 0..settings.rounds {
        leader.kill()?;
        until_nobody_leads(&world.client).await;
        let item = enqueue(&world.client).await?;
        let began = Instant::now();
        leader = start()?;
        starts.rounds.push(until_claimed(&world.client, item, began).await?);

        let standby = start()?;
        until("the standby", LIMIT, async || standby.logged().ok().filter(|l| l.contains("standing by")))
            .await;
        let began = Instant::now();
        leader.kill()?;
        let item = enqueue(&world.client).await?;
        takeovers.rounds.push(until_claimed(&world.client, item, began).await?);
        leader = standby;
    }
    let mut report = Report::default();
    for (what, side) in [("start", &starts), ("take-over", &takeovers)] {
        let what = format!("{what}, with {pending} pending items and {live} live Jobs");
        report.state(what, side, Bar::Below(2000.0));
    }
    report.notes.push(format!(
        "From the start of the process, or the kill of the leader, until the claim of a new item could be seen. The Jobs are \
         real ones, suspended, which took {made} s to make."
    ));
    report.sides = vec![starts, takeovers];
    Ok(report)
}

/// Waits until all live Jobs are made. Not by the view of the queues, which counts what is pending.
async fn until_live(client: &Client, live: i64, audit: &Audit, namespace: &str) {
    let sql = "SELECT FROM pgbatch.runs WHERE queue = $1 HAVING count(*) >= $2";
    until("the live runs", LIMIT, async || client.query_opt(sql, &[&LIVE, &live]).await.ok().flatten()).await;
    until("the live Jobs", LIMIT, async || {
        audit.created(namespace).ok().filter(|created| created.len() as i64 >= live)
    })
    .await;
}

async fn until_nobody_leads(client: &Client) {
    let sql = "SELECT WHERE NOT EXISTS (SELECT FROM pg_stat_activity
        WHERE application_name LIKE 'pgbatch d%' AND datname = current_database())";
    until("the dispatcher's sessions to end", LIMIT, async || {
        client.query_opt(sql, &[]).await.ok().flatten()
    })
    .await;
}

async fn enqueue(client: &Client) -> Result<i64, Failed> {
    Ok(client.query_one("SELECT pgbatch.enqueue($1)", &[&QUEUE]).await?.get(0))
}

async fn until_claimed(client: &Client, batch: i64, began: Instant) -> Result<f64, Failed> {
    let claimed = client.prepare("SELECT FROM pgbatch.runs WHERE batch_id = $1").await?;
    while client.query_opt(&claimed, &[&batch]).await?.is_none() {
        if began.elapsed() > LIMIT {
            return Err("a new item was not claimed".into());
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(began.elapsed().as_secs_f64() * 1e3)
}
