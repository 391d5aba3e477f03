//! The dispatcher against a simulated world: its real loop, planner and Kubernetes executor, with a store, a cluster, a
//! network and a clock in memory, faults drawn from a seed, and the laws of pgbatch checked at every step.
//!
//! A seed is a whole story: it replays exactly. `SEED=n` tells that of one; `SEEDS=n` runs so many (see `make simulate`).
#![expect(clippy::unwrap_used, clippy::panic, reason = "what a test cannot go on without fails it")]

mod api;
mod bugs;
mod cluster;
mod faults;
mod hosts;
mod laws;
mod program;
mod seeds;
mod server;
mod session;
mod signal;
mod simulation;
mod store;
mod trace;
mod users;
mod watch;
mod world;

use crate::bugs::Bug;
use crate::laws::Law;
use crate::seeds::{first_violation, number, tell_story};
use crate::simulation::{Plan, simulate};
use crate::trace::Trace;

/// So many seeds a plain test run has.
const SEEDS: u64 = 2000;

#[test]
fn no_seed_breaks_a_law() {
    if let Some(seed) = number("SEED").filter(|_| number("SEEDS").is_none()) {
        tell_story(seed);
        return;
    }
    let first = number("SEED").unwrap_or(1);
    let seeds = number("SEEDS").unwrap_or(SEEDS);
    if let Some((seed, violation)) = first_violation(first, seeds, None) {
        tell_story(seed);
        panic!("seed {seed}: {violation:?}");
    }
}

#[test]
fn a_seed_tells_the_same_story_twice() {
    for seed in 1..=20 {
        let plan = Plan { seed, ..Plan::default() };
        let hashes = [(), ()].map(|()| simulate(plan, Trace::hashed()).trace.hash());
        assert_eq!(hashes[0], hashes[1], "seed {seed}");
    }
}

#[test]
fn a_dispatcher_may_be_killed_at_every_await() {
    let seed = 1;
    for poll in 1.. {
        let verdict = simulate(Plan { seed, dies_at: Some(poll), ..Plan::default() }, Trace::hashed());
        assert!(verdict.violation.is_none(), "seed {seed}, killed at poll {poll}: {:?}", verdict.violation);
        if verdict.kills == 0 {
            eprintln!("simulation: killed at each of {} polls", poll - 1);
            assert!(poll > 100 && verdict.containers > 5, "too little happened");
            return;
        }
    }
}

/// Some seed of the first so many finds the planted bug, by one of these laws.
fn check_found(bug: Bug, laws: &[Law]) {
    let (seed, violation) = first_violation(1, SEEDS, Some(bug)).unwrap();
    eprintln!("{bug:?} is found by seed {seed}: {:?}: {}", violation.law, violation.words);
    assert!(laws.contains(&violation.law), "seed {seed}: {violation:?}");
}

#[test]
fn a_lost_wake_up_is_found() {
    check_found(Bug::LostWakeUp, &[Law::EverythingEnds]);
}

#[test]
fn a_claim_without_fence_is_found() {
    check_found(Bug::ClaimWithoutFence, &[Law::Fence, Law::Limits]);
}

#[test]
fn a_finish_applied_twice_is_found() {
    check_found(Bug::FinishTwice, &[Law::Transitions]);
}

#[test]
fn a_retry_counted_on_eviction_is_found() {
    check_found(Bug::EvictionCounted, &[Law::Evictions]);
}

#[test]
fn a_run_forgotten_after_409_is_found() {
    check_found(Bug::ForgottenAfter409, &[Law::EverythingEnds]);
}
