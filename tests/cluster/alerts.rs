//! Each alert fires by its fault, in a real Prometheus, and nothing else fires: not before, and not where all is well.
//!
//! Each fault has a world of its own, and is a job of one Prometheus; so all are made at the same time, and each must leave the
//! others alone. How fast time goes there is in `prometheus.rs`.

use std::any::Any;
use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use e2e::cluster::Proxy;
use e2e::dispatcher::Dispatcher;
use e2e::http::request;
use e2e::postgres::SUPERUSER;
use e2e::wait::{until, until_else};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::on_cluster::{OnCluster, Shape};
use crate::prometheus::Prometheus;
use crate::throttle::OneAtATime;
use crate::{RUNNING_RUNS, SOON, Tested};

/// Whose fault is made, and what fires then. What takes longest is last: when that has fired, so has all else that would.
const FIRES: [(&str, &[&str]); 9] = [
    ("well", &[]),
    ("no-leader", &["PgbatchNoLeader"]),
    ("stuck", &["PgbatchDispatcherStuck"]),
    ("fails", &["PgbatchRunsFail queue=work"]),
    ("lost", &["PgbatchRunsLost queue=work"]),
    (
        "triggers",
        &["PgbatchTriggerError kind=kafka trigger=deaf", "PgbatchTriggerError kind=rows trigger=broken"],
    ),
    ("throttled", &["PgbatchApiThrottled"]),
    ("refused", &["PgbatchSqlFails function=observe_counts"]),
    ("no-room", &["PgbatchNothingRuns queue=huge"]),
];

/// The longest, of a queue of which nothing runs, takes a minute; the other half is for a slow machine.
const ALL_FIRE: Duration = Duration::from_secs(150);

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

/// A dispatcher as people install it: with a role and a service account of its own.
struct Site {
    job: &'static str,
    on: OnCluster,
    dispatcher: Dispatcher,
    role: String,
    kubeconfig: String,
}

impl Site {
    async fn new(job: &'static str) -> Fallible<Self> {
        let on = OnCluster::new(&format!("alert-{job}")).await?;
        let role = format!("dispatcher_{}", job.replace('-', "_"));
        let superuser = on.world.database.connect_as(SUPERUSER).await?;
        superuser.batch_execute(&format!("CREATE ROLE {role} LOGIN")).await?;
        on.world.client.execute("SELECT pgbatch.grant_dispatcher($1)", &[&role]).await?;
        let line = "sleep $PGBATCH_ARG_SECONDS; exit $PGBATCH_ARG_CODE";
        on.shell_queue("work", line, ", max_attempts => 1, max_parallel => 1000").await?;
        let kubeconfig = on.service_account()?;
        let dispatcher = on.dispatcher_as(&role, &["--listen=127.0.0.1:0".to_owned()], None, &kubeconfig)?;
        Ok(Self { job, on, dispatcher, role, kubeconfig })
    }

    async fn work(&self, seconds: u32, code: u32) -> Fallible<i64> {
        Ok(self.on.enqueue("work", json!({"seconds": seconds, "code": code})).await?)
    }

    async fn port(&self) -> u16 {
        until("the dispatcher to listen", SOON, async || self.dispatcher.port().ok()).await
    }

    /// Makes what this one is here for; it lasts as long as what is returned.
    async fn break_it(&self) -> Fallible<Box<dyn Any>> {
        match self.job {
            "well" => self.wait_by_will().await,
            "no-leader" => self.take_the_lead().await,
            "stuck" => self.lock_a_table().await,
            "fails" => self.fail_six_times().await,
            "lost" => self.delete_a_job().await,
            "no-room" => self.ask_for_another_node().await,
            "triggers" => self.trigger_in_vain().await,
            "throttled" => Ok(Box::new(Throttled::begin(self).await?)),
            "refused" => self.revoke_a_function().await,
            job => Err(format!("nobody knows {job}").into()),
        }
    }

    /// No fault: a queue with work that is paused.
    async fn wait_by_will(&self) -> Fallible<Box<dyn Any>> {
        self.on.world.client.batch_execute("SELECT pgbatch.pause_queue('work')").await?;
        self.work(0, 0).await?;
        Ok(Box::new(()))
    }

