//! What the dispatcher counts, for Prometheus: `/metrics`.
//!
//! Fed by what it sees and does anyway; a scrape reads memory, and makes no API request. What is known to PostgreSQL alone is
//! in [`counts`], for which a scrape has the loop make one statement, where something has changed. One set per process, like the log.

mod catalogue;
mod counts;
mod current;
#[cfg(test)]
mod documents;
mod meanings;
mod progress;
mod recent;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use pgbatch_core::plan::{End, Held, Reason};
use pgbatch_core::run::RunSpec;
use pgbatch_core::snapshot::StoreView;
use pgbatch_core::state::RunState;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use self::catalogue::Catalogue;
use self::counts::Freshness;
use self::current::Current;
pub(crate) use self::progress::Progress;
pub(crate) use self::recent::{Ended, Lead, MINUTES, Recent};
use crate::clock;

/// The format of [`Metrics::render`].
pub(crate) use prometheus_client::encoding::prometheus_text::CONTENT_TYPE;

/// From a process on this host, milliseconds, to a backfill, hours.
const BUCKETS: [f64; 17] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0,
];

/// So many queues have series of their own, those that come later are [`OTHER`] together: a program that makes a queue a
/// day must not fill Prometheus.
const QUEUES_MAX: usize = 1000;
/// The outcome of a request that the API server had no time for: it answered 429.
pub(crate) const THROTTLED: &str = "throttled";
/// No queue's name.
const OTHER: &str = "(other)";

