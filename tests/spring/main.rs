//! The PartitionHandler of `deploy/spring-batch-pgbatch`: a manager step whose partitions are runs, with Spring Batch 5 and 6.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::postgres::{Listen, OWNER, Options, Server};
use e2e::repository;
use e2e::spring::{Gate, kill_run};
use e2e::wait::until;
use e2e::world::World;
use serde_json::{Value, json};

/// Several Java processes share two cores.
const LONG: Duration = Duration::from_secs(300);
const ADDRESS: [u8; 4] = [127, 0, 0, 1];
/// As in the image of the examples.
const JAVA: [&str; 4] = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx128m"];

type Tested<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// One application, as the manager of a queue `managers` and the worker of a queue `partitions`.
struct Partitions {
    world: World,
    jar: PathBuf,
    _server: Server,
}

impl Partitions {
    async fn new(version: u32) -> Tested<Self> {
        let listen = Some(Listen { address: IpAddr::from(ADDRESS), port: None, password: None });
        let server = Server::start(&Options { listen, ..Options::default() })?;
        let world = World::on(&format!("spring_batch_{version}"), &server).await?;
        let jar = repository().join(format!("tests/spring/batch{version}/target/batch{version}.jar"));
        let new = Self { world, jar, _server: server };
        new.make_tables()?;
        let tables = repository().join("deploy/examples/spring-batch/ranges/tables.sql");
        new.world.client.batch_execute(&std::fs::read_to_string(tables)?).await?;
        let rows = "INSERT INTO purchase SELECT n, 'customer ' || n % 7, n FROM generate_series(1, 600) n";
        new.world.client.batch_execute(rows).await?;
        let run_id = "pgbatch.run_id=$(PGBATCH_RUN_ID),java.lang.Long,false";
        new.queue("managers", &["day=1,java.lang.Long", run_id], r#", options => '{"spring_batch": true}'"#)
            .await?;
        new.queue(
            "partitions",
            &["--worker=true", "--spring.batch.job.enabled=false"],
            ", max_parallel => 2",
        )
        .await?;
        Ok(new)
    }

    fn env(&self) -> [(&str, String); 4] {
        let database = &self.world.database;
        [
            ("PGHOST", IpAddr::from(ADDRESS).to_string()),
            ("PGPORT", database.socket().1.to_string()),
            ("PGDATABASE", database.name.clone()),
            ("PGUSER", OWNER.to_owned()),
        ]
    }

    fn command(&self, arguments: &[&str]) -> Vec<String> {
        let jar = [Path::new("-jar"), &self.jar].map(|word| word.display().to_string());
        JAVA.iter()
            .map(|&word| word.to_owned())
            .chain(jar)
            .chain(arguments.iter().map(|&a| a.to_owned()))
            .collect()
    }

    fn make_tables(&self) -> Tested {
        let words = self
            .command(&["--spring.batch.jdbc.initialize-schema=always", "--spring.batch.job.enabled=false"]);
        let status = Command::new(&words[0])
            .args(&words[1..])
            .envs(self.env())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("{}: {status}; tests/spring/build.sh makes it", self.jar.display()).into())
        }
    }

    async fn queue(&self, name: &str, arguments: &[&str], options: &str) -> Tested {
        self.queue_of(name, &self.command(arguments), options).await
    }

    async fn queue_of(&self, name: &str, command: &[String], options: &str) -> Tested {
        let env: Vec<Value> =
            self.env().iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        let container = json!({"name": "main", "image": "none", "command": command, "env": env});
        let template = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
        let sql = format!("SELECT pgbatch.create_queue($1, $2, retry_backoff => '100 ms'{options})");
        self.world.client.execute(&sql, &[&name, &template]).await?;
        Ok(())
    }

    async fn one<T: for<'a> tokio_postgres::types::FromSql<'a>>(&self, sql: &str) -> Option<T> {
        self.world.client.query_opt(sql, &[]).await.ok().flatten().and_then(|row| row.get(0))
    }

    /// Waits until the worker of a partition waits at a gate, behind its first chunk; returns its run's token.
    async fn at_gate(&self, partition: &str) -> String {
        let sql = format!(
            "SELECT r.token::text FROM pgbatch.run r
             JOIN pgbatch.items i ON i.batch_id = r.batch_id AND i.item_no = r.first_item
             JOIN batch_step_execution s ON s.step_execution_id = (i.item ->> 'step_execution_id')::bigint
             WHERE r.queue = 'partitions' AND r.state = 'running' AND s.step_name = 'range:{partition}' AND s.write_count = 50
                 AND EXISTS (SELECT FROM pg_stat_activity a WHERE a.datname = current_database() AND a.wait_event = 'advisory')"
        );
        until(&format!("{partition} to wait at the gate"), LONG, async || self.one(&sql).await).await
    }
}

