//! One simulation: a seed makes a world, a storm, a calm, and a verdict.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pgbatch_core::state::BatchState;
use pgbatch_dispatcher::clock;

use crate::bugs::Bug;
use crate::cluster::make_trouble;
use crate::hosts::host;
use crate::laws::{Law, Violation};
use crate::program::Program;
use crate::trace::Trace;
use crate::users::{be_busy, make_queues, resume_all};
use crate::world::World;

/// After the faults, everything ends within this: some attempts of the longest program, one after the other.
const SETTLES: Duration = Duration::from_secs(4 * 3600);
/// What follows by itself: old Jobs are removed, watches come back, batches are pruned an hour later than thought.
const ASIDE: Duration = Duration::from_secs(2 * 3600);
const IDLE: Duration = Duration::from_secs(86_400);

/// What to simulate.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) bug: Option<Bug>,
    /// Nothing goes wrong, but that the first dispatcher is killed at this poll.
    pub(crate) dies_at: Option<u64>,
}

/// What came of it.
pub(crate) struct Verdict {
    pub(crate) violation: Option<Violation>,
    pub(crate) trace: Trace,
    pub(crate) batches: u64,
    pub(crate) containers: u64,
    /// How often a dispatcher was killed.
    pub(crate) kills: u64,
}

/// Runs one simulation on this thread.
pub(crate) fn simulate(plan: Plan, trace: Trace) -> Verdict {
    // The dispatcher's clock begins when it is first asked: outside any simulation, and before all of them.
    let _ = clock::now();
    // The dispatcher's jitter is drawn from the thread's generator.
    fastrand::seed(plan.seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let Ok(runtime) = runtime else {
        let words = "there is no runtime".to_owned();
        let violation = Some(Violation { law: Law::GoesOn, words });
        return Verdict { violation, trace, batches: 0, containers: 0, kills: 0 };
    };
    runtime.block_on(async {
        let world = Arc::new(World::new(plan, trace));
        tokio::select! {
            biased;
            () = world.until_broken() => {}
            () = live(world.clone(), plan.dies_at) => {}
        }
        let laws = world.laws();
        let (batches, containers) = (laws.ended_batches, laws.started_containers);
        drop(laws);
        let kills = world.kills.load(Ordering::Relaxed);
        Verdict { violation: world.violation(), trace: world.take_trace(), batches, containers, kills }
    })
}

async fn live(world: Arc<World>, dies_at: Option<u64>) {
    world.tell("world", || format!("{:?}", world.faults));
    make_queues(&world);
    for number in 0..world.faults.dispatchers {
        let first = dies_at.filter(|_| number == 0);
        tokio::spawn(host(world.clone(), format!("host-{number}"), first));
    }
    tokio::spawn(make_trouble(world.clone()));
    tokio::spawn(be_busy(world.clone()));
    tokio::time::sleep(world.millis(20_000..=240_000)).await;
    world.calm_down();
    resume_all(&world);
    if tokio::time::timeout(SETTLES, world.until(is_settled)).await.is_err() {
        return world.violate(Law::EverythingEnds, what_is_left(&world));
    }
    world.tell("world", || "everything has ended");
    tokio::time::sleep(ASIDE).await;
    let before = asked(&world);
    tokio::time::sleep(IDLE).await;
    let after = asked(&world);
    let prunes = world.tables().batches.values().any(|b| b.expires_at.is_some_and(|at| at <= world.now()));
    if before != after || prunes {
        let words =
            format!("calls and requests: {before:?} before the day, {after:?} after it; unpruned: {prunes}");
        world.violate(Law::Idle, words);
    }
    if !is_settled(&world) {
        world.violate(Law::EverythingEnds, what_is_left(&world));
    }
}

fn asked(world: &World) -> (u64, u64) {
    (world.calls.load(Ordering::Relaxed), world.requests.load(Ordering::Relaxed))
}

fn is_settled(world: &World) -> bool {
    world.tables().batches.values().all(|batch| batch.state.is_final()) && !world.laws().is_busy()
}

fn what_is_left(world: &World) -> String {
    let tables = world.tables();
    let open: Vec<(i64, BatchState)> =
        tables.batches.values().filter(|b| !b.state.is_final()).map(|b| (b.id, b.state)).collect();
    let live: Vec<_> = tables.live_runs().map(|run| (run.id, run.state)).collect();
    let busy = world.laws().busy_runs();
    format!(
        "open batches {open:?}, live runs {live:?}, containers of runs {busy:?}, longest program {:?}",
        Program::LONGEST
    )
}
