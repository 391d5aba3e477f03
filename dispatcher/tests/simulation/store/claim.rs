//! `pgbatch.claim`, `claim_next`, `run_specs`, `start_runs`, `ready_runs`, `note_runs`.

use std::cmp::Reverse;

use pgbatch_core::item::Item;
use pgbatch_core::plan::{Claim, Note, Permit, Ready, Started};
use pgbatch_core::run::RunSpec;
use pgbatch_core::snapshot::RunId;
use pgbatch_core::state::{BatchState, RunState};

use super::{BatchRow, Change, QueueRow, Refused, RetryRow, RunRow, Tables};

impl Tables {
    /// `pgbatch.claim`.
    pub(crate) fn claim(&mut self, epoch: i64, claims: &[Claim]) -> Result<Vec<RunSpec>, Refused> {
        self.check_epoch(epoch)?;
        let mut claims: Vec<&Claim> = claims.iter().collect();
        claims.sort_by_key(|c| (c.batch, c.attempt, c.first_item));
        let mut specs = Vec::new();
        for claim in claims {
            if self.locked_batches.contains(&claim.batch) || !self.is_claimable(claim) {
                continue;
            }
            let run = if claim.attempt == 1 { self.claim_fresh(claim) } else { self.claim_retry(claim) };
            if let Some(run) = run {
                self.changes.push(Change::Claimed { run, epoch });
                specs.extend(self.run_spec(run));
            }
        }
        Ok(specs)
    }

    /// `pgbatch.claim_next`.
    pub(crate) fn claim_next(&mut self, epoch: i64, permits: &[Permit]) -> Result<Vec<RunSpec>, Refused> {
        self.check_epoch(epoch)?;
        let mut specs = Vec::new();
        if self.looked != Some((epoch, self.next_run)) {
            return Ok(specs);
        }
        for permit in permits {
            for claim in self.next_claims(permit) {
                if let Some(run) = self.claim_fresh(&claim) {
                    self.changes.push(Change::Claimed { run, epoch });
                    specs.extend(self.run_spec(run));
                }
            }
        }
        Ok(specs)
    }

    fn next_claims(&self, permit: &Permit) -> Vec<Claim> {
        let is_as_it_was = |q: &&QueueRow| {
            let is_plain = q.limit.is_none() && q.max_per_key.is_none() && q.max_starts.is_none();
            !q.paused && is_plain && q.max_parallel == permit.max_parallel && q.namespace == permit.namespace
        };
        let Some(queue) = self.queues.get(&permit.queue).filter(is_as_it_was) else { return Vec::new() };
        let is_next = |b: &&BatchRow| {
            let is_there = b.queue == queue.name && b.state == BatchState::Pending && b.has_fresh;
            is_there && !b.cancel && !self.locked_batches.contains(&b.id)
        };
        let mut batches: Vec<&BatchRow> = self.batches.values().filter(is_next).collect();
        batches.sort_by_key(|b| (Reverse(b.priority), b.id));
        let step = queue.items_per_run.max(1);
        let claims = batches.into_iter().flat_map(|b| {
            (1..=b.items).step_by(step as usize).map(move |first_item| {
                let last_item = first_item.saturating_add(step - 1).min(b.items);
                Claim { batch: b.id, first_item, last_item, attempt: 1 }
            })
        });
        claims.take(permit.runs as usize).collect()
    }

    fn is_claimable(&self, claim: &Claim) -> bool {
        self.batches.get(&claim.batch).is_some_and(|b| {
            let open = matches!(b.state, BatchState::Pending | BatchState::Running);
            open && !b.cancel && self.queues.get(&b.queue).is_some_and(|q| !q.paused)
        })
    }

    fn claim_fresh(&mut self, claim: &Claim) -> Option<RunId> {
        let batch = self.batches.get(&claim.batch)?.clone();
        let last_item = claim.last_item.min(batch.items);
        if claim.first_item != self.claimed_upto(batch.id) + 1 || claim.first_item > last_item {
            return None;
        }
        self.set_batch_state(batch.id, BatchState::Running);
        if let Some(row) = self.batches.get_mut(&batch.id) {
            row.has_fresh = last_item < row.items;
        }
        let (first_item, max_attempt) = (claim.first_item, batch.max_attempts);
        Some(self.insert_run(&batch, (first_item, last_item), 1, max_attempt, 0))
    }

