//! What a claim must respect.

use jiff::SignedDuration;
use pgbatch_core::snapshot::RunId;

use super::{Law, Laws, Look};
use crate::store::{BatchRow, RunRow, Tables};
use crate::world::World;

impl Laws {
    pub(super) fn judge_claim(&mut self, world: &World, tables: &Tables, run: RunId, epoch: i64) {
        let Some(run) = tables.runs.get(&run) else { return };
        let Some(batch) = tables.batches.get(&run.batch) else { return };
        let early = batch.not_before.is_some_and(|at| at > tables.now);
        if early || batch.cancel || tables.queues.get(&run.queue).is_none_or(|queue| queue.paused) {
            world.violate(Law::HeldBack, format!("run {} of batch {} was claimed", run.id, run.batch));
        }
        let Some(look) = self.looks.get(&epoch) else { return };
        judge_limits(world, tables, run, look);
        if let Some(key) = &batch.key {
            judge_key(world, tables, run, batch, key, look);
        }
        if epoch != tables.epoch {
            let words = format!("run {} was claimed by the dispatcher of epoch {epoch}", run.id);
            world.violate(Law::Fence, words);
        }
        self.judge_items(world, tables, run, batch.max_attempts);
    }

    fn judge_items(&mut self, world: &World, tables: &Tables, run: &RunRow, max_attempts: u32) {
        for item in run.first_item..=run.last_item {
            let other = tables.live_runs().find(|r| r.id != run.id && r.batch == run.batch && r.has(item));
            if let Some(other) = other {
                let words =
                    format!("runs {} and {} both have item {item} of batch {}", other.id, run.id, run.batch);
                world.violate(Law::OneAtATime, words);
            }
            let life = self.life(run.batch, item);
            if let Some(by) = life.succeeded_by {
                let words = format!(
                    "run {} has item {item} of batch {}, which succeeded in run {by}",
                    run.id, run.batch
                );
                world.violate(Law::OverIsOver, words);
            }
            if life.burnt >= max_attempts {
                let words = format!(
                    "run {} has item {item} of batch {}, which failed {} times of {max_attempts}",
                    run.id, run.batch, life.burnt
                );
                world.violate(Law::Attempts, words);
            }
        }
    }
}

fn judge_limits(world: &World, tables: &Tables, run: &RunRow, look: &Look) {
    let Some(queue) = look.queues.get(&run.queue) else { return };
    let live = tables.live_runs().filter(|r| r.queue == run.queue).count();
    if live > queue.max_parallel as usize {
        let words = format!("{live} live runs of queue {}, max_parallel {}", run.queue, queue.max_parallel);
        world.violate(Law::Limits, words);
    }
    if let Some(name) = &queue.limit
        && let Some(most) = look.limits.get(name)
    {
        let live = tables.live_runs().filter(|r| tables.limit_of(&r.queue) == Some(name)).count();
        if live > *most as usize {
            world.violate(Law::Limits, format!("{live} live runs under limit {name}, max_parallel {most}"));
        }
    }
    if let Some(most) = queue.max_starts {
        let since = tables.now - SignedDuration::from_millis(queue.max_starts_per_ms);
        let starts = tables.runs.values().filter(|r| r.queue == run.queue && r.created_at > since).count();
        if starts > most as usize {
            world.violate(Law::Limits, format!("{starts} starts of queue {}, max_starts {most}", run.queue));
        }
    }
}

fn judge_key(world: &World, tables: &Tables, run: &RunRow, batch: &BatchRow, key: &String, look: &Look) {
    let Some(most) = look.queues.get(&run.queue).and_then(|queue| queue.max_per_key) else { return };
    let same =
        |id: &i64| tables.batches.get(id).filter(|b| b.queue == run.queue && b.key.as_ref() == Some(key));
    let live = tables.live_runs().filter(|r| same(&r.batch).is_some()).count();
    if live > most as usize {
        let words = format!("{live} live runs of queue {} with key {key}, max_per_key {most}", run.queue);
        world.violate(Law::Limits, words);
    }
    if most != 1 || run.attempt != 1 {
        return;
    }
    let waits = tables.retries.iter().find(|r| {
        let seen = look.retries.contains(&(r.batch, r.first_item, r.attempt));
        seen && r.due_at.is_some() && same(&r.batch).is_some_and(|b| b.priority == batch.priority)
    });
    if let Some(retry) = waits {
        let words = format!(
            "run {} with key {key} goes before the retry of item {} of batch {}",
            run.id, retry.first_item, retry.batch
        );
        world.violate(Law::SerialOrder, words);
    }
    let is_before = |b: &&BatchRow| {
        let open = b.has_fresh && !b.cancel && look.fresh.contains(&b.id);
        let active = matches!(b.state.word(), "pending" | "running");
        open && active && b.id < batch.id && b.priority == batch.priority && same(&b.id).is_some()
    };
    if let Some(before) = tables.batches.values().find(is_before) {
        let words = format!("run {} with key {key} goes before batch {}", run.id, before.id);
        world.violate(Law::SerialOrder, words);
    }
}