/// A worker is killed and goes on with its partition; then the manager is, and makes anew only what was not done.
async fn partitions_survive_the_death_of_a_worker_and_of_the_manager(version: u32) -> Tested {
    let on = Partitions::new(version).await?;
    let second = Gate::shut(&on.world.database, "invoice", "NEW.purchase_id = 270", 1).await?;
    let third = Gate::shut(&on.world.database, "invoice", "NEW.purchase_id = 470", 2).await?;
    let _dispatcher = on.world.dispatcher(&[])?;
    on.world.client.execute("SELECT pgbatch.enqueue('managers')", &[]).await?;

    kill_run(&on.at_gate("part1").await)?;
    let retried =
        "SELECT count(*) FROM pgbatch.runs WHERE queue = 'partitions' AND attempt = 2 AND state = 'running'";
    until("the killed worker's partition to be tried again", LONG, async || {
        on.one::<i64>(retried).await.filter(|n| *n == 1)
    })
    .await;
    second.open().await?;

    on.at_gate("part2").await;
    let others = "SELECT count(*) FROM batch_step_execution WHERE status = 'COMPLETED' AND step_name IN ('range:part0', 'range:part1')";
    until("the other partitions to be done", LONG, async || on.one::<i64>(others).await.filter(|n| *n == 2))
        .await;
    let manager = "SELECT token::text FROM pgbatch.run WHERE queue = 'managers' AND state = 'running'";
    kill_run(&on.one::<String>(manager).await.ok_or("no manager")?)?;
    let anew = "SELECT count(*) FROM pgbatch.batches WHERE queue = 'partitions' AND items = 1";
    until("the next manager to enqueue what was not done", LONG, async || {
        on.one::<i64>(anew).await.filter(|n| *n == 1)
    })
    .await;
    third.open().await?;

    let state = "SELECT state FROM pgbatch.batches WHERE queue = 'managers' AND finished_at IS NOT NULL";
    let state: String = until("the manager's end", LONG, async || on.one(state).await).await;
    assert_eq!(state, "succeeded");
    let batches = "SELECT string_agg(state || ' ' || items, ', ' ORDER BY id) FROM pgbatch.batches WHERE queue = 'partitions'";
    assert_eq!(on.one::<String>(batches).await.as_deref(), Some("cancelled 3, succeeded 1"));
    let differ = "SELECT count(*) FROM (TABLE purchase EXCEPT ALL TABLE invoice) x";
    assert_eq!(
        on.one::<i64>(differ).await,
        Some(0),
        "each purchase has its invoice, and the primary key says that it is one"
    );
    // By Spring's own count: 600 records, each written once; what was killed had written one chunk of 50.
    let steps = "SELECT string_agg(concat_ws(' ', step_name, status, exit_code, write_count), ', ' ORDER BY step_execution_id)
        FROM batch_step_execution WHERE step_name LIKE 'range:%' AND (step_name = 'range:part2' OR status <> 'COMPLETED')";
    let steps: String = on.one(steps).await.ok_or("no steps")?;
    assert_eq!(steps, "range:part2 FAILED FAILED 50, range:part2 COMPLETED COMPLETED 150");
    let done = "SELECT count(*) FROM batch_step_execution
        WHERE step_name IN ('range:part0', 'range:part1') AND exit_code = 'COMPLETED' AND write_count = 200";
    assert_eq!(
        on.one::<i64>(done).await,
        Some(2),
        "each was one StepExecution, also that of the killed worker"
    );
    Ok(())
}

/// As without `SpringApplication.exit`: the process ends with 0, whatever became of its job.
#[tokio::test]
async fn a_failed_job_fails_its_run_though_its_process_ends_with_0() -> Tested {
    let on = Partitions::new(5).await?;
    let run_id = "pgbatch.run_id=$(PGBATCH_RUN_ID),java.lang.Long,false";
    let mut command = ["sh", "-c", "\"$@\" || :", "sh"].map(str::to_owned).to_vec();
    command.extend(on.command(&["day=1,java.lang.Long", run_id]));
    on.queue_of("careless", &command, r#", max_attempts => 1, options => '{"spring_batch": true}'"#).await?;
    let setting = "SELECT pgbatch.alter_queue('partitions', max_attempts => 1);
        INSERT INTO invoice SELECT * FROM purchase WHERE id = 1";
    on.world.client.batch_execute(setting).await?;
    let _dispatcher = on.world.dispatcher(&[])?;
    on.world.client.execute("SELECT pgbatch.enqueue('careless')", &[]).await?;
    let ended = "SELECT concat_ws(' ', state, exit_code, reason, message) FROM pgbatch.runs
        WHERE queue = 'careless' AND finished_at IS NOT NULL";
    let run: String = until("the manager's end", LONG, async || on.one(ended).await).await;
    let says = "failed 0 FAILED FAILED: org.springframework.batch.core.JobExecutionException: Partition handler returned";
    assert!(run.starts_with(says), "{run}");
    let worker = "SELECT message FROM pgbatch.runs WHERE queue = 'partitions' AND state = 'failed'";
    let message: String = on.one(worker).await.ok_or("no worker has failed")?;
    assert!(message.contains("duplicate key value"), "{message}");
    Ok(())
}

#[tokio::test]
async fn partitions_of_spring_batch_5_are_runs() -> Tested {
    partitions_survive_the_death_of_a_worker_and_of_the_manager(5).await
}

#[tokio::test]
async fn partitions_of_spring_batch_6_are_runs() -> Tested {
    partitions_survive_the_death_of_a_worker_and_of_the_manager(6).await
}
