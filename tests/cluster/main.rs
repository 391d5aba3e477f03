//! The whole path on a real Kubernetes: commit, wake, claim, Job, Pod, outcome.

mod alerts;
mod chart;
mod disruptions;
mod doctor;
mod endings;
mod events;
mod health;
mod install;
mod keda;
mod keda_logins;
mod logs;
mod on_cluster;
mod pod_page;
mod prometheus;
mod silence;
mod spring;
mod spring_partitions;
mod statements;
mod throttle;
mod waiting;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::time::Duration;

use e2e::claps::{self, CLAPS, Kind};
use e2e::dispatcher::Dispatcher;
use e2e::http;
use e2e::wait::until;
use serde_json::{Value, json};

use crate::on_cluster::OnCluster;

const SOON: Duration = Duration::from_secs(90);
const LONG: Duration = Duration::from_secs(900);

type Tested = Result<(), Box<dyn std::error::Error>>;

const ENDED_RUNS: &str = "SELECT count(*) FROM pgbatch.runs WHERE batch_id = $1 AND finished_at IS NOT NULL";
const RUNNING_RUNS: &str = "SELECT count(*) FROM pgbatch.runs WHERE batch_id = $1 AND state = 'running'";

fn condition(job: &Value, kind: &str) -> bool {
    job["status"]["conditions"]
        .as_array()
        .is_some_and(|all| all.iter().any(|c| c["type"] == kind && c["status"] == "True"))
}

/// Watches, through kubectl, that no two unfinished Jobs have the same item and no more than 30 are unfinished.
fn check_jobs_now(on: &OnCluster) {
    let unfinished: Vec<Value> =
        on.jobs().into_iter().filter(|j| !condition(j, "Complete") && !condition(j, "Failed")).collect();
    let items: BTreeSet<String> = unfinished
        .iter()
        .filter_map(|j| j["spec"]["template"]["spec"]["containers"][0]["env"].as_array())
        .filter_map(|env| env.iter().find(|e| e["name"] == "PGBATCH_ITEM_NO"))
        .map(|e| e["value"].to_string())
        .collect();
    assert_eq!(items.len(), unfinished.len(), "one live Job an item");
    assert!(unfinished.len() <= 30, "{} unfinished Jobs", unfinished.len());
}

async fn clap_on_cluster(on: &mut OnCluster, kind: Kind) -> Result<i64, Box<dyn std::error::Error>> {
    on.world.sql_secret(&on.cluster, &on.namespace.name)?;
    let env = on.world.pod_database_env(&on.cluster);
    claps::set_up(&on.world.client, kind, &json!(["/usr/local/bin/clap.sh"]), &env).await?;
    Ok(claps::enqueue(&mut on.world.client, kind, 1).await?)
}

/// "The last 10 succeeded and 5 failed Jobs kept", once the removals have come through.
async fn until_history(on: &OnCluster) {
    until("10 succeeded and 5 failed Jobs to be left", SOON, async || {
        let jobs = on.jobs();
        let left = |kind: &str| jobs.iter().filter(|j| condition(j, kind)).count();
        Some(()).filter(|()| jobs.len() == 15 && left("Complete") == 10 && left("Failed") == 5)
    })
    .await;
}

#[tokio::test]
async fn claps_of_an_image_survive_kill_9_of_the_dispatcher() -> Tested {
    let mut on = OnCluster::new("claps-image").await?;
    let mut dispatcher = on.dispatcher()?;
    let batch = clap_on_cluster(&mut on, Kind::Image).await?;
    for ended in [10, 90, 170] {
        on.until_count("the claps to be in full swing", ENDED_RUNS, batch, ended, LONG).await;
        check_jobs_now(&on);
        dispatcher.kill()?;
        dispatcher = on.dispatcher()?;
    }
    on.until_state(batch, "succeeded", LONG).await;
    claps::check(&on.world.client, batch).await;
    until_history(&on).await;
    Ok(())
}

#[tokio::test]
async fn claps_of_sql_commit_with_their_outcome_and_survive_kill_9_of_the_dispatcher() -> Tested {
    let mut on = OnCluster::new("claps-sql").await?;
    let mut dispatcher = on.dispatcher()?;
    let batch = clap_on_cluster(&mut on, Kind::Sql).await?;
    for ended in [30, 110] {
        on.until_count("the claps to be in full swing", ENDED_RUNS, batch, ended, LONG).await;
        check_jobs_now(&on);
        dispatcher.kill()?;
        dispatcher = on.dispatcher()?;
    }
    on.until_state(batch, "succeeded", LONG).await;
    claps::check(&on.world.client, batch).await;
    let errors = "SELECT count(*) FROM pgbatch.runs WHERE batch_id = $1 AND message LIKE \
                  '%did not sound%SQLSTATE P0001%HINT:%CONTEXT: PL/pgSQL function make_clap%'";
    assert_eq!(on.count(errors, batch).await, 3 * CLAPS);
    until_history(&on).await;
    drop(dispatcher);
    Ok(())
}

