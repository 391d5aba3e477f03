//! What a dispatcher does that has nothing to do, for a thousand queues.

use std::io;
use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::wait::until;
use e2e::world::World;
use serde_json::Value;

use crate::api_server::{Audit, quiet_dispatcher, suspended};
use crate::figures::{Bar, Report, Side};
use crate::rig::Failed;
use crate::settings::Settings;

/// Its two sessions, as the server's log names them.
const SESSIONS: [&str; 2] = ["pgbatch dispatch", "pgbatch doorbell"];

/// And in the API server's log.
const AGENT: &str = "\"userAgent\":\"pgbatch/";

pub(crate) async fn idle(settings: &Settings) -> Result<Report, Failed> {
    let queues = settings.items(1000);
    let time = settings.turn(30);
    let cluster = Cluster::find()?;
    let namespace = cluster.namespace("bench-idle")?;
    let world = World::on_cluster("bench-idle", &cluster).await?;
    let sql = "SELECT pgbatch.create_queue('idle-' || n, $1) FROM generate_series(1, $2::bigint) n";
    world.client.execute(sql, &[&suspended(), &queues]).await?;
    let dispatcher = quiet_dispatcher(&world, &cluster, &namespace.name)?;
    // One item has gone all the way, so that nothing is done for the first time later.
    let audit = Audit::begin(&cluster)?;
    let batch: i64 = world.client.query_one("SELECT pgbatch.enqueue('idle-1')", &[]).await?.get(0);
    until("its Job", Duration::from_secs(60), async || {
        audit.created(&namespace.name).ok().filter(|created| !created.is_empty())
    })
    .await;
    world.client.execute("SELECT pgbatch.cancel_batch($1)", &[&batch]).await?;
    until("its end", Duration::from_secs(60), async || {
        let sql = "SELECT FROM pgbatch.batches WHERE id = $1 AND state = 'cancelled'";
        world.client.query_opt(sql, &[&batch]).await.ok().flatten()
    })
    .await;
    tokio::time::sleep(Duration::from_secs(5)).await;

    let statements = || SESSIONS.iter().map(|name| world.statements_of(name)).sum::<io::Result<usize>>();
    // What is not counted when there is much would not be when there is none.
    if statements()? == 0 || audit.requests(AGENT)?.is_empty() {
        return Err("neither log knows the dispatcher".into());
    }
    let (audit, before, cpu_before) = (Audit::begin(&cluster)?, statements()?, cpu(dispatcher.id())?);
    tokio::time::sleep(time).await;
    let busy = cpu(dispatcher.id())? - cpu_before;
    let statements = statements()? - before;
    let requests = audit.requests(AGENT)?;
    let of_others = requests.iter().filter(|request| request["verb"] != "watch").count();
    let opened = requests.iter().filter(|r| r["verb"] == "watch" && is_first(r)).count();

    let mut report = Report::default();
    let what = format!("idle with {queues} queues for {} s", time.as_secs());
    for (words, value, unit, bar) in [
        ("statements", statements as f64, "", Bar::AtMost(0.0)),
        ("API requests but the watches", of_others as f64, "", Bar::AtMost(0.0)),
        ("processor", 100.0 * busy.as_secs_f64() / time.as_secs_f64(), "% of a core", Bar::Below(0.1)),
        ("resident memory", resident_mb(dispatcher.id())?, "MB", Bar::Below(25.0)),
    ] {
        let mut side = Side::new(format!("pgbatch dispatch, {words}"), unit);
        side.rounds.push(value);
        report.state(format!("{what}, {words}"), &side, bar);
        report.sides.push(side);
    }
    report.notes.push(format!(
        "Statements by the server's log, requests by the API server's, in which {opened} watches were opened anew, as each \
         ends after some 5 minutes. SECONDS=600 is the ten minutes."
    ));
    Ok(report)
}

/// A watch has a line when it begins, and one when it ends.
fn is_first(request: &Value) -> bool {
    request["stage"] == "ResponseStarted"
}

/// What the threads of a process have had of the processors.
fn cpu(process: u32) -> io::Result<Duration> {
    let mut nanoseconds = 0;
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        nanoseconds += text.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or_default();
    }
    Ok(Duration::from_nanos(nanoseconds))
}

fn resident_mb(process: u32) -> Result<f64, Failed> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    let kib: f64 = line.split_whitespace().nth(1).ok_or("no number")?.parse()?;
    Ok(kib * 1024.0 / 1e6)
}