    /// A session that is no dispatcher's. Not a PostgreSQL that lets nobody in: before each try a dispatcher is silent for up to ten
    /// seconds, which is nothing, but for those to whom ninety seconds are three.
    async fn take_the_lead(&self) -> Fallible<Box<dyn Any>> {
        let thief = self.on.world.database.connect_as(SUPERUSER).await?;
        let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename =";
        let lock = "SELECT pg_advisory_lock(pgbatch.leader_key())";
        thief.batch_execute(&format!("{terminate} '{}'; {lock}", self.role)).await?;
        Ok(Box::new(thief))
    }

    /// As VACUUM FULL does it.
    async fn lock_a_table(&self) -> Fallible<Box<dyn Any>> {
        let other = self.on.world.database.connect().await?;
        other.batch_execute("BEGIN; LOCK TABLE pgbatch.retry IN ACCESS EXCLUSIVE MODE").await?;
        self.work(0, 0).await?;
        Ok(Box::new(other))
    }

    async fn fail_six_times(&self) -> Fallible<Box<dyn Any>> {
        for _ in 0..6 {
            self.work(0, 1).await?;
        }
        Ok(Box::new(()))
    }

    async fn delete_a_job(&self) -> Fallible<Box<dyn Any>> {
        let batch = self.work(1000, 0).await?;
        self.on.until_count("the run to be running", RUNNING_RUNS, batch, 1, SOON).await;
        self.on.cluster.kubectl(&["delete", "jobs", "--all", "--namespace", &self.on.namespace.name])?;
        Ok(Box::new(()))
    }

    async fn ask_for_another_node(&self) -> Fallible<Box<dyn Any>> {
        let pod = json!({"nodeSelector": {"pgbatch.test/size": "huge"}});
        self.on.queue("huge", "exit 0", Shape { pod, ..Shape::default() }).await?;
        self.on.enqueue("huge", json!({})).await?;
        Ok(Box::new(()))
    }

    async fn trigger_in_vain(&self) -> Fallible<Box<dyn Any>> {
        let sql = "CREATE TABLE odd (n int); INSERT INTO odd VALUES (0);
            SELECT pgbatch.watch_rows('broken', 'work', 'SELECT 1 / n AS id FROM odd');
            SELECT pgbatch.watch_kafka('deaf', 'work', '127.0.0.1:1', 'topic')";
        self.on.world.client.batch_execute(sql).await?;
        Ok(Box::new(()))
    }

    async fn revoke_a_function(&self) -> Fallible<Box<dyn Any>> {
        let sql = format!("REVOKE EXECUTE ON FUNCTION pgbatch.observe_counts() FROM {}", self.role);
        self.on.world.client.batch_execute(&sql).await?;
        self.work(0, 0).await?;
        Ok(Box::new(()))
    }
}

/// Requests that create Jobs of a site go one at a time, and that one is another client's, which does not come to its end. Work comes
/// meanwhile.
struct Throttled {
    feeder: JoinHandle<()>,
    _endless: TcpStream,
    _proxy: Proxy,
    _one_at_a_time: OneAtATime,
}

