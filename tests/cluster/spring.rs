//! Spring Batch: the two applications of `deploy/examples/spring-batch` as runs. One of them is killed between two chunks, and
//! the dispatcher with it.

use std::time::Duration;

use e2e::kafka::Broker;
use e2e::repository;
use e2e::spring::{Gate, kill_run};
use e2e::wait::until;
use serde_json::{Value, json};

use crate::on_cluster::OnCluster;
use crate::{LONG, Tested};

/// Several Java processes share two cores.
pub(crate) const JAVA_SOON: Duration = Duration::from_secs(300);

pub(crate) fn example(file: &str) -> std::io::Result<String> {
    std::fs::read_to_string(repository().join("deploy/examples/spring-batch").join(file))
}

/// The container's env: where the database is, and `more`.
pub(crate) fn container_env(on: &OnCluster, more: Value) -> Value {
    let mut env = on.world.pod_database_env(&on.cluster);
    if let (Some(env), Value::Array(more)) = (env.as_array_mut(), more) {
        env.extend(more);
    }
    env
}

/// Has an application make the tables of Spring Batch, and makes the tables and the queue of an example.
async fn set_up(on: &OnCluster, folder: &str, more: Value) -> Tested {
    on.world.sql_secret(&on.cluster, &on.namespace.name)?;
    let env = container_env(on, more);
    let template = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "tables", "image": "pgbatch/spring-batch:dev", "imagePullPolicy": "IfNotPresent", "env": env,
         "args": ["-jar", format!("/app/{folder}.jar"), "--spring.batch.jdbc.initialize-schema=always",
                  "--spring.batch.job.enabled=false"]}]}}}});
    on.world.client.execute("SELECT pgbatch.create_queue('tables', $1)", &[&template]).await?;
    let made = on.enqueue("tables", json!({})).await?;
    on.until_state(made, "succeeded", JAVA_SOON).await;
    on.world.client.batch_execute(&example("batch_indexes.sql")?).await?;
    on.world.client.batch_execute(&example(&format!("{folder}/tables.sql"))?).await?;
    let env = format!("'{}'", env.to_string().replace('\'', "''"));
    let queue = example(&format!("{folder}/queue.sql"))?.replace(":'container_env'", &env);
    Ok(on.world.client.batch_execute(&queue).await?)
}

pub(crate) async fn number(on: &OnCluster, sql: &str) -> i64 {
    on.world.client.query_one(sql, &[]).await.map_or(-1, |row| row.get(0))
}

/// Waits until a run waits at the gate; returns its number and what fences it.
async fn at_gate(on: &OnCluster, batch: i64) -> (i64, String) {
    let waits = "SELECT r.id, r.token::text FROM pg_stat_activity a, pgbatch.spring_steps($1) s JOIN pgbatch.run r ON r.id = s.run_id
        WHERE a.datname = current_database() AND a.wait_event = 'advisory' AND s.step_status = 'STARTED' AND s.commit_count > 0
            AND s.run_state = 'running'";
    until("a run to wait at the gate", LONG, async || {
        let rows = on.world.client.query(waits, &[&batch]).await.ok()?;
        let [row] = rows.as_slice() else { return None };
        Some((row.get(0), row.get(1)))
    })
    .await
}

/// Kills the dispatcher and the run that waits at the gate, and lets the next dispatcher see what came of it. Then opens the gate,
/// and waits for the end of the batch. Returns the run that was killed.
async fn kill_both_in_the_middle(
    on: &OnCluster,
    batch: i64,
    gate: Gate,
) -> Result<i64, Box<dyn std::error::Error>> {
    let mut dispatcher = on.dispatcher()?;
    let (run, token) = at_gate(on, batch).await;
    dispatcher.kill()?;
    kill_run(&token)?;
    let _next = on.dispatcher()?;
    let freed = "SELECT count(*) FROM batch_job_execution WHERE status = 'FAILED' AND exit_message LIKE 'freed by pgbatch: %'";
    until("the killed run's JobExecution to be freed", JAVA_SOON, async || {
        (number(on, freed).await == 1).then_some(())
    })
    .await;
    gate.open().await?;
    on.until_state(batch, "succeeded", LONG).await;
    Ok(run)
}

