//! Many seeds, on all cores; and the story of one.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use crate::bugs::Bug;
use crate::laws::Violation;
use crate::simulation::{Plan, simulate};
use crate::trace::Trace;

/// A setting of the environment.
pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The lowest seed that broke a law, of those that were begun before the first was found.
pub(crate) fn first_violation(first: u64, seeds: u64, bug: Option<Bug>) -> Option<(u64, Violation)> {
    let next = AtomicU64::new(0);
    let found: Mutex<Option<(u64, Violation)>> = Mutex::new(None);
    let (batches, containers) = (AtomicU64::new(0), AtomicU64::new(0));
    let began = Instant::now();
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let is_over = found.lock().unwrap_or_else(PoisonError::into_inner).is_some();
            if number >= seeds || is_over {
                return;
            }
            let seed = first + number;
            let verdict = simulate(Plan { seed, bug, ..Plan::default() }, Trace::hashed());
            batches.fetch_add(verdict.batches, Ordering::Relaxed);
            containers.fetch_add(verdict.containers, Ordering::Relaxed);
            if let Some(violation) = verdict.violation {
                let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                if found.as_ref().is_none_or(|(known, _)| seed < *known) {
                    *found = Some((seed, violation));
                }
            }
            if bug.is_none() && (number + 1).is_multiple_of(500) {
                eprintln!("simulation: {} of {seeds} seeds, {:.0?}", number + 1, began.elapsed());
            }
        }
    };
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    if bug.is_none() {
        eprintln!(
            "simulation: {} batches ended, {} containers ran, {:.1?}",
            batches.load(Ordering::Relaxed),
            containers.load(Ordering::Relaxed),
            began.elapsed()
        );
    }
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Runs one seed again and prints what happened.
pub(crate) fn tell_story(seed: u64) {
    let plan = Plan { seed, ..Plan::default() };
    let loud = number("LINES").is_none();
    let verdict = simulate(plan, if loud { Trace::loud() } else { Trace::kept() });
    for line in verdict.trace.last(usize::try_from(number("LINES").unwrap_or(0)).unwrap_or(0)) {
        eprintln!("{line}");
    }
    eprintln!("trace hash {:016x}", verdict.trace.hash());
    if let Some(violation) = verdict.violation {
        panic!(
            "{:?} is broken: {}\nreplay: SEED={seed} cargo test -p pgbatch-dispatcher --test simulation no_seed",
            violation.law, violation.words
        );
    }
}
