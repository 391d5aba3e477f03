//! Which ended Jobs are beyond `keep_succeeded` and `keep_failed`: the newest stay.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::Plan;
use crate::snapshot::{JobPhase, RunId, Snapshot};

pub(super) fn plan_removals(seen: &Snapshot, plan: &mut Plan) {
    let live: BTreeSet<RunId> = seen.store.live.iter().map(|r| r.run).collect();
    let mut ended: BTreeMap<(&str, bool), Vec<_>> = BTreeMap::new();
    for job in seen.executor.jobs.values() {
        if let JobPhase::Ended(ending) = &job.phase
            && !live.contains(&job.run)
            && !job.stopping
        {
            let newest_first = Reverse((ending.finished_at, job.run));
            ended.entry((&job.queue, ending.succeeded)).or_default().push(newest_first);
        }
    }
    for queue in &seen.store.queues {
        for (succeeded, keep) in [(true, queue.keep_succeeded), (false, queue.keep_failed)] {
            let Some(mut jobs) = ended.remove(&(queue.name.as_str(), succeeded)) else { continue };
            jobs.sort();
            plan.removals.extend(jobs.iter().skip(keep as usize).map(|Reverse((_, run))| *run));
        }
    }
}
