//! What may run at all.

use jiff::{SignedDuration, Timestamp};
use pgbatch_core::snapshot::{BatchId, RunId};

use super::{Container, Law, Laws};
use crate::store::Tables;
use crate::world::World;

/// So long a watch may be behind, while it is not silent.
const UNSEEN_MAX: SignedDuration = SignedDuration::from_secs(60);

impl Laws {
    /// A Job is created. Returns whether nobody wants it: its run was over by then, or had had a Job, and the request was
    /// stale: whoever sent it had given up, was dead or deposed, or could not know yet that people deleted that Job. The
    /// dispatcher that leads cannot prevent that; what such a Job runs is a zombie's, and must come to an end.
    pub(crate) fn note_job(
        &mut self,
        world: &World,
        tables: &Tables,
        run: RunId,
        (sent_at, abandoned): (Timestamp, bool),
    ) -> bool {
        let row = tables.runs.get(&run);
        let live = row.is_some_and(|row| row.is_live());
        let cancel = row.and_then(|row| tables.batches.get(&row.batch)).is_some_and(|batch| batch.cancel);
        let jobs = self.jobs.entry(run).or_default();
        // Who was not told that the first create was done, and not yet that people deleted its Job, creates it again.
        let unseen = |taken_at: Timestamp| sent_at <= taken_at + UNSEEN_MAX;
        let stale = abandoned || jobs.taken_at.is_some_and(unseen);
        // A run that is to be cancelled and has no Job is ended at once: that may be on its way.
        if !live || (stale && (jobs.created > 0 || cancel)) {
            return true;
        }
        jobs.created += 1;
        if jobs.created > 1 + jobs.taken {
            world.violate(Law::OneJob, format!("run {run} has {} Jobs", jobs.created));
        }
        false
    }

    /// Somebody else than the dispatcher deleted the Job of a run, and the pods that could have said how it ended.
    pub(crate) fn note_taken(&mut self, run: RunId, at: Timestamp) {
        self.note_deleted(run);
        let jobs = self.jobs.entry(run).or_default();
        (jobs.taken, jobs.taken_at) = (jobs.taken + 1, Some(at));
    }

    /// A container of a run starts. Returns its number.
    pub(crate) fn container_starts(
        &mut self,
        world: &World,
        tables: &Tables,
        run: RunId,
        (batch, items): (BatchId, (u32, u32)),
        stillborn: bool,
    ) -> u64 {
        self.next_container += 1;
        self.started_containers += 1;
        let overlaps = |c: &&Container| c.batch == batch && c.items.0 <= items.1 && items.0 <= c.items.1;
        let other = self.containers.values().filter(|c| !c.stillborn && !stillborn).find(overlaps);
        if let Some(other) = other {
            let words = format!("run {run} starts while run {} runs, items of batch {batch}", other.run);
            world.violate(Law::OneAtATime, words);
        }
        if !stillborn {
            if tables.runs.get(&run).is_none_or(|row| !row.is_live()) {
                world.violate(Law::OverIsOver, format!("a container of run {run} starts, which is over"));
            }
            for item in items.0..=items.1 {
                let by = self.life(batch, item).succeeded_by.filter(|by| *by != run);
                if let Some(by) = by {
                    let words =
                        format!("run {run} runs item {item} of batch {batch}, which succeeded in run {by}");
                    world.violate(Law::OverIsOver, words);
                }
            }
        }
        self.containers.insert(self.next_container, Container { run, batch, items, stillborn });
        self.next_container
    }

    pub(crate) fn container_ends(&mut self, container: u64) {
        self.containers.remove(&container);
    }
}