#[tokio::test]
async fn nothing_starts_from_a_rollback_and_what_was_enqueued_while_down_starts() -> Tested {
    let mut on = OnCluster::new("down").await?;
    on.shell_queue("later", "exit 0", "").await?;
    let transaction = on.world.client.transaction().await?;
    transaction.execute("SELECT pgbatch.enqueue('later')", &[]).await?;
    transaction.rollback().await?;
    let batch = on.enqueue("later", json!({})).await?;
    let _dispatcher = on.dispatcher()?;
    on.until_state(batch, "succeeded", SOON).await;
    assert_eq!(on.jobs().len(), 1);
    Ok(())
}

#[tokio::test]
async fn the_termination_message_is_the_result_or_the_error_and_values_are_data() -> Tested {
    let on = OnCluster::new("messages").await?;
    let report = r#"printf '{"got": "%s"}' "$PGBATCH_ARG_TEXT" > /dev/termination-log"#;
    on.shell_queue("speak", report, "").await?;
    on.shell_queue("fail", "echo the last words >&2; exit 9", ", max_attempts => 1").await?;
    let _dispatcher = on.dispatcher()?;
    let text = "a $(PGBATCH_RUN_ID) $$ 'b' ; c";
    let speaks = on.enqueue("speak", json!({"text": text})).await?;
    let fails = on.enqueue("fail", json!({})).await?;
    on.until_state(speaks, "succeeded", SOON).await;
    on.until_state(fails, "failed", SOON).await;
    let result =
        on.world.client.query_one("SELECT result FROM pgbatch.items WHERE batch_id = $1", &[&speaks]).await?;
    assert_eq!(result.get::<_, Value>(0), json!({"got": text}));
    let run = on
        .world
        .client
        .query_one("SELECT exit_code, message FROM pgbatch.runs WHERE batch_id = $1", &[&fails])
        .await?;
    assert_eq!((run.get::<_, i32>(0), run.get::<_, &str>(1).trim()), (9, "the last words"));
    Ok(())
}

#[tokio::test]
async fn people_look_into_it_by_kubectl_logs_and_exec_and_pods_have_dns() -> Tested {
    let on = OnCluster::new("look").await?;
    let line = "nslookup kubernetes.default.svc.cluster.local && echo resolved; until [ -e /tmp/go ]; do sleep 1; done";
    on.shell_queue("talk", line, "").await?;
    let _dispatcher = on.dispatcher()?;
    let batch = on.enqueue("talk", json!({})).await?;
    let namespace = on.namespace.name.as_str();
    until("the pod to speak", SOON, async || {
        on.cluster
            .kubectl(&["logs", "--namespace", namespace, "job/talk-1"])
            .ok()
            .filter(|log| log.contains("resolved"))
    })
    .await;
    on.cluster.kubectl(&["exec", "--namespace", namespace, "job/talk-1", "--", "touch", "/tmp/go"])?;
    on.until_state(batch, "succeeded", SOON).await;
    Ok(())
}

#[tokio::test]
async fn a_job_deleted_by_hand_is_lost_and_its_item_retried() -> Tested {
    let on = OnCluster::new("deleted").await?;
    on.shell_queue("once", "[ $PGBATCH_ATTEMPT -gt 1 ] || sleep 1000", ", retry_backoff => '100 ms'").await?;
    let _dispatcher = on.dispatcher()?;
    let batch = on.enqueue("once", json!({})).await?;
    on.until_count("the run to be running", RUNNING_RUNS, batch, 1, SOON).await;
    on.cluster.kubectl(&["delete", "jobs", "--all", "--wait=false", "--namespace", &on.namespace.name])?;
    on.until_state(batch, "succeeded", SOON).await;
    let lost = "SELECT count(*) FROM pgbatch.runs WHERE batch_id = $1 AND state = 'lost' AND attempt = 1";
    assert_eq!(on.count(lost, batch).await, 1);
    Ok(())
}

