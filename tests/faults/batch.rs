//! The batch that a fault happens to: its queue, its dispatchers, its pods' own record, and the verdict at the end.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use e2e::cluster::{Cluster, Namespace};
use e2e::dispatcher::{Dispatcher, Options};
use e2e::network::Netns;
use e2e::postgres::{Database, OWNER};
use e2e::repository;
use e2e::wait::until;
use serde_json::json;
use tokio::sync::Mutex;
use tokio_postgres::{Client, Row};

use crate::history::{self, Allowed, Execution, Findings, Item, Run};

/// So long a condition may take before the test gives up. No measure of anything: the machine may be busy.
pub(crate) const LONG: Duration = Duration::from_secs(1200);

const QUEUE: &str = "faults";

/// What each pod does: says that it starts, works for a second (and for as long as there is a file `hold`), fails as often
/// as its item says, says that it ends. A line is one write to a file opened for appending, so the lines of all pods are
/// whole and in order.
const PROGRAM: &str = r#"
    say() {
        read -r now idle </proc/uptime
        echo "$1 $PGBATCH_ITEM_NO $PGBATCH_ATTEMPT $PGBATCH_RUN_ID $HOSTNAME $now${2:+ $2}" >>/record/pods
    }
    finish() { say end "$1"; exit "$1"; }
    trap 'finish 143' TERM
    say start
    sleep 1 &
    wait $!
    while [ -e /record/hold ]; do sleep 0.2 & wait $!; done
    [ "$PGBATCH_ATTEMPT" -gt "$PGBATCH_ARG_FAILS" ] && finish 0
    finish 1
"#;

/// Of five items, one fails once and one twice.
const ITEMS: &str =
    "SELECT (ARRAY[0, 0, 1, 0, 2])[1 + n % 5] AS fails FROM pg_catalog.generate_series(1, $1) n ORDER BY n";

/// One fault's trial: a namespace and a batch of its own.
pub(crate) struct Trial {
    /// What breaks, in few words: the first column of the table.
    pub(crate) fault: &'static str,
    /// The cluster that it runs on.
    pub(crate) cluster: Cluster,
    /// The namespace of its Jobs.
    pub(crate) namespace: Namespace,
    /// Its folder: the dispatchers' logs, and in `pods/pods` the pods' record.
    pub(crate) dir: PathBuf,
    /// Where its batch is; to be changed when another server takes over.
    pub(crate) database: Database,
    /// Its batch; 0 until [`Trial::enqueue`].
    pub(crate) batch: i64,
    /// How many items it has.
    pub(crate) items: i32,
    client: Mutex<Option<Client>>,
}

impl Trial {
    /// Makes namespace, folder and queue, and enqueues nothing yet. `name` is a word for them.
    ///
    /// # Errors
    /// kubectl's or the server's.
    pub(crate) async fn new(
        name: &str,
        fault: &'static str,
        cluster: &Cluster,
        database: Database,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let dir = repository().join("target/tests").join(format!("fault-{name}-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("pods"))?;
        let namespace = cluster.namespace(&format!("fault-{name}"))?;
        let items = std::env::var("PGBATCH_FAULT_ITEMS").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
        let client = Mutex::new(Some(database.connect().await?));
        let trial =
            Self { fault, cluster: cluster.clone(), namespace, dir, database, batch: 0, items, client };
        trial.create_queue().await?;
        Ok(trial)
    }

    /// Few Jobs are kept: so names are free again early, and a late create would not find its Job there.
    async fn create_queue(&self) -> Result<(), tokio_postgres::Error> {
        let template = json!({"spec": {"template": {"spec": {
            "terminationGracePeriodSeconds": 5,
            "containers": [{"name": "main", "image": "pgbatch/tool:dev", "imagePullPolicy": "Never",
                            "command": ["/bin/sh", "-c", PROGRAM],
                            "volumeMounts": [{"name": "record", "mountPath": "/record"}]}],
            "volumes": [{"name": "record", "hostPath": {"path": self.dir.join("pods"), "type": "Directory"}}]}}}});
        let sql = "SELECT pgbatch.create_queue($1, $2, max_parallel => 20, max_attempts => 6, \
                   retry_backoff => '100 ms', keep_succeeded => 1, keep_failed => 0)";
        self.database.connect().await?.execute(sql, &[&QUEUE, &template]).await.map(drop)
    }

    /// Enqueues the batch.
    ///
    /// # Errors
    /// The server's.
    pub(crate) async fn enqueue(&mut self) -> Result<(), tokio_postgres::Error> {
        let client = self.database.connect().await?;
        let query = ITEMS.replace("$1", &self.items.to_string());
        let sql = "SELECT pgbatch.enqueue_query($1, $2)";
        self.batch = client.query_one(sql, &[&QUEUE, &query]).await?.get(0);
        Ok(())
    }

    /// From now on, its batch is asked for here.
    pub(crate) async fn move_to(&mut self, database: Database) {
        *self.client.lock().await = None;
        self.database = database;
    }

    /// A dispatcher for it, on this host, by the server's Unix socket.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn dispatcher(&self) -> io::Result<Dispatcher> {
        self.dispatcher_at(None, &self.database.url(OWNER))
    }

    /// A dispatcher for it on another host, or with another URL.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn dispatcher_at(&self, host: Option<&Netns>, database_url: &str) -> io::Result<Dispatcher> {
        Dispatcher::start(&Options {
            database_url: database_url.to_owned(),
            flags: vec!["--executor=kubernetes".to_owned(), format!("--namespace={}", self.namespace.name)],
            env: vec![("KUBECONFIG".to_owned(), self.cluster.kubeconfig().to_owned())],
            log_dir: self.dir.clone(),
            netns: host.map(|host| host.name().to_owned()),
        })
    }

