//! From KEDA: its ScaledJob is imported, and the Jobs of the scenario run.

use e2e::wait::until;
use pgbatch_core::scaled_job::manifest::read_one;
use serde_json::Value;

use crate::on_cluster::OnCluster;
use crate::{LONG, SOON, Tested, condition};

/// The manifest of the scenario that this project was born from.
const CLAPS: &str = include_str!("../../deploy/examples/keda/scaled-job.yaml");
const TABLES: &str = include_str!("../../deploy/examples/claps/tables.sql");

/// The manifest with nothing changed but where the database of the test is.
fn scaled_job(on: &OnCluster) -> Result<Value, Box<dyn std::error::Error>> {
    let mut manifest = read_one(CLAPS)?;
    let container =
        manifest.pointer_mut("/spec/jobTargetRef/template/spec/containers/0").ok_or("no container")?;
    container["env"] = on.world.pod_database_env(&on.cluster);
    Ok(manifest)
}

/// What the manifest counts.
async fn waiting(on: &OnCluster) -> i64 {
    let sql = "SELECT count(1) FROM make_it_clap LEFT JOIN clap ON clap.id = make_it_clap.id WHERE clap.status IS NULL";
    on.world.client.query_one(sql, &[]).await.map_or(-1, |row| row.get(0))
}

async fn insert(on: &OnCluster, rows: i32) -> Result<(), tokio_postgres::Error> {
    let sql = "INSERT INTO make_it_clap (duration_seconds) SELECT 0 FROM generate_series(1, $1)";
    on.world.client.execute(sql, &[&rows]).await.map(drop)
}

async fn until_waiting(on: &OnCluster, what: &str, at_most: i64) {
    until(what, LONG, async || Some(waiting(on).await).filter(|rows| (0..=at_most).contains(rows))).await;
}

#[tokio::test]
async fn the_scaled_job_of_the_claps_runs_as_it_is_and_survives_kill_9() -> Tested {
    let on = OnCluster::new("keda").await?;
    on.world.sql_secret(&on.cluster, &on.namespace.name)?;
    on.world.client.batch_execute(TABLES).await?;
    let manifest = scaled_job(&on)?.to_string();
    on.world.client.execute("SELECT pgbatch.import_scaled_job($1)", &[&manifest]).await?;
    let mut dispatcher = on.dispatcher()?;
    insert(&on, 30).await?;
    until_waiting(&on, "the first claps", 25).await;
    dispatcher.kill()?;
    let unfinished = on.jobs().into_iter().filter(|job| !condition(job, "Complete")).count();
    assert!(unfinished <= 30, "{unfinished} Jobs at once");
    dispatcher = on.dispatcher()?;
    until_waiting(&on, "every row to have a clap", 0).await;

    // Nothing is left to do, and nothing is made any more; the history is what the manifest says.
    until("all runs to have ended", SOON, async || {
        let sql = "SELECT count(*) FROM pgbatch.runs WHERE finished_at IS NULL";
        on.world.client.query_one(sql, &[]).await.ok().filter(|row| row.get::<_, i64>(0) == 0)
    })
    .await;
    until("10 Jobs to be left", SOON, async || Some(()).filter(|()| on.jobs().len() == 10)).await;
    let claps: i64 =
        on.world.client.query_one("SELECT count(*) FROM clap WHERE status = 'SUCCESS'", &[]).await?.get(0);
    assert_eq!(claps, 30);

    // From idle, by a commit alone.
    insert(&on, 1).await?;
    until_waiting(&on, "the row that came later", 0).await;
    assert!(dispatcher.is_running()?);
    Ok(())
}
