//! The PartitionHandler of `deploy/spring-batch-pgbatch`, in pods: a manager step whose partitions are Jobs. The dispatcher is
//! killed while a partition is between two chunks, and the worker with it.

use e2e::repository;
use e2e::spring::{Gate, kill_run};
use e2e::wait::until;
use serde_json::json;

use crate::on_cluster::OnCluster;
use crate::spring::{JAVA_SOON, container_env, example, number};
use crate::{LONG, Tested};

/// A queue of the application that `tests/spring/build.sh` makes. The image has its Java.
async fn queue(on: &OnCluster, name: &str, arguments: &[&str], options: &str) -> Tested {
    let folder = repository().join("tests/spring/batch6/target");
    let args: Vec<&str> = ["-jar", "/test/batch6.jar"].iter().chain(arguments).copied().collect();
    let password = json!([{"name": "SPRING_DATASOURCE_PASSWORD", "value": "$(PGPASSWORD)"}]);
    let pod = json!({
        "containers": [{"name": "main", "image": "pgbatch/spring-batch:dev", "imagePullPolicy": "IfNotPresent",
            "env": container_env(on, password), "args": args, "volumeMounts": [{"name": "test", "mountPath": "/test"}]}],
        "volumes": [{"name": "test", "hostPath": {"path": folder, "type": "Directory"}}]});
    let template = json!({"spec": {"template": {"spec": pod}}});
    let sql = format!("SELECT pgbatch.create_queue($1, $2, retry_backoff => '100 ms'{options})");
    on.world.client.execute(&sql, &[&name, &template]).await?;
    Ok(())
}

#[tokio::test]
async fn partitions_of_a_manager_step_are_jobs() -> Tested {
    let on = OnCluster::new("spring-partitions").await?;
    on.world.sql_secret(&on.cluster, &on.namespace.name)?;
    let mut dispatcher = on.dispatcher()?;
    let no_job = "--spring.batch.job.enabled=false";
    queue(&on, "tables", &["--spring.batch.jdbc.initialize-schema=always", no_job], "").await?;
    let made = on.enqueue("tables", json!({})).await?;
    on.until_state(made, "succeeded", JAVA_SOON).await;
    on.world.client.batch_execute(&example("ranges/tables.sql")?).await?;
    let rows = "INSERT INTO purchase SELECT n, 'customer ' || n % 7, n FROM generate_series(1, 600) n";
    on.world.client.batch_execute(rows).await?;
    let run_id = "pgbatch.run_id=$(PGBATCH_RUN_ID),java.lang.Long,false";
    queue(&on, "managers", &["day=1,java.lang.Long", run_id], r#", options => '{"spring_batch": true}'"#)
        .await?;
    queue(&on, "partitions", &["--worker=true", no_job], ", max_parallel => 2").await?;

    // In the second chunk of the second of three partitions.
    let gate = Gate::shut(&on.world.database, "invoice", "NEW.purchase_id = 270", 1).await?;
    let manager = on.enqueue("managers", json!({})).await?;
    let at_gate = "SELECT r.token::text FROM pgbatch.run r
        JOIN pgbatch.items i ON i.batch_id = r.batch_id AND i.item_no = r.first_item
        JOIN batch_step_execution s ON s.step_execution_id = (i.item ->> 'step_execution_id')::bigint
        WHERE r.queue = 'partitions' AND r.state = 'running' AND s.step_name = 'range:part1' AND s.write_count = 50";
    let token: String = until("a worker to wait at the gate", LONG, async || {
        on.world.client.query_opt(at_gate, &[]).await.ok()?.map(|row| row.get(0))
    })
    .await;
    dispatcher.kill()?;
    kill_run(&token)?;
    let _next = on.dispatcher()?;
    gate.open().await?;
    on.until_state(manager, "succeeded", LONG).await;

    let differ = "SELECT count(*) FROM (SELECT * FROM invoice EXCEPT ALL SELECT * FROM purchase) x";
    assert_eq!(number(&on, differ).await, 0);
    assert_eq!(number(&on, "SELECT count(*) FROM invoice").await, 600);
    let done = "SELECT count(*) FROM batch_step_execution
        WHERE step_name LIKE 'range:part%' AND exit_code = 'COMPLETED' AND write_count = 200";
    assert_eq!(
        number(&on, done).await,
        3,
        "each partition is one StepExecution, also that of the killed worker"
    );
    let runs = "SELECT count(*) FROM pgbatch.runs WHERE queue = 'partitions' AND job_name IS NOT NULL";
    assert_eq!(number(&on, runs).await, 4, "three Jobs, and one more for the killed worker");
    let managers = "SELECT count(*) FROM pgbatch.runs WHERE queue = 'managers'";
    assert_eq!(number(&on, managers).await, 1, "the manager has waited");
    Ok(())
}
