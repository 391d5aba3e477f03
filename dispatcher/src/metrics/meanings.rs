//! What is shown, and in what words: the README's table is made of this.

use super::Metrics;
use super::catalogue::Catalogue;
use super::current::Current;

impl Metrics {
    pub(super) fn describe(&self) -> Catalogue {
        let mut catalogue = Catalogue::default();
        self.describe_runs(&mut catalogue);
        self.describe_items(&mut catalogue);
        self.describe_triggers(&mut catalogue);
        self.describe_outside(&mut catalogue);
        self.describe_loop(&mut catalogue);
        catalogue
    }

    fn describe_runs(&self, c: &mut Catalogue) {
        c.add(
            "pgbatch_enqueue_to_claim_seconds",
            "queue",
            "From the beginning of the transaction that enqueued, or from not_before, to the claim of an item's first run; not of batches that came after others",
            &self.enqueue_to_claim,
        );
        c.add(
            "pgbatch_claim_to_create_seconds",
            "",
            "From the claim of a run to its Job, as the loop sees them",
            &self.claim_to_create,
        );
        c.add(
            "pgbatch_create_to_running_seconds",
            "queue",
            "From a run's Job to its first container, as the loop sees them",
            &self.create_to_running,
        );
        c.add(
            "pgbatch_run_duration_seconds",
            "queue",
            "From the start of a run's first container to the run's end, by the node's clock; whole seconds in Kubernetes",
            &self.run_duration,
        );
        c.add("pgbatch_runs_claimed", "queue", "Runs that were claimed", &self.runs_claimed);
        c.add(
            "pgbatch_runs_retried",
            "queue",
            "Those of them that were not the first attempt",
            &self.runs_retried,
        );
        c.add(
            "pgbatch_runs_ended",
            "queue, state",
            "Runs whose end is recorded, by how the executor saw it: succeeded, failed, timed_out, lost, cancelled",
            &self.runs_ended,
        );
        c.add(
            "pgbatch_runs_live",
            "queue, state",
            "Runs that have not ended, starting or running, at the last look; of queues with open work",
            &self.runs_live,
        );
        c.add(
            "pgbatch_queue_held",
            "queue, reason",
            "1: work of the queue waits for this reason",
            &self.queue_held,
        );
    }

    fn describe_items(&self, c: &mut Catalogue) {
        c.add(
            "pgbatch_items",
            "queue, state",
            "Items of open batches, pending, running or retrying, and those that failed for good, of all batches that are kept; of ten thousand batches at most, with more it is at least so many",
            &self.items,
        );
        c.add(
            "pgbatch_oldest_pending_timestamp_seconds",
            "queue",
            "When the oldest batch was made that has pending items and waits for nothing else; none without such a batch",
            &self.oldest_pending,
        );
    }

    fn describe_triggers(&self, c: &mut Catalogue) {
        c.add(
            "pgbatch_trigger_error",
            "kind, trigger",
            "1: the trigger does not do what it should; kind is insert, rows, count, kafka, schedule or scaled_job",
            &self.trigger_error,
        );
        c.add(
            "pgbatch_trigger_value",
            "kind, trigger",
            "What the query of a trigger of watch_count returned last, the lag of a consumer group, or of the others the items of the latest batch",
            &self.trigger_value,
        );
        c.add(
            "pgbatch_trigger_last_fired_timestamp_seconds",
            "kind, trigger",
            "When its latest batch was made, of those that are kept",
            &self.trigger_last_fired,
        );
        c.add(
            "pgbatch_trigger_kafka_lag",
            "trigger",
            "Records that the consumer group of a trigger has not committed, at the last look",
            &self.kafka_lag,
        );
    }

    /// What it asks of others.
    fn describe_outside(&self, c: &mut Catalogue) {
        c.add(
            "pgbatch_kubernetes_requests",
            "verb, outcome",
            "Requests about Jobs to the API server, watches left out; outcome is ok, refused, throttled (429) or no_answer",
            &self.kubernetes_requests,
        );
        c.add(
            "pgbatch_kubernetes_requests_max",
            "",
            "So many requests may be under way at once; shrinks when the API server turns them away or grows slow",
            &self.kubernetes_requests_max,
        );
        c.add(
            "pgbatch_kubernetes_events",
            "outcome",
            "Events for the Jobs of runs; outcome is as above, or dropped, as too many waited",
            &self.kubernetes_events,
        );
        c.add("pgbatch_sql_calls", "function", "Calls of PostgreSQL that were answered", &self.sql_calls);
        c.add(
            "pgbatch_sql_call_failures",
            "function",
            "Those of them that were answered with an error, or not at all",
            &self.sql_call_failures,
        );
    }

    fn describe_loop(&self, c: &mut Catalogue) {
        c.add(
            "pgbatch_leader",
            "",
            "1: this dispatcher leads; 0: it stands by, or has no session",
            &self.leader,
        );
        c.add(
            "pgbatch_leader_epoch",
            "",
            "How many leads there have been, when this one took the lead",
            &self.leader_epoch,
        );
        c.add(
            "pgbatch_doorbell_info",
            "kind",
            "1 while it leads: how commits wake it, shared_memory or notify",
            &self.doorbell,
        );
        c.add("pgbatch_wakeups", "by", "What woke the loop: commit, executor or due_time", &self.wakeups);
        c.add(
            "pgbatch_last_look_timestamp_seconds",
            "",
            "When PostgreSQL was looked at last; an idle dispatcher need not for days",
            &self.last_look,
        );
        c.add(
            "pgbatch_sign_of_life_timestamp_seconds",
            "",
            "When the loop gave its last sign of life; it is asked for one by each scrape",
            &self.sign_of_life,
        );
        let build = Current::default();
        build.set([("version", env!("CARGO_PKG_VERSION").to_owned())], 1);
        c.add("pgbatch_build_info", "version", "1", &build);
    }
}
