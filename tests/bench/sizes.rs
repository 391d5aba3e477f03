//! How many items a run should have: the same small items as a Job each, as a few Jobs, and as one that loops.

use std::time::{Duration, Instant};

use e2e::cluster::Cluster;
use e2e::wait::until;
use e2e::world::World;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{Api, PostParams};
use serde_json::json;

use crate::api_server::client;
use crate::figures::{Bar, Report, Side};
use crate::rig::Failed;
use crate::settings::Settings;

const LIMIT: Duration = Duration::from_secs(900);

/// What the containers run: nothing, for each of its items.
const NOTHING: &str = ":";
/// The same, but each item is fetched and reported, a psql each.
const LOOP: &str = r#"
    run="$PGBATCH_RUN_ID, '$PGBATCH_RUN_TOKEN'"
    while n=$(psql -XqAt -c "SELECT item_no FROM pgbatch.next_item($run)") && [ -n "$n" ]; do
        psql -Xq -c "SELECT pgbatch.complete_item($run, $n)" >/tmp/answer || exit 1
    done"#;

pub(crate) async fn sizes(settings: &Settings) -> Result<Report, Failed> {
    let items = settings.items(60);
    let cluster = Cluster::find()?;
    let namespace = cluster.namespace("bench-sizes")?;
    let world = World::on_cluster("bench-sizes", &cluster).await?;
    world.sql_secret(&cluster, &namespace.name)?;
    let flag = format!("--namespace={}", namespace.name);
    let _dispatcher = world.kubernetes_dispatcher(&cluster, &[&flag])?;
    let queues = [
        ("each", NOTHING, 1, format!("{items} items, a Job each, 30 at once")),
        ("tens", NOTHING, 10, format!("{items} items, items_per_run => 10")),
        ("all", LOOP, items, format!("{items} items in one Job, next_item() and complete_item() for each")),
    ];
    for (name, line, size, _) in &queues {
        let container = json!({"name": "main", "image": "pgbatch/claps:dev", "command": ["/bin/sh", "-c", line],
            "env": world.pod_database_env(&cluster)});
        let template = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
        let sql = "SELECT pgbatch.create_queue($1, $2, max_parallel => 30, items_per_run => $3::bigint::int)";
        world.client.execute(sql, &[name, &template, size]).await?;
    }
    let jobs: Api<Job> = Api::namespaced(client(&cluster).await?, &namespace.name);
    let mut sides = queues.clone().map(|(_, _, _, what)| Side::new(what, "s"));
    let mut indexed = Side::new(format!("one bare indexed Job of {items} pods, 30 at once"), "s");
    for round in 0..settings.rounds {
        for number in (0..queues.len()).map(|i| (i + round) % queues.len()) {
            sides[number].rounds.push(turn(&world, queues[number].0, items).await?);
        }
        indexed.rounds.push(index(&jobs, &format!("indexed-{round}"), items).await?);
    }
    let mut report = Report::default();
    report.compare(format!("{}, against a Job each", indexed.name), &indexed, &sides[0], Bar::Below(1.0));
    for few in &sides[1..] {
        report.compare(format!("{}, against a Job each", few.name), few, &sides[0], Bar::Below(1.0));
    }
    report.notes.push(
        "From the acknowledgement of the commit to the end of the batch. The items are no work.".to_owned(),
    );
    report.sides = sides.into_iter().chain([indexed]).collect();
    Ok(report)
}

/// Seconds until all items of a batch have succeeded.
async fn turn(world: &World, queue: &str, items: i64) -> Result<f64, Failed> {
    let batch = world.enqueue_numbers(queue, i32::try_from(items)?).await?;
    let began = Instant::now();
    let state = until("the end of the batch", LIMIT, async || {
        let sql = "SELECT state FROM pgbatch.batches WHERE id = $1 AND state IN ('succeeded', 'failed')";
        let row = world.client.query_opt(sql, &[&batch]).await.ok().flatten()?;
        Some(row.get::<_, String>(0))
    })
    .await;
    let took = began.elapsed().as_secs_f64();
    if state == "succeeded" { Ok(took) } else { Err(format!("the batch of queue {queue} {state}").into()) }
}

/// Seconds until an indexed Job with a pod for each item, which nobody claims or records, has completed.
async fn index(jobs: &Api<Job>, name: &str, items: i64) -> Result<f64, Failed> {
    let job = json!({"metadata": {"name": name}, "spec": {
        "completionMode": "Indexed", "completions": items, "parallelism": 30, "backoffLimitPerIndex": 0,
        "template": {"spec": {"restartPolicy": "Never", "containers": [
            {"name": "main", "image": "pgbatch/claps:dev", "command": ["/bin/sh", "-c", NOTHING]}]}}}});
    let began = Instant::now();
    jobs.create(&PostParams::default(), &serde_json::from_value(job)?).await?;
    until("the end of the indexed Job", LIMIT, async || jobs.get(name).await.ok()?.status?.completion_time)
        .await;
    Ok(began.elapsed().as_secs_f64())
}