/// Labels with their values, in this order.
type Labels<const N: usize> = [(&'static str, String); N];
type Counters<const N: usize> = Family<Labels<N>, Counter>;
type Histograms<const N: usize> = Family<Labels<N>, Histogram, fn() -> Histogram>;

/// All of it.
pub(crate) struct Metrics {
    catalogue: Catalogue,
    recent: Recent,
    queues: Mutex<BTreeSet<String>>,
    enqueue_to_claim: Histograms<1>,
    claim_to_create: Histogram,
    create_to_running: Histograms<1>,
    run_duration: Histograms<1>,
    runs_claimed: Counters<1>,
    runs_retried: Counters<1>,
    runs_ended: Counters<2>,
    runs_live: Current<2>,
    queue_held: Current<2>,
    freshness: Freshness,
    items: Current<2>,
    oldest_pending: Current<1, f64>,
    kubernetes_requests: Counters<2>,
    kubernetes_requests_max: Gauge,
    kubernetes_events: Counters<1>,
    sql_calls: Counters<1>,
    sql_call_failures: Counters<1>,
    trigger_error: Current<2>,
    trigger_value: Current<2, f64>,
    trigger_last_fired: Current<2, f64>,
    kafka_lag: Current<1>,
    leader: Gauge,
    leader_epoch: Gauge,
    doorbell: Current<1>,
    wakeups: Counters<1>,
    last_look: Gauge<f64, std::sync::atomic::AtomicU64>,
    sign_of_life: Gauge<f64, std::sync::atomic::AtomicU64>,
}

/// Those of this process.
pub(crate) fn metrics() -> &'static Metrics {
    static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);
    &METRICS
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

fn histograms<const N: usize>() -> Histograms<N> {
    Family::new_with_constructor(histogram)
}

fn count<T: TryInto<i64>>(number: T) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

fn seconds(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}

impl Metrics {
    /// None has been counted yet.
    fn new() -> Self {
        let mut metrics = Self {
            catalogue: Catalogue::default(),
            recent: Recent::default(),
            queues: Mutex::default(),
            enqueue_to_claim: histograms(),
            claim_to_create: histogram(),
            create_to_running: histograms(),
            run_duration: histograms(),
            runs_claimed: Family::default(),
            runs_retried: Family::default(),
            runs_ended: Family::default(),
            runs_live: Current::default(),
            queue_held: Current::default(),
            freshness: Freshness::default(),
            items: Current::default(),
            oldest_pending: Current::default(),
            kubernetes_requests: Family::default(),
            kubernetes_requests_max: Gauge::default(),
            kubernetes_events: Family::default(),
            sql_calls: Family::default(),
            sql_call_failures: Family::default(),
            trigger_error: Current::default(),
            trigger_value: Current::default(),
            trigger_last_fired: Current::default(),
            kafka_lag: Current::default(),
            leader: Gauge::default(),
            leader_epoch: Gauge::default(),
            doorbell: Current::default(),
            wakeups: Family::default(),
            last_look: Gauge::default(),
            sign_of_life: Gauge::default(),
        };
        metrics.catalogue = metrics.describe();
        metrics
    }

    /// All of it as text. `silence`: how long ago the loop gave its last sign of life.
    pub(crate) fn render(&self, silence: Duration) -> String {
        self.sign_of_life.set(seconds(clock::now()) - silence.as_secs_f64());
        let mut text = String::new();
        // A String takes all that is written to it.
        let _ = prometheus_text::encode(&mut text, self.catalogue.registry());
        text
    }

    /// This dispatcher leads.
    pub(crate) fn lead_taken(&self, epoch: i64, doorbell: &'static str) {
        self.leader.set(1);
        self.leader_epoch.set(epoch);
        self.recent.lead_taken(doorbell);
        self.doorbell.set([("kind", doorbell.to_owned())], 1);
    }

    /// It does not lead any more: what it saw last is not the state of the world.
    pub(crate) fn lead_lost(&self) {
        self.leader.set(0);
        self.recent.lead_lost();
        self.doorbell.clear();
        self.runs_live.clear();
        self.queue_held.clear();
        self.forget_counts();
        self.trigger_error.clear();
        self.kafka_lag.clear();
    }

    /// Something woke the loop.
    pub(crate) fn woken(&self, by: &'static str) {
        self.wakeups.get_or_create(&[("by", by.to_owned())]).inc();
        self.recent.woken(by);
    }

    /// PostgreSQL was looked at.
    pub(crate) fn looked(&self, view: &StoreView) {
        self.last_look.set(seconds(clock::now()));
        self.freshness.lose();
        let mut live = BTreeMap::new();
        for queue in &view.queues {
            for state in RunState::ALL.iter().filter(|state| !state.is_final()) {
                live.insert(self.queue_and("state", &queue.name, state.word()), 0);
            }
        }
        for run in &view.live {
            *live.entry(self.queue_and("state", &run.queue, run.state.word())).or_insert(0) += 1;
        }
        self.runs_live.replace(live);
    }

    /// What the last plan held back.
    pub(crate) fn held(&self, held: &[Held]) {
        let held = held.iter().map(|h| (self.queue_and("reason", &h.queue, word(&h.reason)), 1));
        self.queue_held.replace(held.collect());
    }

    /// A run was claimed.
    pub(crate) fn run_claimed(&self, spec: &RunSpec) {
        let queue = self.queue(&spec.queue);
        self.runs_claimed.get_or_create(&queue).inc();
        if spec.attempt > 1 {
            self.runs_retried.get_or_create(&queue).inc();
        }
        if let Some(ms) = spec.waited_ms {
            let waited = Duration::from_millis(ms.try_into().unwrap_or(0));
            self.enqueue_to_claim.get_or_create(&queue).observe(waited.as_secs_f64());
        }
    }

    /// The Job of a run is there.
    fn run_created(&self, since_claim: Duration) {
        self.claim_to_create.observe(since_claim.as_secs_f64());
    }

    /// A container of a run runs.
    fn run_running(&self, queue: &str, since_create: Duration) {
        self.create_to_running.get_or_create(&self.queue(queue)).observe(since_create.as_secs_f64());
    }

    /// The end of a run is recorded.
    pub(crate) fn run_ended(&self, queue: &str, end: &End) {
        self.runs_ended.get_or_create(&self.queue_and("state", queue, end.state.word())).inc();
        self.recent.run_ended(queue, matches!(end.state, RunState::Succeeded | RunState::Cancelled));
        if let (Some(started), Some(finished)) = (end.started_at, end.ending.finished_at) {
            let duration = finished.duration_since(started).as_secs_f64().max(0.0);
            self.run_duration.get_or_create(&self.queue(queue)).observe(duration);
        }
    }

    /// A request to the API server was answered, or was not.
    pub(crate) fn kubernetes_request(&self, verb: &'static str, outcome: &'static str) {
        let labels = [("verb", verb.to_owned()), ("outcome", outcome.to_owned())];
        self.kubernetes_requests.get_or_create(&labels).inc();
        if outcome == THROTTLED {
            self.recent.throttled();
        }
    }

    /// How many requests may be under way at once.
    pub(crate) fn kubernetes_requests_max(&self, at_once: usize) {
        self.kubernetes_requests_max.set(count(at_once));
    }

    /// So many.
    pub(crate) fn kubernetes_requests_at_once(&self) -> i64 {
        self.kubernetes_requests_max.get()
    }

    /// What happened of late.
    pub(crate) fn recent(&self) -> &Recent {
        &self.recent
    }

    /// An Event was written, or was not.
    pub(crate) fn kubernetes_event(&self, outcome: &'static str) {
        self.kubernetes_events.get_or_create(&[("outcome", outcome.to_owned())]).inc();
    }

    /// PostgreSQL was called.
    pub(crate) fn sql_call(&self, function: &'static str) {
        self.sql_calls.get_or_create(&[("function", function.to_owned())]).inc();
    }

    /// And it was in vain.
    pub(crate) fn sql_call_failure(&self, function: &'static str) {
        self.sql_call_failures.get_or_create(&[("function", function.to_owned())]).inc();
    }

    /// Whether a trigger is watched as it should be.
    pub(crate) fn trigger(&self, kind: &'static str, trigger: &str, is_in_error: bool) {
        let labels = [("kind", kind.to_owned()), ("trigger", trigger.to_owned())];
        self.trigger_error.set(labels, is_in_error.into());
    }

    /// The lag that a trigger has.
    pub(crate) fn trigger_lag(&self, trigger: &str, lag: i64) {
        self.kafka_lag.set([("trigger", trigger.to_owned())], lag);
        self.freshness.lose();
    }

    /// Of the triggers of a kind there are only these any more.
    pub(crate) fn keep_triggers(&self, kind: &'static str, stays: impl Fn(&str) -> bool) {
        self.trigger_error.retain(|[(_, of), (_, name)]| of != kind || stays(name));
        if kind == "kafka" {
            self.kafka_lag.retain(|[(_, name)]| stays(name));
        }
    }

    /// A queue's label. One that is new has all its counters from now on: an alert on an increase needs a first value.
    fn queue(&self, name: &str) -> Labels<1> {
        let mut known = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(name) {
            return [("queue", name.to_owned())];
        }
        let name = if known.len() < QUEUES_MAX { name } else { OTHER };
        let queue = [("queue", name.to_owned())];
        if known.insert(name.to_owned()) {
            drop(self.runs_claimed.get_or_create(&queue));
            drop(self.runs_retried.get_or_create(&queue));
            for state in RunState::ALL.iter().filter(|state| state.is_final()) {
                let [name] = queue.clone();
                drop(self.runs_ended.get_or_create(&[name, ("state", state.word().to_owned())]));
            }
        }
        queue
    }

    fn queue_and(&self, label: &'static str, queue: &str, value: &'static str) -> Labels<2> {
        let [queue] = self.queue(queue);
        [queue, (label, value.to_owned())]
    }
}

/// One word for a label: without what only one run, key or moment has.
fn word(reason: &Reason) -> &'static str {
    match reason {
        Reason::Paused => "paused",
        Reason::ExecutorNotReady => "executor_not_ready",
        Reason::StartsUnderWay => "starts_under_way",
        Reason::AtMaxParallel { .. } => "max_parallel",
        Reason::AtLimit { .. } => "limit",
        Reason::AtMaxPerKey { .. } => "max_per_key",
        Reason::AtMaxStarts { .. } => "max_starts",
        Reason::RetryDue { .. } => "retry_due",
        Reason::Refused { .. } => "refused",
    }
}
