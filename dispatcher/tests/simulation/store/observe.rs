//! `pgbatch.observe` and `pgbatch.advance`.

use jiff::{SignedDuration, Timestamp};
use pgbatch_core::snapshot::{BatchId, FreshBatch, Limit, LiveRun, Queue, Retry, RunId, StoreView};
use pgbatch_core::state::{BatchState, RunState};

use super::{BatchRow, QueueRow, Refused, RunRow, Tables};

/// What a batch that needs no run does next.
enum Step {
    Release,
    Cancel,
    Close,
}

impl Tables {
    /// `pgbatch.observe`.
    pub(crate) fn observe(&mut self, epoch: i64, also: &[String]) -> Result<StoreView, Refused> {
        self.check_epoch(epoch)?;
        self.looked = Some((epoch, self.next_run));
        let left = self.advance();
        let again_at = left.then(|| self.now + SignedDuration::from_secs(1));
        let waiting = self.batches.values().filter(|b| b.state == BatchState::Waiting);
        let not_before = waiting.filter_map(|b| b.not_before).filter(|at| *at > self.now).min();
        let is_wanted = |q: &&QueueRow| {
            also.contains(&q.name) || self.batches.values().any(|b| b.queue == q.name && !b.state.is_final())
        };
        let of_queues = self.queues.values().filter_map(|q| q.namespace.clone());
        Ok(StoreView {
            now: self.now,
            queues: self.queues.values().filter(is_wanted).map(|q| self.observe_queue(q)).collect(),
            live: self.live_runs().map(|run| self.observe_run(run)).collect(),
            next_not_before: not_before.into_iter().chain(again_at).min(),
            namespaces: of_queues.chain(self.live_runs().filter_map(|r| r.namespace.clone())).collect(),
            prune_at: self.batches.values().filter_map(|b| b.expires_at).min(),
            kafka: None,
        })
    }

    fn observe_queue(&self, q: &QueueRow) -> Queue {
        let limit = q.limit.as_ref().and_then(|name| {
            let live = self.live_runs().filter(|run| self.limit_of(&run.queue) == Some(name)).count();
            let max_parallel = *self.limits.get(name)?;
            Some(Limit { name: name.clone(), max_parallel, live: u32::try_from(live).unwrap_or(u32::MAX) })
        });
        Queue {
            name: q.name.clone(),
            namespace: q.namespace.clone(),
            paused: q.paused,
            priority: q.priority,
            max_parallel: q.max_parallel,
            limit,
            items_per_run: q.items_per_run,
            max_per_key: q.max_per_key,
            max_starts: q.max_starts,
            max_starts_per_ms: q.max_starts_per_ms,
            recent_starts: self.recent_starts(q),
            run_timeout_ms: q.run_timeout_ms,
            retry_backoff_ms: q.retry_backoff_ms,
            retry_backoff_max_ms: q.retry_backoff_max_ms,
            keep_succeeded: q.keep_succeeded,
            keep_failed: q.keep_failed,
            fresh: self.observe_fresh(q),
            retries: self.observe_retries(q),
        }
    }

    pub(crate) fn limit_of(&self, queue: &str) -> Option<&String> {
        self.queues.get(queue)?.limit.as_ref()
    }

    fn recent_starts(&self, q: &QueueRow) -> Vec<Timestamp> {
        let Some(max_starts) = q.max_starts else { return Vec::new() };
        let since = self.now - SignedDuration::from_millis(q.max_starts_per_ms);
        let of_queue = self.runs.values().filter(|run| run.queue == q.name);
        let mut starts: Vec<Timestamp> =
            of_queue.map(|run| run.created_at).filter(|at| *at > since).collect();
        starts.sort();
        starts.split_off(starts.len().saturating_sub(max_starts as usize))
    }