    /// Asks PostgreSQL something about the batch (`$1`); none while it does not answer.
    pub(crate) async fn ask(&self, sql: &str) -> Option<Vec<Row>> {
        let mut kept = self.client.lock().await;
        if kept.as_ref().is_none_or(Client::is_closed) {
            *kept = self.database.connect().await.ok();
        }
        kept.as_ref()?.query(sql, &[&self.batch]).await.ok()
    }

    /// How many runs have ended; none while PostgreSQL does not answer.
    pub(crate) async fn ended(&self) -> Option<i64> {
        let sql = "SELECT count(*) FROM pgbatch.runs WHERE batch_id = $1 AND finished_at IS NOT NULL";
        Some(self.ask(sql).await?.first()?.get(0))
    }

    /// Waits until at least so many percent of the runs that there are to be have ended.
    pub(crate) async fn until_done(&self, percent: i64) {
        // 200 items make 320 runs.
        let wanted = i64::from(self.items) * 16 * percent / 1000;
        until(&format!("{wanted} runs to have ended"), LONG, async || {
            self.ended().await.filter(|ended| *ended >= wanted)
        })
        .await;
    }

    /// Waits until so many more runs have ended, or all.
    pub(crate) async fn until_more_ended(&self, more: i64) {
        let before = until("PostgreSQL to answer", LONG, async || self.ended().await).await;
        let sql = format!(
            "SELECT (SELECT count(*) >= {} FROM pgbatch.runs WHERE batch_id = $1 AND finished_at IS NOT NULL) \
             OR (SELECT state = 'succeeded' FROM pgbatch.batches WHERE id = $1)",
            before + more
        );
        self.until_true("more runs to end", &sql).await;
    }

    /// Waits until a row of this query, in which `$1` is the batch, says true.
    pub(crate) async fn until_true(&self, what: &str, sql: &str) {
        until(what, LONG, async || self.ask(sql).await?.first()?.get::<_, bool>(0).then_some(())).await;
    }

    /// Waits until the batch has ended and no Job of it is unfinished, and judges: nothing lost, nothing doubled. Adds a
    /// line to the table, in which the fault happened `times` times.
    ///
    /// # Errors
    /// The record cannot be read.
    ///
    /// # Panics
    /// Something was lost, or doubled, or is otherwise not as it should be.
    pub(crate) async fn judge(
        &self,
        times: usize,
        allowed: Allowed,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let over = "SELECT state IN ('succeeded', 'failed', 'cancelled') FROM pgbatch.batches WHERE id = $1";
        self.until_true("the batch to end", over).await;
        until("all Jobs to have ended", LONG, async || {
            let jobs = self.cluster.list(&self.namespace.name, "jobs").ok()?;
            jobs.iter()
                .all(|job| job["status"]["completionTime"].is_string() || has_failed(job))
                .then_some(())
        })
        .await;
        let (items, runs, seconds) = self.told().await.ok_or("PostgreSQL does not answer")?;
        let executions = self.executions()?;
        let findings = history::compare(&items, &runs, &executions, allowed);
        self.tell(times, &executions, &findings, seconds)?;
        assert_eq!(items.len(), usize::try_from(self.items)?, "items");
        assert_eq!(findings, Findings::default(), "{}: {}", self.fault, self.dir.display());
        Ok(())
    }

    /// What the pods wrote down.
    ///
    /// # Errors
    /// There is no record, or a line in it that no pod writes.
    pub(crate) fn executions(&self) -> Result<Vec<Execution>, Box<dyn std::error::Error>> {
        Ok(history::read_record(&std::fs::read_to_string(self.dir.join("pods/pods"))?)?)
    }

    /// What PostgreSQL says: the items, the runs, and how many seconds the batch took.
    async fn told(&self) -> Option<(Vec<Item>, Vec<Run>, f64)> {
        let items =
            "SELECT item_no, state, attempts, (item->>'fails')::int FROM pgbatch.items WHERE batch_id = $1";
        let runs = "SELECT id, first_item, attempt, state FROM pgbatch.runs WHERE batch_id = $1";
        let took =
            "SELECT extract(epoch FROM finished_at - created_at)::float8 FROM pgbatch.batches WHERE id = $1";
        let items = self.ask(items).await?;
        let items = items.iter().map(|row| Item {
            number: row.get(0),
            state: row.get(1),
            attempts: row.get(2),
            fails: row.get(3),
        });
        let runs = self.ask(runs).await?;
        let runs = runs.iter().map(|row| Run {
            id: row.get(0),
            item: row.get(1),
            attempt: row.get(2),
            state: row.get(3),
        });
        Some((items.collect(), runs.collect(), self.ask(took).await?.first()?.get(0)))
    }

    /// The line of the table: fault, how often, items, runs, lost, doubled, took.
    fn tell(
        &self,
        times: usize,
        executions: &[Execution],
        findings: &Findings,
        seconds: f64,
    ) -> io::Result<()> {
        let line = format!(
            "| {} | {times} | {} | {} | {} | {} | {seconds:.0} s |",
            self.fault,
            self.items,
            executions.len(),
            findings.lost.len(),
            findings.doubled.len(),
        );
        eprintln!("{line}");
        let path = repository().join("target/tests/faults.txt");
        writeln!(File::options().create(true).append(true).open(path)?, "{line}")
    }
}

fn has_failed(job: &serde_json::Value) -> bool {
    job["status"]["conditions"]
        .as_array()
        .is_some_and(|all| all.iter().any(|c| c["type"] == "Failed" && c["status"] == "True"))
}
