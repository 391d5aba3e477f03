//! `make demo`: the claps, from an empty database to sixty that sounded.
//!
//! `EXECUTOR=process|kubernetes`; `KEEP=1` leaves all of it running until Ctrl-C.

use std::io::{Write, stdout};
use std::process::Command;

use e2e::claps::{self, CLAPS, Kind};
use e2e::cluster::{Cluster, Namespace};
use e2e::dispatcher::Dispatcher;
use e2e::postgres::OWNER;
use e2e::repository;
use e2e::world::World;
use serde_json::{Value, json};
use tokio_postgres::Client;

type Failed = Box<dyn std::error::Error>;

/// What runs while the demo does; the end of the value is the end of it.
struct Stage {
    world: World,
    _dispatcher: Dispatcher,
    namespace: Option<Namespace>,
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let executor = std::env::var("EXECUTOR").unwrap_or_default();
    let (mut stage, command, env) = match executor.as_str() {
        "" | "process" => on_processes().await?,
        "kubernetes" => on_kubernetes().await?,
        other => return Err(format!("EXECUTOR={other}: there are process and kubernetes").into()),
    };
    claps::set_up(&stage.world.client, Kind::Image, &command, &env).await?;
    let batch = claps::enqueue(&mut stage.world.client, Kind::Image, 1).await?;
    say(&format!(
        "{CLAPS} claps enqueued as batch {batch}; each fails three times and succeeds at the fourth"
    ))?;
    // Its exit status is the batch's; the row below tells more.
    let _ended = Command::new(Dispatcher::binary())
        .args(["watch", &batch.to_string()])
        .env("PGBATCH_DATABASE_URL", stage.world.database.url(OWNER))
        .status()?;
    let succeeded = tell_outcome(&stage.world.client, batch).await?;
    tell_where_to_look(&stage)?;
    if std::env::var("KEEP").is_ok_and(|keep| keep == "1") {
        say("KEEP=1: still running; Ctrl-C ends it")?;
        tokio::signal::ctrl_c().await?;
    }
    let failed = CLAPS - succeeded;
    drop(stage);
    say(&format!("{CLAPS} items, {succeeded} succeeded, {failed} failed"))?;
    if failed == 0 { Ok(()) } else { Err("not every clap sounded".into()) }
}

async fn on_processes() -> Result<(Stage, Value, Value), Failed> {
    say("a private PostgreSQL with the extension")?;
    let world = World::new("demo").await?;
    say("the dispatcher, with local processes")?;
    let dispatcher = world.dispatcher(&[])?;
    let env = world.database_env();
    let command = json!([repository().join("deploy/examples/claps/clap.sh")]);
    Ok((Stage { world, _dispatcher: dispatcher, namespace: None }, command, env))
}

async fn on_kubernetes() -> Result<(Stage, Value, Value), Failed> {
    let cluster = Cluster::find()?;
    say("a private PostgreSQL with the extension, in the cluster's network")?;
    let world = World::on_cluster("demo", &cluster).await?;
    let namespace = cluster.namespace("demo")?;
    world.sql_secret(&cluster, &namespace.name)?;
    say(&format!("the dispatcher, with Jobs in namespace {}", namespace.name))?;
    let dispatcher = world.kubernetes_dispatcher(&cluster, &[&format!("--namespace={}", namespace.name)])?;
    let env = world.pod_database_env(&cluster);
    let stage = Stage { world, _dispatcher: dispatcher, namespace: Some(namespace) };
    Ok((stage, json!(["/usr/local/bin/clap.sh"]), env))
}

/// Prints the batch's row; returns how many claps succeeded.
async fn tell_outcome(client: &Client, batch: i64) -> Result<i64, Failed> {
    let row = client
        .query_one(
            "SELECT id, queue, state, items::bigint, succeeded::bigint, failed::bigint, \
             (SELECT count(*) FROM pgbatch.runs WHERE batch_id = $1), \
             date_trunc('milliseconds', finished_at - created_at)::text FROM pgbatch.batches WHERE id = $1",
            &[&batch],
        )
        .await?;
    let mut out = stdout();
    writeln!(out, "\n id | queue | state     | items | succeeded | failed | runs | took")?;
    writeln!(
        out,
        "{:>3} | {} | {:<9} | {:>5} | {:>9} | {:>6} | {:>4} | {}\n",
        row.get::<_, i64>(0),
        row.get::<_, &str>(1),
        row.get::<_, &str>(2),
        row.get::<_, i64>(3),
        row.get::<_, i64>(4),
        row.get::<_, i64>(5),
        row.get::<_, i64>(6),
        row.get::<_, &str>(7),
    )?;
    Ok(row.get(4))
}

fn tell_where_to_look(stage: &Stage) -> Result<(), Failed> {
    let (socket, port) = stage.world.database.socket();
    say("where to look next, with KEEP=1:")?;
    let mut out = stdout();
    writeln!(out, "  psql -h {} -p {port} -U {OWNER} {}", socket.display(), stage.world.database.name)?;
    writeln!(out, "    SELECT * FROM pgbatch.batches;")?;
    writeln!(out, "    SELECT item_no, state, attempts, error FROM pgbatch.items WHERE batch_id = 1;")?;
    writeln!(out, "    SELECT job_name, attempt, state, exit_code, message FROM pgbatch.runs ORDER BY id;")?;
    writeln!(out, "    SELECT * FROM clap;")?;
    if let Some(namespace) = &stage.namespace {
        writeln!(
            out,
            "  target/cluster/bin/kubectl --kubeconfig target/cluster/kubeconfig -n {} get jobs",
            namespace.name
        )?;
    }
    writeln!(out, "  the dispatcher's log: {}", stage.world.dir.display())?;
    Ok(())
}

fn say(words: &str) -> std::io::Result<()> {
    writeln!(stdout(), "demo: {words}")
}
