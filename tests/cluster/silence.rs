//! What is lost in silence is found: events of a watch whose connection died, or whose past the API server forgot; a
//! namespace; requests that the API server turns away.

use std::time::Instant;

use e2e::dispatcher::Dispatcher;
use e2e::network::Netns;
use e2e::wait::until;
use serde_json::json;

use crate::on_cluster::OnCluster;
use crate::throttle::OneAtATime;
use crate::{RUNNING_RUNS, SOON, Tested, condition};

/// What the API server says of a moment that it does not remember.
const FORGOTTEN: &str = "too old resource version";

async fn until_logged(dispatcher: &Dispatcher, words: &str) {
    let logged = async || dispatcher.logged().ok().filter(|log| log.contains(words));
    until(&format!("{words:?} in the log"), SOON, logged).await;
}

impl OnCluster {
    async fn check_runs(&self, batch: i64, expected: &[&str]) -> Tested {
        let runs = self.runs(batch, "state").await?;
        let states: Vec<&str> = runs.iter().map(|run| run.get(0)).collect();
        assert_eq!(states, expected);
        Ok(())
    }
}

#[tokio::test]
async fn a_watch_that_fell_silent_is_found_and_what_it_missed_is_seen() -> Tested {
    let on = OnCluster::new("silent").await?;
    let (hub, host) = (Netns::existing(on.cluster.netns()), Netns::new()?);
    let link = on.link(&hub, &host)?;
    on.shell_queue("patient", "until [ -e /record/go ]; do sleep 0.1; done", "").await?;
    let dispatcher = on.dispatcher_with(&[], Some(&host), on.cluster.kubeconfig())?;
    let batch = on.enqueue("patient", json!({})).await?;
    on.until_count("the run to be running", RUNNING_RUNS, batch, 1, SOON).await;

    link.cut()?;
    let cut = Instant::now();
    on.let_go()?;
    until("the Job to complete", SOON, async || condition(on.jobs().first()?, "Complete").then_some(()))
        .await;
    assert_eq!(on.state(batch).await.as_deref(), Some("running"), "nobody has told the dispatcher");
    until_logged(&dispatcher, "the watch is interrupted").await;
    eprintln!("a silent watch was found after {:.1} s", cut.elapsed().as_secs_f64());
    link.mend()?;
    on.until_state(batch, "succeeded", SOON).await;
    on.check_runs(batch, &["succeeded"]).await
}

#[tokio::test]
async fn a_watch_whose_past_is_forgotten_lists_anew_and_sees_what_was_deleted() -> Tested {
    let on = OnCluster::new("forgotten").await?;
    let (hub, host) = (Netns::existing(on.cluster.netns()), Netns::new()?);
    let link = on.link(&hub, &host)?;
    let line = "[ $PGBATCH_ATTEMPT -gt 1 ] || exec sleep 1000";
    on.shell_queue("once", line, ", retry_backoff => '100 ms'").await?;
    let dispatcher = on.dispatcher_with(&[], Some(&host), on.cluster.kubeconfig())?;
    let batch = on.enqueue("once", json!({})).await?;
    on.until_count("the run to be running", RUNNING_RUNS, batch, 1, SOON).await;

    link.cut()?;
    on.cluster.kubectl(&["delete", "jobs", "--all", "--namespace", &on.namespace.name])?;
    // A new API server remembers nothing of what its predecessor told.
    on.cluster.component("kill", "kube-apiserver")?;
    on.cluster.component("start", "kube-apiserver")?;
    until_logged(&dispatcher, "the watch is interrupted").await;
    link.mend()?;
    until_logged(&dispatcher, FORGOTTEN).await;
    on.until_state(batch, "succeeded", SOON).await;
    on.check_runs(batch, &["lost", "succeeded"]).await
}

#[tokio::test]
async fn a_namespace_that_is_deleted_and_made_again_is_filled_again() -> Tested {
    let on = OnCluster::new("vanished").await?;
    let other = format!("{}-other", on.namespace.name);
    on.cluster.kubectl(&["create", "namespace", &other])?;
    let line = "[ $PGBATCH_ATTEMPT -gt 1 ] || exec sleep 1000";
    let options = format!(", retry_backoff => '100 ms', namespace => '{other}'");
    on.shell_queue("elsewhere", line, &options).await?;
    let _dispatcher = on.dispatcher()?;
    let batch = on.enqueue("elsewhere", json!({})).await?;
    on.until_count("the run to be running", RUNNING_RUNS, batch, 1, SOON).await;

    on.cluster.kubectl(&["delete", "namespace", &other])?;
    on.until_waiting(batch, "NotFound", &format!("namespaces \"{other}\" not found")).await?;
    on.cluster.kubectl(&["create", "namespace", &other])?;
    on.until_state(batch, "succeeded", SOON).await;
    // Whether the Job or its pod was deleted first is chance: it is lost, or has failed.
    assert_eq!(on.runs(batch, "state").await?.len(), 2);
    on.cluster.kubectl(&["delete", "namespace", &other, "--wait=false"])?;
    Ok(())
}

#[tokio::test]
async fn requests_that_an_overloaded_api_server_turns_away_are_sent_again() -> Tested {
    let on = OnCluster::new("throttled").await?;
    let kubeconfig = on.service_account()?;
    let _one_at_a_time = OneAtATime::begin(&on)?;
    on.shell_queue("many", "exit 0", ", max_parallel => 30, max_attempts => 1").await?;
    let dispatcher = on.dispatcher_with(&[], None, &kubeconfig)?;
    let sql = "SELECT pgbatch.enqueue_query('many', 'SELECT n FROM pg_catalog.generate_series(1, 30) n')";
    let batch = on.world.client.query_one(sql, &[]).await?.get(0);
    until_logged(&dispatcher, "Too many requests").await;
    on.until_state(batch, "succeeded", SOON).await;
    on.check_runs(batch, &["succeeded"; 30]).await
}
