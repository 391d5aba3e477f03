//! Carries out a plan, in its order, and records what came of it. Decides nothing.

use pgbatch_core::notice::{Notice, StopReason};
use pgbatch_core::plan::{Claim, End, Permit, Plan, Stop};
use pgbatch_core::retry::delay_ms;
use pgbatch_core::run::{Outcome, RunSpec};
use pgbatch_core::snapshot::{LiveRun, RunId, Snapshot};
use pgbatch_core::state::RunState;
use serde_json::Value;
use tracing::{info, warn};

use crate::executor::Executor;
use crate::metrics::{Progress, metrics};
use crate::store::{Store, StoreError};
use crate::trace::{Traces, traces};

/// Does what `plan` says. Every step may be done twice: what is recorded is fenced in SQL, Jobs by their names.
///
/// # Errors
/// The session with PostgreSQL broke; what was not done is planned again.
pub(crate) async fn apply(
    plan: &Plan,
    seen: &Snapshot,
    store: &impl Store,
    executor: &impl Executor,
    progress: &mut Progress,
) -> Result<(), StoreError> {
    let Plan {
        ends,
        running,
        notes,
        ready,
        stops,
        strays,
        starts,
        claims,
        removals,
        prune,
        held: _,
        wake_at: _,
    } = plan;
    if !ends.is_empty() {
        record_ends(ends, seen, store, executor).await?;
    }
    if !running.is_empty() {
        store.start_runs(running).await?;
    }
    if !notes.is_empty() {
        store.note_runs(notes).await?;
    }
    if !ready.is_empty() {
        store.ready_runs(ready).await?;
    }
    if !starts.is_empty() {
        for spec in traced(store.run_specs(starts).await?, store).await? {
            start(spec, executor);
        }
    }
    if !claims.is_empty() {
        claim(claims, store, executor, progress).await?;
    }
    for &Stop { run, why } in stops {
        info!(run, queue = queue_of(seen, run), batch = batch_of(seen, run), %why, "stopping the Job");
        executor.tell(run, &Notice::Stopped(why));
        executor.stop(run);
    }
    stop_strays(strays, store, executor).await?;
    remove_ended(removals, store, executor).await?;
    if *prune {
        store.prune().await?;
    }
    Ok(())
}

/// PostgreSQL is asked again, after the Jobs were seen: a Job is created after its claim has committed, so a run that
/// is not live now never will be. A dispatcher that lost the lead gets no answer, and stops nothing of its successor's.
async fn stop_strays(
    strays: &[RunId],
    store: &impl Store,
    executor: &impl Executor,
) -> Result<(), StoreError> {
    if strays.is_empty() {
        return Ok(());
    }
    for run in store.over_runs(strays).await? {
        warn!(run, "stopping a Job whose run is over");
        executor.tell(run, &Notice::Stopped(StopReason::Over));
        executor.stop(run);
    }
    Ok(())
}

/// PostgreSQL is asked again here too: what was seen of it may be from before another dispatcher led, claimed a run and
/// ran its Job to the end. To remove that one would be to lose its end.
async fn remove_ended(
    removals: &[RunId],
    store: &impl Store,
    executor: &impl Executor,
) -> Result<(), StoreError> {
    if removals.is_empty() {
        return Ok(());
    }
    for run in store.over_runs(removals).await? {
        executor.forget(run);
        executor.remove(run);
    }
    Ok(())
}

async fn claim(
    claims: &[Claim],
    store: &impl Store,
    executor: &impl Executor,
    progress: &mut Progress,
) -> Result<(), StoreError> {
    start_claimed(traced(store.claim(claims).await?, store).await?, executor, progress);
    Ok(())
}

/// Starts what has come since the last look, as far as `permits` go. Returns whether that was anything.
///
/// # Errors
/// The session with PostgreSQL broke; what was claimed is seen by the next look.
pub(crate) async fn claim_next(
    permits: &[Permit],
    store: &impl Store,
    executor: &impl Executor,
    progress: &mut Progress,
) -> Result<bool, StoreError> {
    let specs = traced(store.claim_next(permits).await?, store).await?;
    let any = !specs.is_empty();
    start_claimed(specs, executor, progress);
    Ok(any)
}

/// With the traces that their programs go on in, where somebody wants traces.
async fn traced(mut specs: Vec<RunSpec>, store: &impl Store) -> Result<Vec<RunSpec>, StoreError> {
    if traces().is_some() && !specs.is_empty() {
        let runs: Vec<RunId> = specs.iter().map(|spec| spec.run).collect();
        Traces::go_on(&mut specs, &store.run_traces(&runs).await?);
    }
    Ok(specs)
}

fn start_claimed(specs: Vec<RunSpec>, executor: &impl Executor, progress: &mut Progress) {
    for spec in specs {
        progress.claim(&spec, metrics());
        start(spec, executor);
    }
}

