//! What everything in a simulation shares: the clock, the dice, the trace, and the three parts that the laws are about.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::bugs::Bug;
use crate::cluster::Cluster;
use crate::faults::Faults;
use crate::laws::{Law, Laws, Violation};
use crate::server::Server;
use crate::signal::Signal;
use crate::simulation::Plan;
use crate::store::Tables;
use crate::trace::Trace;

/// The database's clock at the start: not the dispatcher's, whose wall clock is another one.
const EPOCH_SECOND: i64 = 1_767_225_600;

/// One simulated world.
pub(crate) struct World {
    pub(crate) bug: Option<Bug>,
    pub(crate) faults: Faults,
    /// Statements of the leader, and requests but the watches: none may come when there is nothing to do.
    pub(crate) calls: AtomicU64,
    pub(crate) requests: AtomicU64,
    /// How often a dispatcher was killed.
    pub(crate) kills: AtomicU64,
    calm: AtomicBool,
    dice: Mutex<Rng>,
    started: Instant,
    trace: Mutex<Trace>,
    tables: Mutex<Tables>,
    server: Mutex<Server>,
    cluster: Mutex<Cluster>,
    laws: Mutex<Laws>,
    /// Whatever changes in the store or the cluster.
    changes: Signal<()>,
    broken: Signal<Option<Violation>>,
}

/// A lock that nobody else wants: a world has one thread.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(crate) fn new(plan: Plan, trace: Trace) -> Self {
        let Plan { seed, bug, dies_at } = plan;
        let mut dice = Rng::with_seed(seed);
        let faults = Faults::draw(&mut dice);
        Self {
            bug,
            faults: if dies_at.is_some() { Faults { dispatchers: 1, ..Faults::default() } } else { faults },
            kills: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            calm: AtomicBool::new(false),
            dice: Mutex::new(dice),
            started: Instant::now(),
            trace: Mutex::new(trace),
            tables: Mutex::new(Tables::new(bug)),
            server: Mutex::new(Server::default()),
            cluster: Mutex::new(Cluster::default()),
            laws: Mutex::new(Laws::default()),
            changes: Signal::default(),
            broken: Signal::default(),
        }
    }

    pub(crate) fn tables(&self) -> MutexGuard<'_, Tables> {
        lock(&self.tables)
    }

    pub(crate) fn server(&self) -> MutexGuard<'_, Server> {
        lock(&self.server)
    }

    pub(crate) fn cluster(&self) -> MutexGuard<'_, Cluster> {
        lock(&self.cluster)
    }

    pub(crate) fn laws(&self) -> MutexGuard<'_, Laws> {
        lock(&self.laws)
    }

    /// Since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The database's clock, in microseconds as PostgreSQL has it.
    pub(crate) fn now(&self) -> Timestamp {
        let passed =
            SignedDuration::from_micros(i64::try_from(self.elapsed().as_micros()).unwrap_or(i64::MAX));
        Timestamp::from_second(EPOCH_SECOND).unwrap_or_default() + passed
    }

    /// From now on nothing goes wrong any more.
    pub(crate) fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
        self.tell("world", || "the faults stop");
        self.touch();
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// Whether a fault of this rate, in thousandths, happens now.
    pub(crate) fn fault(&self, per_mille: u32) -> bool {
        per_mille > 0 && !self.is_calm() && lock(&self.dice).u32(0..1000) < per_mille
    }

    /// Whether something that is no fault happens, in thousandths.
    pub(crate) fn chance(&self, per_mille: u32) -> bool {
        lock(&self.dice).u32(0..1000) < per_mille
    }

    pub(crate) fn between(&self, range: RangeInclusive<u64>) -> u64 {
        lock(&self.dice).u64(range)
    }

    /// One of several.
    pub(crate) fn pick<T: Clone>(&self, from: &[T]) -> Option<T> {
        lock(&self.dice).choice(from).cloned()
    }

    pub(crate) fn millis(&self, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.between(range))
    }

    /// How long a message travels: a moment, and now and then much longer.
    pub(crate) fn latency(&self, slow_per_mille: u32) -> Duration {
        if self.fault(slow_per_mille) { self.millis(50..=20_000) } else { self.millis(1..=8) }
    }

    /// A line of the trace. The words are made only where the trace is wanted.
    pub(crate) fn tell<T: Display>(&self, who: &str, words: impl FnOnce() -> T) {
        lock(&self.trace).line(self.elapsed(), who, &words());
    }

    pub(crate) fn take_trace(&self) -> Trace {
        std::mem::take(&mut *lock(&self.trace))
    }

    /// A law is broken: the first one counts, the rest follows from it.
    pub(crate) fn violate(&self, law: Law, words: String) {
        self.tell("LAW", || format!("{law:?} is broken: {words}"));
        self.broken.edit(|broken| {
            broken.get_or_insert(Violation { law, words });
        });
    }

    pub(crate) fn violation(&self) -> Option<Violation> {
        self.broken.get()
    }

    /// Ends when a law is broken.
    pub(crate) async fn until_broken(&self) {
        self.broken.until(|broken| broken.as_ref().map(|_| ())).await;
    }

    /// Something changed.
    pub(crate) fn touch(&self) {
        self.changes.edit(|()| {});
    }

    /// Ends when `holds` does; it is asked at every change.
    pub(crate) async fn until(&self, holds: impl Fn(&Self) -> bool) {
        self.changes.until(|()| holds(self).then_some(())).await;
    }
}