/// The runs, and what Spring Batch says of them: all succeeded at the first attempt but one, which was killed after its first chunk
/// and went on with its second one in the next attempt. So each record was written once, by Spring's own count.
async fn check_runs(on: &OnCluster, batch: i64, killed: i64, items: i64, records: i64) -> Tested {
    let sql = "SELECT count(*), count(*) FILTER (WHERE state = 'succeeded'),
            count(*) FILTER (WHERE state = 'failed' AND exit_code = 137 AND id = $2)
        FROM pgbatch.runs WHERE batch_id = $1";
    let row = on.world.client.query_one(sql, &[&batch, &killed]).await?;
    let runs = on.runs(batch, "format('%s %s: %s %s', id, state, reason, message)").await?;
    let words: Vec<String> = runs.iter().map(|run| run.get(0)).collect();
    let counts: (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    assert_eq!(counts, (items + 1, items, 1), "the runs: {words:#?}");
    let steps = "SELECT sum(write_count)::bigint, sum(write_count) FILTER (WHERE run_id = $2)::bigint,
            count(*) FILTER (WHERE job_status = 'COMPLETED'), count(DISTINCT run_id), sum(rollback_count)::bigint
        FROM pgbatch.spring_steps($1)";
    let row = on.world.client.query_one(steps, &[&batch, &killed]).await?;
    assert_eq!(row.get::<_, i64>(0), records, "records written, by the steps' counts");
    assert_eq!(row.get::<_, i64>(1), 50, "by the killed run: one chunk");
    assert_eq!((row.get::<_, i64>(2), row.get::<_, i64>(3)), (items, items + 1));
    let instances = number(on, "SELECT count(*) FROM batch_job_instance").await;
    assert_eq!(instances, items, "a retry restarts the instance of its range");
    Ok(())
}

#[tokio::test]
async fn spring_batch_from_a_table_in_ranges_of_its_key() -> Tested {
    let on = OnCluster::new("spring-ranges").await?;
    let tables = on.dispatcher()?;
    set_up(&on, "ranges", json!([])).await?;
    drop(tables);
    let client = &on.world.client;
    client
        .batch_execute(
            "INSERT INTO purchase SELECT n, 'customer ' || n % 7, n FROM generate_series(1, 1000) n",
        )
        .await?;
    // In the second chunk of the third range.
    let gate = Gate::shut(&on.world.database, "invoice", "NEW.purchase_id = 310", 1).await?;
    let sql = "SELECT pgbatch.enqueue_ranges('invoices', 'purchase', 'id', 125)";
    let batch: i64 = client.query_one(sql, &[]).await?.get(0);
    let killed = kill_both_in_the_middle(&on, batch, gate).await?;
    let differ = "SELECT count(*) FROM (SELECT * FROM invoice EXCEPT ALL SELECT * FROM purchase) x";
    assert_eq!(number(&on, differ).await, 0);
    assert_eq!(number(&on, "SELECT count(*) FROM invoice").await, 1000);
    check_runs(&on, batch, killed, 8, 1000).await
}

#[tokio::test]
async fn spring_batch_from_kafka_in_ranges_of_offsets() -> Tested {
    let on = OnCluster::new("spring-records").await?;
    let broker = Broker::in_cluster(&on.cluster)?;
    let tables = on.dispatcher()?;
    set_up(&on, "records", json!([{"name": "KAFKA_BOOTSTRAP_SERVERS", "value": broker.plain()}])).await?;
    drop(tables);
    // 200 records in partition 0. In partition 1 there are 94, with 6 offsets of an aborted transaction between them, and 5 at
    // the end: a range without any record.
    let mut kafka = broker.client().await?;
    kafka.create_topic("clicks", 2, &[]).await?;
    kafka.produce("clicks", 0, 200).await?;
    kafka.produce("clicks", 1, 60).await?;
    let mut aborted = kafka.begin("first", "clicks", 1).await?;
    kafka.produce_in(&mut aborted, "clicks", 1, 5).await?;
    kafka.end(aborted, false).await?;
    let second = kafka.produce("clicks", 1, 34).await?;
    let mut aborted = kafka.begin("second", "clicks", 1).await?;
    kafka.produce_in(&mut aborted, "clicks", 1, 4).await?;
    kafka.end(aborted, false).await?;
    // The broker writes the marks of the aborts a moment later.
    until("the marks of the aborts", JAVA_SOON, async || {
        kafka.end_of_log("clicks", 1).await.ok().filter(|end| *end == 105)
    })
    .await;

    // In the second chunk of the second range of partition 0.
    let gate =
        Gate::shut(&on.world.database, "click", "NEW.kafka_partition = 0 AND NEW.kafka_offset = 160", 1)
            .await?;
    let watch = "SELECT pgbatch.watch_kafka('clicks', 'clicks', $1, 'clicks', records_per_item => 100,
        options => '{\"offset_reset\": \"earliest\"}')";
    on.world.client.execute(watch, &[&broker.plain()]).await?;
    let cutter = on.dispatcher()?;
    let cut = "SELECT b.id FROM pgbatch.batches b WHERE b.queue = 'clicks' AND b.items = 4";
    let batch: i64 = until("the records to be items", JAVA_SOON, async || {
        on.world.client.query_opt(cut, &[]).await.ok()?
    })
    .await
    .get(0);
    drop(cutter);
    let killed = kill_both_in_the_middle(&on, batch, gate).await?;
    let others = format!(
        "SELECT count(*) FROM click WHERE NOT CASE kafka_partition WHEN 0 THEN kafka_offset BETWEEN 0 AND 199
             ELSE kafka_offset BETWEEN 0 AND 59 OR kafka_offset BETWEEN {second} AND {second} + 33 END"
    );
    assert_eq!(number(&on, &others).await, 0);
    assert_eq!(number(&on, "SELECT count(*) FROM click").await, 294);
    check_runs(&on, batch, killed, 4, 294).await
}