impl Throttled {
    async fn begin(site: &Site) -> Fallible<Self> {
        let on = &site.on;
        let one_at_a_time = OneAtATime::begin(on)?;
        let proxy = on.cluster.proxy(&site.kubeconfig)?;
        let path = format!("/apis/batch/v1/namespaces/{}/jobs", on.namespace.name);
        // Not all of what was made is in force at once. What comes before it, is one of those whom nobody counts.
        let endless = until_else("another one to be turned away", SOON, async || {
            let endless = endless(&proxy, &path).map_err(|error| error.to_string())?;
            let json = ["Content-Type: application/json"];
            let other =
                request(proxy.port(), "POST", &path, &json, "{}").map_err(|error| error.to_string())?;
            if other.status == 429 { Ok(endless) } else { Err(other.head) }
        })
        .await;
        let client = on.world.database.connect().await?;
        let enqueue = r#"SELECT pgbatch.enqueue('work', '{"seconds": 0, "code": 0}')"#;
        let feeder = tokio::spawn(async move {
            while client.execute(enqueue, &[]).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        Ok(Self { feeder, _endless: endless, _proxy: proxy, _one_at_a_time: one_at_a_time })
    }
}

/// The beginning of a request.
fn endless(proxy: &Proxy, path: &str) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", proxy.port()))?;
    let head = "Host: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked";
    stream.write_all(format!("POST {path} HTTP/1.1\r\n{head}\r\n\r\n").as_bytes())?;
    Ok(stream)
}

impl Drop for Throttled {
    fn drop(&mut self) {
        self.feeder.abort();
    }
}

/// What is to have fired, in the words of [`Prometheus::fired`].
fn expected(job: &str, fires: &[&str]) -> BTreeSet<String> {
    fires.iter().map(|alert| format!("{job}: {alert}")).collect()
}

/// Each query of the chart's Grafana dashboard is one that Prometheus takes, and finds something where all is well and has run; but for
/// what is amiss, what waits, and triggers.
async fn the_dashboard_asks_what_is_there(prometheus: &Prometheus) -> Tested {
    const NOT_YET: [&str; 8] = [
        "failed|timed_out|lost",
        "oldest_pending",
        "queue_held",
        "runs_retried",
        "sql_call_failures",
        "trigger_kafka_lag",
        "trigger_last_fired",
        "trigger_value",
    ];
    let file = e2e::repository().join("deploy/helm/pgbatch/files/dashboard.json");
    let queries = expressions(&serde_json::from_str(&std::fs::read_to_string(file)?)?);
    assert!(queries.len() > 20, "{queries:?}");
    // A rate is of two scrapes at least.
    until_else("each to find something", SOON, async || {
        for query in &queries {
            let asked = query.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$queue", ".*");
            let found = prometheus.query(&asked).map_err(|error| error.to_string())?;
            if found.is_empty() && !NOT_YET.iter().any(|part| query.contains(part)) {
                return Err(format!("{query} finds nothing"));
            }
        }
        Ok(())
    })
    .await;
    Ok(())
}

/// Of all panels.
fn expressions(dashboard: &Value) -> Vec<String> {
    match dashboard {
        Value::Array(all) => all.iter().flat_map(expressions).collect(),
        Value::Object(fields) => {
            let own = fields.get("expr").and_then(Value::as_str).map(str::to_owned);
            own.into_iter().chain(fields.values().flat_map(expressions)).collect()
        }
        _ => vec![],
    }
}

#[tokio::test]
async fn each_alert_fires_by_its_fault_and_nothing_else_does() -> Tested {
    let sites = try_join_all(FIRES.iter().map(|(job, _)| Site::new(job))).await?;
    let mut jobs = Vec::new();
    for site in &sites {
        jobs.push((site.job, site.port().await));
    }
    let prometheus = Prometheus::start(&sites[0].on.world.dir, &jobs)?;
    for (site, batch) in sites.iter().zip(try_join_all(sites.iter().map(|site| site.work(0, 0))).await?) {
        site.on.until_state(batch, "succeeded", SOON).await;
    }
    // An increase is seen from a first value on.
    let succeeded = r#"pgbatch_runs_ended_total{queue="work", state="succeeded"} == 1"#;
    until_else("all to be seen well", SOON, async || {
        let seen = prometheus.query(succeeded).map_err(|error| error.to_string())?;
        // Before its first scrape, nobody leads.
        let firing = prometheus.alerts("firing").map_err(|error| error.to_string())?;
        if seen.len() == sites.len() && firing.is_empty() {
            Ok(())
        } else {
            Err(format!("{seen:?} {firing:?}"))
        }
    })
    .await;
    the_dashboard_asks_what_is_there(&prometheus).await?;
    let well_since = Instant::now();

    let mut faults = Vec::new();
    for site in &sites {
        faults.push(site.break_it().await?);
    }
    let all: BTreeSet<String> = FIRES.iter().flat_map(|(job, fires)| expected(job, fires)).collect();
    until_else("each to fire", ALL_FIRE, async || {
        let fired = prometheus.fired(well_since).map_err(|error| error.to_string())?;
        assert!(fired.is_subset(&all), "{:?}", fired.difference(&all).collect::<Vec<_>>());
        for ((job, fires), fault) in FIRES.iter().zip(&mut faults) {
            // Where requests are turned away for half an hour, nothing runs either.
            if expected(job, fires).is_subset(&fired) {
                *fault = Box::new(());
            }
        }
        let pending = prometheus.alerts("pending").map_err(|error| error.to_string())?;
        let missing: Vec<_> = all.difference(&fired).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("not {missing:?}; pending: {pending:?}")) }
    })
    .await;
    Ok(())
}
