//! How a run ended is readable in the words of whoever ended it.

use serde_json::json;

use crate::on_cluster::{OnCluster, Shape};
use crate::{RUNNING_RUNS, SOON, Tested};

impl OnCluster {
    /// Runs one item of a queue to its end, and checks what is recorded of it.
    async fn check_end(&self, queue: &str, expected: (&str, Option<i32>, &str, &str)) -> Tested {
        let batch = self.enqueue(queue, json!({})).await?;
        self.until_state(batch, "failed", SOON).await;
        let runs = self.runs(batch, "state, exit_code, reason, message").await?;
        let [run] = runs.as_slice() else { return Err(format!("{queue}: {} runs", runs.len()).into()) };
        let (state, reason, message): (&str, &str, &str) = (run.get(0), run.get(2), run.get(3));
        assert_eq!((state, run.get(1), reason, message), expected, "{queue}");
        let sql = "SELECT error FROM pgbatch.items WHERE batch_id = $1";
        let error: String = self.world.client.query_one(sql, &[&batch]).await?.get(0);
        assert!(error.contains(message), "{queue}: {error}");
        Ok(())
    }
}

#[tokio::test]
async fn a_signal_too_much_memory_and_a_deadline_say_so() -> Tested {
    let on = OnCluster::new("endings").await?;
    let options = ", max_attempts => 1";
    // The first process of a container is spared its own signals, unless the pod's processes share one family.
    let pod = json!({"shareProcessNamespace": true});
    on.queue("crash", "kill -SEGV $$$$", Shape { pod, options, ..Shape::default() }).await?;
    let container = json!({"resources": {"limits": {"memory": "32Mi"}}});
    let glutton = "x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done";
    on.queue("glutton", glutton, Shape { container, options, ..Shape::default() }).await?;
    let job = json!({"activeDeadlineSeconds": 2});
    on.queue("slow", "exec sleep 1000", Shape { job, options, ..Shape::default() }).await?;
    let _dispatcher = on.dispatcher()?;

    let crash = "container main was ended by SIGSEGV (exit code 139)";
    on.check_end("crash", ("failed", Some(139), "SIGSEGV", crash)).await?;
    let killed = "container main was ended by SIGKILL (exit code 137)";
    on.check_end("glutton", ("failed", Some(137), "OOMKilled", killed)).await?;
    let deadline = "Job was active longer than specified deadline";
    on.check_end("slow", ("failed", Some(137), "DeadlineExceeded", deadline)).await?;
    Ok(())
}

#[tokio::test]
async fn a_cancelled_run_has_its_own_grace_period_for_its_last_words() -> Tested {
    let on = OnCluster::new("grace").await?;
    let line = "say() { echo $1 >>/record/words; }; trap 'say stopping; sleep 3; say stopped; exit 0' TERM; \
                say started; while :; do sleep 0.1; done";
    let pod = json!({"terminationGracePeriodSeconds": 30});
    on.queue("careful", line, Shape { pod, ..Shape::default() }).await?;
    let _dispatcher = on.dispatcher()?;
    let batch = on.enqueue("careful", json!({})).await?;
    on.until_count("the run to be running", RUNNING_RUNS, batch, 1, SOON).await;
    on.world.client.execute("SELECT pgbatch.cancel_batch($1)", &[&batch]).await?;
    on.until_state(batch, "cancelled", SOON).await;
    assert_eq!(std::fs::read_to_string(on.record("words"))?, "started\nstopping\nstopped\n");
    assert_eq!(on.runs(batch, "state").await?[0].get::<_, &str>(0), "cancelled");
    assert_eq!(on.jobs().len(), 0);
    Ok(())
}
