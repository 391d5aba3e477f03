//! People: they make queues, enqueue, cancel, retry, pause, change limits, and keep rows locked.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use pgbatch_core::snapshot::BatchId;
use serde_json::{Value, json};

use crate::store::{Options, QueueRow, Tables};
use crate::world::World;

/// How long people do something.
const BUSY: Duration = Duration::from_secs(120);

/// So many items in all, about: a small world is a fast one, and a short trace.
const ITEMS_MAX: u64 = 24;

/// Makes the queues of a world.
pub(crate) fn make_queues(world: &World) {
    let queues = world.between(1..=3);
    let limit = world.chance(300).then(|| "shared".to_owned());
    for number in 0..queues {
        let queue = draw_queue(world, format!("q{number}"), limit.clone());
        world.tell("people", || format!("create {}", describe(&queue)));
        world.commit(|tables| tables.queues.insert(queue.name.clone(), queue));
    }
    if let Some(limit) = limit {
        let most = u32::try_from(world.between(1..=4)).unwrap_or(1);
        world.commit(|tables| tables.limits.insert(limit, most));
    }
}

fn describe(queue: &QueueRow) -> String {
    let QueueRow { job_template: _, .. } = queue;
    let words = QueueRow { job_template: Value::Null, ..queue.clone() };
    format!("{words:?}")
}

fn draw_queue(world: &World, name: String, limit: Option<String>) -> QueueRow {
    let number = |range| u32::try_from(world.between(range)).unwrap_or(1);
    let maybe = |per_mille, range| world.chance(per_mille).then(|| number(range));
    // A template of its own, by which an evicted pod fails the Job, or the usual one.
    let policy = if world.chance(300) { json!({"rules": []}) } else { Value::Null };
    let pod = json!({"spec": {"containers": [{"name": "main", "image": "i"}]}});
    let mut spec = json!({"template": pod});
    if policy.is_object() {
        spec["podFailurePolicy"] = policy;
    }
    QueueRow {
        name,
        job_template: json!({"spec": spec}),
        namespace: world.chance(300).then(|| "other".to_owned()),
        paused: false,
        priority: i32::try_from(world.between(0..=2)).unwrap_or(0),
        max_parallel: number(1..=6),
        limit: limit.filter(|_| world.chance(700)),
        items_per_run: if world.chance(300) { number(2..=4) } else { 1 },
        max_attempts: number(1..=4),
        retry_backoff_ms: i64::from(number(0..=5_000)),
        retry_backoff_max_ms: 20_000,
        run_timeout_ms: maybe(500, 5_000..=40_000).map(i64::from),
        max_per_key: maybe(500, 1..=2),
        max_starts: maybe(200, 1..=3),
        max_starts_per_ms: i64::from(number(1_000..=20_000)),
        keep_succeeded: number(0..=3),
        keep_failed: number(0..=3),
        retain_ms: if world.chance(200) { 60_000 } else { 7 * 86_400_000 },
    }
}

/// Does this and that until the faults stop.
pub(crate) async fn be_busy(world: Arc<World>) {
    let mut left = ITEMS_MAX;
    let often = world.pick(&[500_u64, 3_000, 15_000]).unwrap_or(3_000);
    while !world.is_calm() {
        if left > 0 && world.elapsed() < BUSY {
            let items = world.between(0..=6).min(left);
            left -= items.max(1);
            enqueue(&world, u32::try_from(items).unwrap_or(0));
        }
        let something = world.between(0..=99);
        act(&world, something);
        tokio::time::sleep(world.millis(1..=often)).await;
    }
}