#[tokio::test]
async fn a_cancelled_batch_deletes_its_jobs() -> Tested {
    let on = OnCluster::new("cancelled").await?;
    on.shell_queue("long", "exec sleep 1000", "").await?;
    let _dispatcher = on.dispatcher()?;
    let batch = on.enqueue("long", json!({})).await?;
    on.until_count("the run to be running", RUNNING_RUNS, batch, 1, SOON).await;
    on.world.client.execute("SELECT pgbatch.cancel_batch($1)", &[&batch]).await?;
    on.until_state(batch, "cancelled", SOON).await;
    assert_eq!(on.jobs().len(), 0);
    let pods = on.cluster.list(&on.namespace.name, "pods")?;
    let live = pods.iter().filter(|p| p["status"]["phase"] == "Running" || p["status"]["phase"] == "Pending");
    assert_eq!(live.count(), 0, "the run has ended only when its containers have");
    Ok(())
}

#[tokio::test]
async fn it_waits_for_the_api_server_and_goes_on() -> Tested {
    let on = OnCluster::new("api-down").await?;
    on.shell_queue("patient", "exit 0", "").await?;
    let mut dispatcher = on.dispatcher()?;
    let first = on.enqueue("patient", json!({})).await?;
    on.until_state(first, "succeeded", SOON).await;
    on.cluster.component("kill", "kube-apiserver")?;
    let second = on.enqueue("patient", json!({})).await;
    let refused = until("a create to be refused", SOON, async || {
        dispatcher.logged().ok().filter(|log| log.contains("the Job cannot be created now"))
    });
    let told = tokio::time::timeout(SOON, refused).await;
    on.cluster.component("start", "kube-apiserver")?;
    told?;
    on.until_state(second?, "succeeded", SOON).await;
    let attempts = "SELECT count(*) FROM pgbatch.runs WHERE batch_id = $1";
    assert_eq!(on.count(attempts, first + 1).await, 1, "an outage burns no attempt");
    assert!(dispatcher.is_running()?);
    Ok(())
}

/// The requests of the dispatcher that the API server recorded so far, but for its watches.
fn requests(on: &OnCluster) -> std::io::Result<Vec<String>> {
    let log = BufReader::new(std::fs::File::open(on.cluster.audit_log())?);
    let events = log.lines().map_while(Result::ok).filter_map(|l| serde_json::from_str::<Value>(&l).ok());
    Ok(events
        .filter(|e| e["userAgent"].as_str().is_some_and(|a| a.starts_with("pgbatch/")))
        .filter(|e| e["verb"] != "watch")
        .map(|e| format!("{} {}", e["verb"], e["requestURI"]))
        .collect())
}

fn scrape(dispatcher: &Dispatcher) -> std::io::Result<()> {
    let page = http::get(dispatcher.port()?, "/metrics", &[])?;
    assert!(page.body.contains("pgbatch_leader 1"), "{}", page.body);
    Ok(())
}

#[tokio::test]
async fn idle_means_idle_for_a_hundred_queues_and_whoever_scrapes() -> Tested {
    let on = OnCluster::new("idle").await?;
    for number in 1..=100 {
        on.shell_queue(&format!("q{number}"), "exit 0", "").await?;
    }
    let listen = ["--listen=127.0.0.1:0".to_owned()];
    let dispatcher = on.dispatcher_with(&listen, None, on.cluster.kubeconfig())?;
    let batch = on.enqueue("q1", json!({})).await?;
    on.until_state(batch, "succeeded", SOON).await;
    // What the last batch still stirs up (the last watch event) is over when the log is quiet.
    let mut last = String::new();
    until("the dispatcher to fall asleep", SOON, async || {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let log = dispatcher.logged().ok()?;
        // A scrape counts what has changed.
        scrape(&dispatcher).ok()?;
        std::mem::replace(&mut last, log.clone()).eq(&log).then_some(())
    })
    .await;

    let statements = on.world.statements_of("pgbatch dispatch")?;
    assert!(statements > 0, "the server's log shows its statements");
    let requests_before = requests(&on)?;
    assert!(!requests_before.is_empty(), "the audit log shows its requests");
    // The minute is what is promised; there is no condition to wait for when nothing is to happen.
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        scrape(&dispatcher)?;
    }
    assert_eq!(on.world.statements_of("pgbatch dispatch")?, statements, "SQL statements");
    assert_eq!(requests(&on)?, requests_before, "API requests");

    let woken = on.enqueue("q100", json!({})).await?;
    on.until_state(woken, "succeeded", SOON).await;
    Ok(())
}