    fn observe_fresh(&self, q: &QueueRow) -> Vec<FreshBatch> {
        let is_fresh = |b: &&BatchRow| {
            let open = matches!(b.state, BatchState::Pending | BatchState::Running);
            b.queue == q.name && b.has_fresh && !b.cancel && open
        };
        let mut fresh: Vec<FreshBatch> = self
            .batches
            .values()
            .filter(is_fresh)
            .map(|b| FreshBatch {
                batch: b.id,
                priority: b.priority,
                key: b.key.clone(),
                next_item: self.claimed_upto(b.id) + 1,
                items: b.items,
            })
            .collect();
        fresh.sort_by_key(|f| (-f.priority, f.batch));
        fresh
    }

    /// The last item that an attempt-1 run had.
    pub(super) fn claimed_upto(&self, batch: BatchId) -> u32 {
        let firsts = self.runs.values().filter(|run| run.batch == batch && run.attempt == 1);
        firsts.max_by_key(|run| run.first_item).map_or(0, |run| run.last_item)
    }

    fn observe_retries(&self, q: &QueueRow) -> Vec<Retry> {
        let mut retries: Vec<Retry> = self
            .retries
            .iter()
            .filter(|r| r.queue == q.name)
            .filter_map(|r| {
                let batch = self.batches.get(&r.batch)?;
                Some(Retry {
                    batch: r.batch,
                    priority: batch.priority,
                    key: batch.key.clone(),
                    first_item: r.first_item,
                    last_item: r.last_item,
                    attempt: r.attempt,
                    due_at: r.due_at?,
                })
            })
            .collect();
        retries.sort_by_key(|r| (r.due_at, r.batch, r.first_item));
        retries
    }

    fn observe_run(&self, run: &RunRow) -> LiveRun {
        let batch = self.batches.get(&run.batch);
        LiveRun {
            run: run.id,
            queue: run.queue.clone(),
            namespace: run.namespace.clone(),
            batch: run.batch,
            key: batch.and_then(|b| b.key.clone()),
            attempt: run.attempt,
            state: run.state,
            started_at: run.started_at,
            cancel: batch.is_some_and(|b| b.cancel),
            waiting: run.waiting.clone().filter(|_| run.state == RunState::Starting),
            is_ready: false,
        }
    }

    /// `pgbatch.over_runs`.
    pub(crate) fn over_runs(&self, epoch: i64, runs: &[RunId]) -> Result<Vec<RunId>, Refused> {
        self.check_epoch(epoch)?;
        let is_over = |run: &&RunId| self.runs.get(run).is_none_or(|row| !row.is_live());
        Ok(runs.iter().filter(is_over).copied().collect())
    }

    /// `pgbatch.advance`: whether some are left because another transaction has locked them.
    fn advance(&mut self) -> bool {
        loop {
            let movable: Vec<(BatchId, Step)> =
                self.batches.values().filter_map(|b| Some((b.id, self.step(b)?))).collect();
            let left = !movable.is_empty();
            let free: Vec<_> =
                movable.into_iter().filter(|(id, _)| !self.locked_batches.contains(id)).collect();
            if free.is_empty() {
                return left;
            }
            for (id, step) in &free {
                match step {
                    Step::Release => self.set_batch_state(*id, BatchState::Pending),
                    Step::Cancel => self.mark_cancelled(*id),
                    Step::Close => {}
                }
            }
            self.close_batches(&free.iter().map(|(id, _)| *id).collect::<Vec<_>>());
        }
    }

    /// `pgbatch.movable_batches`.
    fn step(&self, b: &BatchRow) -> Option<Step> {
        match b.state {
            BatchState::Pending if b.items == 0 => Some(Step::Close),
            BatchState::Waiting => {
                let states = || b.after.iter().map(|id| self.batches.get(id).map(|a| a.state));
                let hopeless =
                    states().any(|s| matches!(s, None | Some(BatchState::Failed | BatchState::Cancelled)));
                let done = states().all(|s| s == Some(BatchState::Succeeded));
                let due = b.not_before.is_none_or(|at| at <= self.now);
                if hopeless { Some(Step::Cancel) } else { (done && due).then_some(Step::Release) }
            }
            _ => None,
        }
    }
}
