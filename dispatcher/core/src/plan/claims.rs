//! Which items start now, and which limits hold the others.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::{CLAIMS_MAX, Claim, Plan, Reason};
use crate::snapshot::{BatchId, FreshBatch, Limit, LiveRun, Queue, Retry, Snapshot};

/// No more than `starts` of them.
pub(super) fn plan_claims(seen: &Snapshot, starts: usize, plan: &mut Plan) {
    let mut queues: Vec<&Queue> = seen.store.queues.iter().collect();
    queues.sort_by_key(|q| (Reverse(q.priority), &q.name));
    let mut limits = BTreeMap::new();
    for queue in queues {
        plan_queue(queue, seen, starts, &mut limits, plan);
    }
}

/// The live runs under each limit, those planned included.
type Limits<'a> = BTreeMap<&'a str, u32>;

fn plan_queue<'a>(
    queue: &'a Queue,
    seen: &'a Snapshot,
    starts: usize,
    limits: &mut Limits<'a>,
    plan: &mut Plan,
) {
    let now = seen.store.now;
    if let Some(next) = queue.retries.iter().map(|r| r.due_at).filter(|at| *at > now).min() {
        plan.hold(&queue.name, Reason::RetryDue { at: next });
        if !queue.paused {
            plan.wake_no_later_than(next);
        }
    }
    let candidates = candidates(queue, now);
    if candidates.is_empty() {
        return;
    }
    if queue.paused {
        return plan.hold(&queue.name, Reason::Paused);
    }
    if !seen.executor.has_heard(queue.namespace.as_deref()) {
        return plan.hold(&queue.name, Reason::ExecutorNotReady);
    }
    if starts == 0 {
        return plan.hold(&queue.name, Reason::StartsUnderWay);
    }
    let mut room = Room::new(queue, &seen.store.live, now);
    let mut keys_held = BTreeSet::new();
    for candidate in candidates {
        for claim in candidate.chunks(queue.items_per_run) {
            if let Err(reason) = room.take(candidate.key, limits) {
                // A full key holds its own items only; the other limits hold the whole queue.
                if let Reason::AtMaxPerKey { key, .. } = &reason {
                    if keys_held.insert(key.clone()) {
                        plan.hold(&queue.name, reason);
                    }
                    break;
                }
                if let Reason::AtMaxStarts { until } = reason {
                    plan.wake_no_later_than(until);
                }
                return plan.hold(&queue.name, reason);
            }
            if plan.claims.len() == CLAIMS_MAX.min(starts) {
                return;
            }
            plan.claims.push(claim);
        }
    }
}

/// A range of one batch that may start now.
struct Candidate<'a> {
    order: (Reverse<i32>, bool, BatchId, u32),
    key: Option<&'a str>,
    range: Claim,
}

impl<'a> Candidate<'a> {
    fn retry(r: &'a Retry) -> Self {
        let Retry { batch, priority, key, first_item, last_item, attempt, due_at: _ } = r;
        let range =
            Claim { batch: *batch, first_item: *first_item, last_item: *last_item, attempt: *attempt };
        Self { order: (Reverse(*priority), false, *batch, *first_item), key: key.as_deref(), range }
    }

    fn fresh(f: &'a FreshBatch) -> Self {
        let FreshBatch { batch, priority, key, next_item, items } = f;
        let range = Claim { batch: *batch, first_item: *next_item, last_item: *items, attempt: 1 };
        Self { order: (Reverse(*priority), true, *batch, *next_item), key: key.as_deref(), range }
    }

    /// Runs of at most `items_per_run` items each. A retry row stays whole where it fits, and its rest waits in the
    /// same row, so only the first chunk of a retry can be claimed in one pass.
    fn chunks(&self, items_per_run: u32) -> impl Iterator<Item = Claim> + use<> {
        let Claim { batch, first_item, last_item, attempt } = self.range;
        let step = items_per_run.max(1);
        let most = if attempt == 1 { usize::MAX } else { 1 };
        (first_item..=last_item).step_by(step as usize).take(most).map(move |first_item| Claim {
            batch,
            first_item,
            last_item: first_item.saturating_add(step - 1).min(last_item),
            attempt,
        })
    }
}

/// By batch priority, highest first; then retries before fresh items, so that what was begun ends; then the oldest.
fn candidates(queue: &Queue, now: Timestamp) -> Vec<Candidate<'_>> {
    let mut all: Vec<_> = queue
        .retries
        .iter()
        .filter(|r| r.due_at <= now)
        .map(Candidate::retry)
        .chain(queue.fresh.iter().map(Candidate::fresh))
        .collect();
    all.sort_by_key(|c| c.order);
    all
}

/// What the queue's limits leave.
struct Room<'a> {
    queue: &'a Queue,
    runs: u32,
    per_key: BTreeMap<&'a str, u32>,
    starts: u32,
    next_start: Timestamp,
}

impl<'a> Room<'a> {
    fn new(queue: &'a Queue, live: &'a [LiveRun], now: Timestamp) -> Self {
        let mut runs = 0;
        let mut per_key = BTreeMap::new();
        for run in live.iter().filter(|r| r.queue == queue.name) {
            runs += 1;
            if let Some(key) = &run.key {
                *per_key.entry(key.as_str()).or_default() += 1;
            }
        }
        // Strictly serial means in order too: an item that waits for its retry keeps its successors waiting.
        if queue.max_per_key == Some(1) {
            for retry in queue.retries.iter().filter(|r| r.due_at > now) {
                if let Some(key) = &retry.key {
                    *per_key.entry(key.as_str()).or_default() += 1;
                }
            }
        }
        let interval = SignedDuration::from_millis(queue.max_starts_per_ms);
        let recent: Vec<_> = queue.recent_starts.iter().filter(|at| **at + interval > now).collect();
        let starts = u32::try_from(recent.len()).unwrap_or(u32::MAX);
        let next_start = recent.into_iter().min().copied().unwrap_or(now) + interval;
        Self { queue, runs, per_key, starts, next_start }
    }

    fn take(&mut self, key: Option<&'a str>, limits: &mut Limits<'a>) -> Result<(), Reason> {
        let max_parallel = self.queue.max_parallel;
        if self.runs >= max_parallel {
            return Err(Reason::AtMaxParallel { max_parallel });
        }
        if let Some(Limit { name, max_parallel, live }) = &self.queue.limit
            && *limits.entry(name).or_insert(*live) >= *max_parallel
        {
            return Err(Reason::AtLimit { limit: name.clone(), max_parallel: *max_parallel });
        }
        if self.queue.max_starts.is_some_and(|max| self.starts >= max) {
            return Err(Reason::AtMaxStarts { until: self.next_start });
        }
        if let (Some(key), Some(max_per_key)) = (key, self.queue.max_per_key) {
            let live = self.per_key.entry(key).or_default();
            if *live >= max_per_key {
                return Err(Reason::AtMaxPerKey { key: key.to_owned(), max_per_key });
            }
            *live += 1;
        }
        if let Some(Limit { name, .. }) = &self.queue.limit {
            *limits.entry(name).or_default() += 1;
        }
        self.runs += 1;
        self.starts += 1;
        Ok(())
    }
}
