//! What may be claimed of a commit's work before the next look at it.
//!
//! A look finds out everything; the commit that rings after one that left a queue idle can only have brought work which is
//! next anyway. So PostgreSQL may claim it at once, by what the last look saw, and the Job is under way before the look.

use std::cmp::Reverse;

use serde::Serialize;

use super::{CLAIMS_MAX, starts_left};
use crate::snapshot::{Queue, Snapshot};

/// Leave to start runs of a queue: an element of what `pgbatch.claim_next()` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Permit {
    /// The queue.
    pub queue: String,
    /// Where its Jobs go; void if it is another one by now.
    pub namespace: Option<String>,
    /// The queue's limit, of which `runs` is what is left; void if it is another one by now.
    pub max_parallel: u32,
    /// At most so many runs.
    pub runs: u32,
}

/// For the queues where nothing waited at the last look, and where no limit but `max_parallel` has to be counted; by the
/// queues' priority. Live runs only end between two looks, so what was free is still free.
#[must_use]
pub fn permits(seen: &Snapshot) -> Vec<Permit> {
    let mut starts = u32::try_from(starts_left(seen).min(CLAIMS_MAX)).unwrap_or(u32::MAX);
    let mut queues: Vec<&Queue> = seen.store.queues.iter().filter(|queue| is_idle_and_plain(queue)).collect();
    queues.sort_by_key(|q| (Reverse(q.priority), &q.name));
    let mut permits = Vec::new();
    for queue in queues {
        let live = seen.store.live.iter().filter(|run| run.queue == queue.name).count();
        let room = queue.max_parallel.saturating_sub(u32::try_from(live).unwrap_or(u32::MAX));
        let runs = room.min(starts);
        if runs > 0 && seen.executor.has_heard(queue.namespace.as_deref()) {
            starts -= runs;
            let Queue { name, namespace, max_parallel, .. } = queue;
            permits.push(Permit {
                queue: name.clone(),
                namespace: namespace.clone(),
                max_parallel: *max_parallel,
                runs,
            });
        }
    }
    permits
}

/// Where something waits, even for its retry, only a look knows what is next.
fn is_idle_and_plain(queue: &Queue) -> bool {
    let is_plain = queue.limit.is_none() && queue.max_per_key.is_none() && queue.max_starts.is_none();
    !queue.paused && is_plain && queue.fresh.is_empty() && queue.retries.is_empty()
}
