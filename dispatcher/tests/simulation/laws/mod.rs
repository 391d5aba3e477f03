//! The laws of pgbatch, held against every transaction of the store and every container of the cluster.

mod claims;
mod containers;
mod ends;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use pgbatch_core::snapshot::{BatchId, RunId};
use pgbatch_core::state::ItemState;

use crate::store::{Change, QueueRow, Tables};
use crate::world::World;

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Law {
    /// Every item reaches a final state, and nothing goes on afterwards.
    EverythingEnds,
    /// No two live runs, and no two live containers, have an item.
    OneAtATime,
    /// One Job for each run.
    OneJob,
    /// What succeeded does not run again, and nothing starts for a run that is over.
    OverIsOver,
    /// No item has more attempts than it may have.
    Attempts,
    /// No item fails before its attempts are used up; evictions use none.
    Evictions,
    /// `max_parallel`, `max_per_key`, `max_starts`, the shared limit.
    Limits,
    /// With `max_per_key` = 1, the items of a key run in order.
    SerialOrder,
    /// What a dispatcher says that does not lead is refused; and what a run says that is over.
    Fence,
    /// States move along the transition table, and an end is written once.
    Transitions,
    /// The counts of a batch are those of its items.
    Counts,
    /// Nothing of a batch that is cancelled, or whose time has not come, or of a paused queue, is claimed.
    HeldBack,
    /// When there is nothing to do, nothing is asked.
    Idle,
    /// A dispatcher gives up only where no retry helps.
    GoesOn,
}

/// A law that is broken.
#[derive(Debug, Clone)]
pub(crate) struct Violation {
    pub(crate) law: Law,
    pub(crate) words: String,
}

/// What the laws remember; from what is told, not from what the store or the dispatcher conclude.
#[derive(Default)]
pub(crate) struct Laws {
    /// What the leader of an epoch saw last: its claims respect the limits of that moment.
    looks: BTreeMap<i64, Look>,
    lives: BTreeMap<(BatchId, u32), Life>,
    containers: BTreeMap<u64, Container>,
    next_container: u64,
    jobs: BTreeMap<RunId, Jobs>,
    /// Runs that failed because their pods were evicted, and whose pods still say so; and when their Jobs ended.
    evicted: BTreeMap<RunId, Timestamp>,
    /// Runs of which some pod was evicted, drained, preempted or lost with its node.
    touched: BTreeSet<RunId>,
    /// Items that have been in a final state, batches included: how much was checked.
    pub(crate) ended_batches: u64,
    pub(crate) started_containers: u64,
}

/// What a leader saw.
struct Look {
    queues: BTreeMap<String, QueueRow>,
    limits: BTreeMap<String, u32>,
    /// The retries: batch, first item, attempt.
    retries: BTreeSet<(BatchId, u32, u32)>,
    fresh: BTreeSet<BatchId>,
}

/// The life of an item.
#[derive(Debug, Default, Clone)]
struct Life {
    /// Runs that failed it, since it was retried by hand.
    burnt: u32,
    /// Runs that were disrupted.
    disrupted: u32,
    succeeded_by: Option<RunId>,
    /// It said that a retry is not worth while.
    hopeless: bool,
}

/// A container that runs.
struct Container {
    run: RunId,
    batch: BatchId,
    items: (u32, u32),
    /// Its Job was created by a request that came when its run was over.
    stillborn: bool,
}

/// The Jobs of a run.
#[derive(Default)]
struct Jobs {
    created: u32,
    /// Deleted by other hands than the dispatcher's, and when the last one was.
    taken: u32,
    taken_at: Option<Timestamp>,
}

impl Laws {
    /// The leader of this epoch looks at the store.
    pub(crate) fn looked(&mut self, epoch: i64, tables: &Tables) {
        let look = Look {
            queues: tables.queues.clone(),
            limits: tables.limits.clone(),
            retries: tables.retries.iter().map(|r| (r.batch, r.first_item, r.attempt)).collect(),
            fresh: tables.batches.values().filter(|b| b.has_fresh).map(|b| b.id).collect(),
        };
        self.looks.insert(epoch, look);
    }

    /// Judges one transaction.
    pub(crate) fn judge(&mut self, world: &World, tables: &Tables, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Claimed { run, epoch } => self.judge_claim(world, tables, *run, *epoch),
                Change::Run { run, from, to, disrupted } => {
                    if !from.can_become(*to) {
                        world.violate(Law::Transitions, format!("run {run} went from {from} to {to}"));
                    }
                    if to.is_final() {
                        self.judge_end(world, tables, *run, *disrupted);
                    }
                }
                Change::Reported { run, item } => self.note_report(tables, *run, *item),
                Change::Batch { batch, from, to } => {
                    let reopened =
                        changes.iter().any(|c| matches!(c, Change::Retried { batch: b, .. } if b == batch));
                    if from.is_final() && !reopened {
                        world.violate(Law::Transitions, format!("batch {batch} went from {from} to {to}"));
                    }
                    if to.is_final() {
                        self.ended_batches += 1;
                        judge_counts(world, tables, *batch);
                    }
                }
                Change::Retried { batch, items } => {
                    for item in items {
                        self.lives.insert((*batch, *item), Life::default());
                    }
                }
                Change::Pruned { batch } => {
                    self.lives.retain(|(b, _), _| b != batch);
                }
            }
        }
    }

    fn life(&mut self, batch: BatchId, item: u32) -> &mut Life {
        self.lives.entry((batch, item)).or_default()
    }

    /// Whether a container runs.
    pub(crate) fn is_busy(&self) -> bool {
        !self.containers.is_empty()
    }

    /// The runs whose containers run.
    pub(crate) fn busy_runs(&self) -> Vec<RunId> {
        self.containers.values().map(|container| container.run).collect()
    }
}

/// A batch that ended counts its items as they are.
fn judge_counts(world: &World, tables: &Tables, id: BatchId) {
    let Some(batch) = tables.batches.get(&id) else { return };
    let states: Vec<ItemState> = (1..=batch.items).map(|item| tables.item_state(id, item)).collect();
    let count = |state| u32::try_from(states.iter().filter(|s| **s == state).count()).unwrap_or(u32::MAX);
    let are = (count(ItemState::Succeeded), count(ItemState::Failed), count(ItemState::Cancelled));
    if batch.counts != Some(are) || are.0 + are.1 + are.2 != batch.items {
        let words =
            format!("batch {id} of {} items counts {:?}, they are {are:?}", batch.items, batch.counts);
        world.violate(Law::Counts, words);
    }
}
