//! What `kubectl describe job` says of a run: the dispatcher's own Events.

use e2e::wait::until;
use serde_json::{Value, json};

use crate::on_cluster::{OnCluster, Shape};
use crate::{RUNNING_RUNS, SOON, Tested};

impl OnCluster {
    /// The dispatcher's Events of a Job: type, reason, message.
    fn told(&self, job: &str) -> Vec<[String; 3]> {
        let events = self.cluster.list(&self.namespace.name, "events").unwrap_or_default();
        let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
        let ours = |event: &&Value| {
            event["source"]["component"] == "pgbatch"
                && event["involvedObject"]["kind"] == "Job"
                && event["involvedObject"]["name"] == job
        };
        events
            .iter()
            .filter(ours)
            .map(|event| ["type", "reason", "message"].map(|key| text(event, key)))
            .collect()
    }

    /// Waits for such an Event, and returns its message.
    async fn until_told(&self, job: &str, kind: &str, reason: &str) -> String {
        until(&format!("{reason} of {job}"), SOON, async || {
            let mut told = self.told(job).into_iter();
            told.find(|[k, r, _]| (k.as_str(), r.as_str()) == (kind, reason)).map(|[_, _, message]| message)
        })
        .await
    }

    /// The Job's only run.
    async fn job_of(&self, batch: i64) -> Result<String, Box<dyn std::error::Error>> {
        Ok(self.runs(batch, "job_name").await?.first().ok_or("no run")?.get(0))
    }
}

#[tokio::test]
async fn a_failed_run_says_on_its_job_whether_it_is_tried_again() -> Tested {
    let on = OnCluster::new("events").await?;
    let options = ", max_attempts => 2, retry_backoff => '1 s', keep_failed => 5";
    on.shell_queue("fails", "echo no such table >&2; exit 3", options).await?;
    on.shell_queue("works", "exit 0", ", keep_succeeded => 5").await?;
    let _dispatcher = on.dispatcher()?;
    let (fails, works) = (on.enqueue("fails", json!({})).await?, on.enqueue("works", json!({})).await?);
    on.until_state(fails, "failed", SOON).await;
    on.until_state(works, "succeeded", SOON).await;

    let runs = on.runs(fails, "job_name").await?;
    let [first, second] = runs.as_slice() else { return Err(format!("{} runs", runs.len()).into()) };
    let why = "failed (Error, exit code 3, no such table); ";
    let told = on.until_told(first.get(0), "Warning", "RunRetried").await;
    assert!(told.starts_with(&format!("attempt 1 of 2 {why}attempt 2 is due at 20")), "{told}");
    let told = on.until_told(second.get(0), "Warning", "RunFailed").await;
    let tries = format!("1 of its items failed for good, pgbatch.retry_batch({fails}) tries them again");
    assert_eq!(told, format!("attempt 2 of 2 {why}{tries}"));

    let described =
        on.cluster.kubectl(&["describe", "job", second.get(0), "--namespace", &on.namespace.name])?;
    assert!(described.contains("RunFailed") && described.contains(&tries), "{described}");
    assert_eq!(
        on.told(&on.job_of(works).await?),
        Vec::<[String; 3]>::new(),
        "its Job says that it is complete"
    );
    Ok(())
}

#[tokio::test]
async fn why_a_run_was_stopped_is_told_for_as_long_as_events_are_kept() -> Tested {
    let on = OnCluster::new("events-stop").await?;
    on.shell_queue("long", "exec sleep 1000", "").await?;
    on.shell_queue("limited", "exec sleep 1000", ", run_timeout => '2 s', max_attempts => 1").await?;
    let _dispatcher = on.dispatcher()?;
    let (long, limited) = (on.enqueue("long", json!({})).await?, on.enqueue("limited", json!({})).await?);
    on.until_count("the run to be running", RUNNING_RUNS, long, 1, SOON).await;
    on.world.client.execute("SELECT pgbatch.cancel_batch($1)", &[&long]).await?;
    on.until_state(long, "cancelled", SOON).await;
    on.until_state(limited, "failed", SOON).await;
    assert_eq!(on.jobs().len(), 0);
    let told = on.until_told(&on.job_of(long).await?, "Normal", "RunStopped").await;
    assert_eq!(told, "stopped, as its batch was cancelled");
    let told = on.until_told(&on.job_of(limited).await?, "Warning", "RunStopped").await;
    assert_eq!(told, "stopped, as it ran for longer than its queue's run_timeout");
    Ok(())
}

#[tokio::test]
async fn why_a_run_does_not_start_is_told_once_by_whatever_dispatcher() -> Tested {
    let on = OnCluster::new("events-start").await?;
    let golden = json!({"nodeSelector": {"disk": "golden"}});
    on.queue("nowhere", "exit 0", Shape { pod: golden, ..Shape::default() }).await?;
    let mut dispatcher = on.dispatcher()?;
    let batch = on.enqueue("nowhere", json!({})).await?;
    on.until_waiting(batch, "Unschedulable", "didn't match Pod's node affinity/selector").await?;
    let job = on.job_of(batch).await?;
    let told = on.until_told(&job, "Warning", "RunNotStarting").await;
    assert!(told.starts_with("Unschedulable: ") && told.contains("affinity/selector"), "{told}");

    dispatcher.kill()?;
    let next = on.dispatcher()?;
    until("the next one to see it", SOON, async || {
        next.logged().ok().filter(|log| log.contains("the run does not start"))
    })
    .await;
    on.world.client.execute("SELECT pgbatch.cancel_batch($1)", &[&batch]).await?;
    // Events are sent in their order: by the time of this one, that of the start has been.
    on.until_told(&job, "Normal", "RunStopped").await;
    let reasons: Vec<String> = on.told(&job).into_iter().map(|[_, reason, _]| reason).collect();
    assert_eq!(reasons.iter().filter(|reason| *reason == "RunNotStarting").count(), 1, "{reasons:?}");
    Ok(())
}