    fn claim_retry(&mut self, claim: &Claim) -> Option<RunId> {
        let is_it = |r: &RetryRow| {
            (r.batch, r.first_item, r.attempt) == (claim.batch, claim.first_item, claim.attempt)
                && r.due_at.is_some_and(|at| at <= self.now)
        };
        let at = self.retries.iter().position(is_it).filter(|_| claim.last_item >= claim.first_item)?;
        let retry = self.retries.remove(at);
        let last_item = claim.last_item.min(retry.last_item);
        if last_item < retry.last_item {
            self.retries.push(RetryRow { first_item: last_item + 1, ..retry.clone() });
        }
        let batch = self.batches.get(&claim.batch)?.clone();
        let items = (retry.first_item, last_item);
        Some(self.insert_run(&batch, items, retry.attempt, retry.max_attempt, retry.disruptions))
    }

    fn insert_run(
        &mut self,
        batch: &BatchRow,
        (first_item, last_item): (u32, u32),
        attempt: u32,
        max_attempt: u32,
        disruptions: u32,
    ) -> RunId {
        let id = self.next_run;
        self.next_run += 1;
        let row = RunRow {
            id,
            queue: batch.queue.clone(),
            batch: batch.id,
            first_item,
            last_item,
            attempt,
            max_attempt,
            disruptions,
            token: format!("token-{id}"),
            namespace: self.queues.get(&batch.queue).and_then(|q| q.namespace.clone()),
            state: RunState::Starting,
            created_at: self.now,
            started_at: None,
            waiting: None,
            succeeded: 0,
            failed: 0,
        };
        self.runs.insert(id, row);
        id
    }

    fn run_spec(&self, run: RunId) -> Option<RunSpec> {
        let run = self.runs.get(&run).filter(|run| run.is_live())?;
        let queue = self.queues.get(&run.queue)?;
        Some(RunSpec {
            run: run.id,
            queue: run.queue.clone(),
            batch: run.batch,
            namespace: run.namespace.clone(),
            first_item: run.first_item,
            last_item: run.last_item,
            attempt: run.attempt,
            token: run.token.clone(),
            items: (run.first_item..=run.last_item).map(|_| Item::empty()).collect(),
            job_template: Some(queue.job_template.clone()),
            sql_role: None,
            pending_pod_conditions: None,
            items_per_run: queue.items_per_run,
            waited_ms: None,
            traceparent: None,
        })
    }

    /// `pgbatch.run_specs`.
    pub(crate) fn run_specs(&self, runs: &[RunId]) -> Vec<RunSpec> {
        runs.iter().filter_map(|run| self.run_spec(*run)).collect()
    }

    /// `pgbatch.start_runs`.
    pub(crate) fn start_runs(&mut self, epoch: i64, started: &[Started]) -> Result<(), Refused> {
        self.check_epoch(epoch)?;
        for Started { run, started_at } in started {
            if self.locked_runs.contains(run) {
                continue;
            }
            if let Some(row) = self.runs.get_mut(run).filter(|row| row.state == RunState::Starting) {
                (row.state, row.started_at, row.waiting) = (RunState::Running, Some(*started_at), None);
                let (from, to) = (RunState::Starting, RunState::Running);
                self.changes.push(Change::Run { run: *run, from, to, disrupted: false });
            }
        }
        Ok(())
    }

    /// `pgbatch.ready_runs`. Nobody asks for it in the simulation, whose queues have no conditions.
    pub(crate) fn ready_runs(&mut self, epoch: i64, _ready: &[Ready]) -> Result<(), Refused> {
        self.check_epoch(epoch)
    }

    /// `pgbatch.note_runs`.
    pub(crate) fn note_runs(&mut self, epoch: i64, notes: &[Note]) -> Result<(), Refused> {
        self.check_epoch(epoch)?;
        for Note { run, waiting } in notes {
            if self.locked_runs.contains(run) {
                continue;
            }
            if let Some(row) = self.runs.get_mut(run).filter(|row| row.state == RunState::Starting) {
                row.waiting.clone_from(waiting);
            }
        }
        Ok(())
    }
}
