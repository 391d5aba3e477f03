//! From KEDA: its ScaledJob is imported, and the Jobs of the scenario run.

use e2e::repository;
use e2e::wait::until;
use pgbatch_core::scaled_job::manifest::read_one;
use serde_json::Value;

use crate::on_cluster::{OnCluster, kind_without_schema};
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

/// The kinds of KEDA, as it defines them itself; where that could not be had (`tests/keda/install.sh` says why), without its
/// schema.
pub(crate) async fn define(on: &OnCluster) -> Tested {
    let folder = repository().join("target/keda/crds");
    for plural in ["scaledjobs", "triggerauthentications", "clustertriggerauthentications"] {
        let file = folder.join(format!("keda.sh_{plural}.yaml"));
        if file.exists() {
            // They are too long for the annotation of a client's apply.
            let file = file.to_string_lossy();
            on.cluster.kubectl(&["apply", "--server-side", "--force-conflicts", "--filename", &file])?;
        } else {
            eprintln!("{} is not there: the test does without KEDA's schema", file.display());
            on.cluster.apply(&definition(plural))?;
        }
        let name = format!("crd/{plural}.keda.sh");
        // It fails where there is no status yet.
        until(&format!("{plural} to be served"), SOON, async || {
            on.cluster.kubectl(&["wait", "--for=condition=Established", &name, "--timeout=60s"]).ok()
        })
        .await;
    }
    Ok(())
}

fn definition(plural: &str) -> Value {
    let kind = match plural {
        "scaledjobs" => "ScaledJob",
        "triggerauthentications" => "TriggerAuthentication",
        _ => "ClusterTriggerAuthentication",
    };
    let scope = if plural.starts_with("cluster") { "Cluster" } else { "Namespaced" };
    kind_without_schema("keda.sh", "v1alpha1", (kind, plural), scope)
}

/// The condition Ready of a ScaledJob, once it has this status.
pub(crate) async fn until_ready(on: &OnCluster, name: &str, status: &str) -> Value {
    until(&format!("{name} to be Ready {status}"), SOON, async || {
        let found = on.cluster.list(&on.namespace.name, "scaledjobs.keda.sh").ok()?;
        let object = found.into_iter().find(|object| object["metadata"]["name"] == name)?;
        let conditions = object["status"]["conditions"].as_array()?.clone();
        conditions.into_iter().find(|condition| condition["type"] == "Ready" && condition["status"] == status)
    })
    .await
}

async fn until_triggers(on: &OnCluster, expected: i64) {
    until(&format!("{expected} triggers to be there"), SOON, async || {
        let row = on.world.client.query_one("SELECT count(*) FROM pgbatch.triggers", &[]).await.ok()?;
        (row.get::<_, i64>(0) == expected).then_some(())
    })
    .await;
}

#[tokio::test]
async fn scaled_jobs_of_the_cluster_are_served_without_keda() -> Tested {
    let on = OnCluster::new("scaled-jobs").await?;
    on.world.sql_secret(&on.cluster, &on.namespace.name)?;
    on.world.client.batch_execute(TABLES).await?;
    define(&on).await?;
    let mut manifest = scaled_job(&on)?;
    manifest["metadata"]["namespace"] = on.namespace.name.clone().into();
    on.cluster.apply(&manifest)?;
    let flags = ["--scaled-jobs".to_owned()];
    let mut dispatcher = on.dispatcher_with(&flags, None, on.cluster.kubeconfig())?;
    let ready = until_ready(&on, "claps", "True").await;
    assert!(
        ready["message"].as_str().is_some_and(|m| m.starts_with("served by pgbatch, queue claps\n")),
        "{ready}"
    );
    // KEDA's schema has let it in, and cut nothing off.
    let fields: Vec<&String> = ready.as_object().ok_or("no object")?.keys().collect();
    assert_eq!(fields, ["message", "reason", "status", "type"]);
    let namespace = on.namespace.name.as_str();
    on.cluster.kubectl(&["wait", "--for=condition=Ready", "scaledjob/claps", "--namespace", namespace])?;
    insert(&on, 3).await?;
    until_waiting(&on, "three claps", 0).await;

    // A second one, that becomes right while it is watched.
    let mut other = manifest.clone();
    other["metadata"]["name"] = "other".into();
    other["spec"]["triggers"][0]["metadata"]["query"] = "SELECT n FROM later".into();
    on.cluster.apply(&other)?;
    let refused = until_ready(&on, "other", "False").await;
    assert_eq!(refused["reason"], "ScaledJobCheckFailed");
    let message = refused["message"].as_str().ok_or("no message")?;
    assert!(
        message.starts_with("spec.triggers[0]: query is invalid: relation \"later\" does not exist"),
        "{message}"
    );
    on.world.client.batch_execute("CREATE TABLE later (n int); INSERT INTO later VALUES (0)").await?;
    until_ready(&on, "other", "True").await;
    until_triggers(&on, 2).await;

    // One goes while it is watched, the other while nobody looks.
    on.cluster.kubectl(&["delete", "scaledjobs.keda.sh", "other", "--namespace", &on.namespace.name])?;
    until_triggers(&on, 1).await;
    dispatcher.kill()?;
    on.cluster.kubectl(&["delete", "scaledjobs.keda.sh", "claps", "--namespace", &on.namespace.name])?;
    let _dispatcher = on.dispatcher_with(&flags, None, on.cluster.kubeconfig())?;
    until_triggers(&on, 0).await;
    Ok(())
}