fn start(spec: RunSpec, executor: &impl Executor) {
    info!(
        queue = spec.queue,
        batch = spec.batch,
        run = spec.run,
        first_item = spec.first_item,
        last_item = spec.last_item,
        attempt = spec.attempt,
        "starting"
    );
    executor.start(spec);
}

async fn record_ends(
    ends: &[End],
    seen: &Snapshot,
    store: &impl Store,
    executor: &impl Executor,
) -> Result<(), StoreError> {
    let outcomes: Vec<Outcome> = ends.iter().cloned().map(outcome).collect();
    let closed = store.finish_runs(&outcomes).await?;
    for outcome in &outcomes {
        tell_end(outcome, seen);
    }
    for batch in closed {
        info!(queue = batch.queue, batch = batch.id, label = batch.label, state = %batch.state, "the batch ended");
    }
    tell_what_is_next(&outcomes, store, executor).await?;
    if let Some(traces) = traces() {
        let runs: Vec<RunId> = outcomes.iter().map(|outcome| outcome.run).collect();
        traces.ended(&store.run_traces(&runs).await?, &seen.executor.namespace);
    }
    Ok(())
}

/// Tells those who look at the Job of a failed run whether its items are tried again. What was stopped or lost has no Job any
/// more.
async fn tell_what_is_next(
    outcomes: &[Outcome],
    store: &impl Store,
    executor: &impl Executor,
) -> Result<(), StoreError> {
    let failed: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.state == RunState::Failed).collect();
    if failed.is_empty() || !executor.has_audience() {
        return Ok(());
    }
    let runs: Vec<RunId> = failed.iter().map(|outcome| outcome.run).collect();
    for next in store.next_attempts(&runs).await? {
        if let Some(outcome) = failed.iter().find(|outcome| outcome.run == next.run) {
            executor.tell(next.run, &Notice::failed(outcome, next));
        }
    }
    Ok(())
}

/// Lets the executor forget the ends that are recorded. A run whose row another session had locked was left out and is
/// still live: what its Job said must last until it is recorded.
///
/// `before`: what the plan was made of.
pub(crate) fn forget_recorded(done: &Plan, before: &Snapshot, seen: &Snapshot, executor: &impl Executor) {
    for end in done.ends.iter().filter(|end| live(seen, end.run).is_none()) {
        if let Some(queue) = queue_of(before, end.run) {
            metrics().run_ended(queue, end);
        }
        executor.forget(end.run);
    }
}

fn tell_end(outcome: &Outcome, seen: &Snapshot) {
    let (run, queue, batch) = (outcome.run, queue_of(seen, outcome.run), batch_of(seen, outcome.run));
    let (reason, exit_code) = (outcome.reason.as_deref(), outcome.exit_code);
    if outcome.state == RunState::Succeeded {
        info!(queue, batch, run, "succeeded");
    } else {
        warn!(queue, batch, run, state = %outcome.state, reason, exit_code, "the run did not succeed");
    }
}

fn live(seen: &Snapshot, run: i64) -> Option<&LiveRun> {
    seen.store.live.iter().find(|l| l.run == run)
}

fn queue_of(seen: &Snapshot, run: i64) -> Option<&str> {
    live(seen, run).map(|l| l.queue.as_str())
}

fn batch_of(seen: &Snapshot, run: i64) -> Option<i64> {
    live(seen, run).map(|l| l.batch)
}

fn outcome(end: End) -> Outcome {
    let End { run, state, started_at, ending, retry_window_ms } = end;
    let result =
        (state == RunState::Succeeded).then(|| ending.message.as_deref().and_then(result_of)).flatten();
    Outcome {
        run,
        state,
        started_at,
        finished_at: ending.finished_at,
        exit_code: ending.exit_code,
        reason: ending.reason,
        message: ending.message,
        result,
        retry_in_ms: delay_ms(retry_window_ms, fastrand::f64()),
        disrupted: ending.disrupted,
    }
}

/// A termination message in JSON is what the program has to say; other words are not a result. jsonb has no NUL: a
/// message with one would fail to be recorded again and again, and everything behind it.
fn result_of(message: &str) -> Option<Value> {
    serde_json::from_str::<Value>(message).ok().filter(|value| !value.to_string().contains("\\u0000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_a_result_and_other_words_are_not() {
        assert_eq!(result_of(r#"{"rows": 3}"#), Some(serde_json::json!({"rows": 3})));
        assert_eq!(result_of("done, 3 rows"), None);
    }

    #[test]
    fn what_jsonb_cannot_hold_is_no_result() {
        assert_eq!(result_of(r#"{"a": "x\u0000y"}"#), None);
        assert_eq!(result_of(r#"{"x\u0000y": 1}"#), None);
    }
}