fn act(world: &Arc<World>, something: u64) {
    let open: Vec<BatchId> = world.tables().batches.keys().copied().collect();
    let queues: Vec<String> = world.tables().queues.keys().cloned().collect();
    let (Some(batch), Some(queue)) = (world.pick(&open), world.pick(&queues)) else { return };
    match something {
        0..8 => {
            world.tell("people", || format!("cancel batch {batch}"));
            world.commit(|tables| tables.cancel_batch(batch));
        }
        8..16 => {
            let retried = world.commit(|tables| tables.retry_batch(batch));
            world.tell("people", || format!("retry batch {batch}: {retried:?}"));
        }
        16..24 => {
            let paused = world.chance(500);
            world.tell("people", || format!("queue {queue} paused: {paused}"));
            world.commit(|tables| tables.alter_queue(&queue, |row| row.paused = paused));
        }
        24..32 => {
            let most = u32::try_from(world.between(1..=6)).unwrap_or(1);
            world.tell("people", || format!("queue {queue} max_parallel: {most}"));
            world.commit(|tables| tables.alter_queue(&queue, |row| row.max_parallel = most));
        }
        32..36 => {
            let most = u32::try_from(world.between(1..=3)).unwrap_or(1);
            world.tell("people", || format!("queue {queue} max_per_key: {most}"));
            world.commit(|tables| tables.alter_queue(&queue, |row| row.max_per_key = Some(most)));
        }
        36..40 => {
            let most = u32::try_from(world.between(1..=4)).unwrap_or(1);
            world.tell("people", || format!("limits: {most}"));
            world.commit(|tables| {
                tables.limits.values_mut().for_each(|limit| *limit = most);
                tables.ring = true;
            });
        }
        _ if world.fault(world.faults.locks) => keep_locked(world, batch),
        _ => {}
    }
}

fn enqueue(world: &World, items: u32) {
    let queues: Vec<String> = world.tables().queues.keys().cloned().collect();
    let Some(queue) = world.pick(&queues) else { return };
    let known: Vec<BatchId> = world.tables().batches.keys().copied().collect();
    let later = SignedDuration::from_millis(i64::try_from(world.between(0..=60_000)).unwrap_or(0));
    let options = Options {
        priority: i32::from(world.chance(200)),
        key: world.chance(400).then(|| world.pick(&["a", "b"]).unwrap_or("a").to_owned()),
        unique_key: world.chance(150).then(|| "one".to_owned()),
        not_before: world.chance(150).then(|| world.now() + later),
        after: world.pick(&known).filter(|_| world.chance(200)).into_iter().collect(),
        max_attempts: world.chance(200).then_some(2),
    };
    let words = format!("{options:?}");
    let batch = world.commit(|tables| tables.enqueue(&queue, items, options));
    world.tell("people", || format!("enqueue {items} items in {queue}, {words}: {batch:?}"));
}

/// A transaction that keeps a batch, or a live run of it, locked, and then rolls back: that rings nothing.
fn keep_locked(world: &Arc<World>, batch: BatchId) {
    let run = world.tables().live_runs().find(|run| run.batch == batch).map(|run| run.id);
    let lock = move |tables: &mut Tables, locked: bool| {
        let run = run.filter(|_| batch % 2 == 0);
        match (run, locked) {
            (Some(run), true) => tables.locked_runs.insert(run),
            (Some(run), false) => tables.locked_runs.remove(&run),
            (None, true) => tables.locked_batches.insert(batch),
            (None, false) => tables.locked_batches.remove(&batch),
        };
    };
    world.tell("people", || format!("lock batch {batch} or its run {run:?}"));
    lock(&mut world.tables(), true);
    let (world, keeps) = (world.clone(), world.millis(10..=8_000));
    tokio::spawn(async move {
        tokio::time::sleep(keeps).await;
        world.tell("people", || format!("unlock batch {batch} or its run {run:?}"));
        lock(&mut world.tables(), false);
        world.touch();
    });
}

/// Lets everything go on.
pub(crate) fn resume_all(world: &World) {
    let queues: Vec<String> = world.tables().queues.keys().cloned().collect();
    for queue in queues {
        world.commit(|tables| tables.alter_queue(&queue, |row| row.paused = false));
    }
}
