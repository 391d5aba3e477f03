//! From facts to the phase of a run.

use std::collections::BTreeMap;

use pgbatch_core::snapshot::{JobPhase, JobView, RunId, Waiting};
use tracing::warn;

use super::super::facts::{IMAGE_PULL, PodFacts, Terminal};
use super::super::fate;
use super::{Asked, Entry, Mirror, Question, Seen};

impl Mirror {
    /// Changes an entry, and then its phase with it.
    pub(super) fn edit(&mut self, run: RunId, change: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.runs.get_mut(&run) else { return };
        let before = entry.view(run);
        change(entry);
        let pods_synced = self.namespaces.get(&entry.namespace).is_some_and(|n| n.pods.synced);
        let pods = self.pods.get(&run);
        entry.settle_waiting(pods);
        if entry.settle(pods) == Pods::Missing && pods_synced && entry.pods_asked == Asked::No {
            entry.pods_asked = Asked::UnderWay;
            self.questions.push(Question::Pods(run));
        }
        let after = entry.view(run);
        if after != before {
            tell_waiting(&before, &after);
            self.changed = true;
        }
        if matches!(entry.phase, JobPhase::Ended(_)) {
            self.pods.remove(&run);
        }
    }
}

/// Says why a run does not start, once for each reason: an image that does not exist can be waited for in vain.
fn tell_waiting(before: &JobView, after: &JobView) {
    let Some(Waiting { reason, message }) = &after.waiting else { return };
    if before.waiting.as_ref().is_none_or(|known| known.reason != *reason) {
        warn!(queue = after.queue, run = after.run, reason, message, "the run does not start");
    }
}

/// Whether the pods say enough.
#[derive(PartialEq, Eq)]
enum Pods {
    Enough,
    Missing,
}

impl Entry {
    /// What a refused create said holds until the Job is there; then its pods say it, or the lack of them.
    fn settle_waiting(&mut self, pods: Option<&BTreeMap<String, PodFacts>>) {
        let mut pods = pods.into_iter().flat_map(BTreeMap::values);
        self.disruptions =
            u32::try_from(pods.clone().filter(|pod| pod.disrupted).count()).unwrap_or(u32::MAX);
        self.is_ready = pods.clone().filter(|pod| pod.live).filter_map(|pod| pod.ready).max();
        let Seen::There { uid } = &self.job else { return };
        let waiting = if pods.clone().any(|pod| pod.live) {
            self.blocked = None;
            pods.find_map(|pod| pod.waiting.clone().filter(|_| pod.live))
        } else {
            self.blocked.as_ref().filter(|blocked| blocked.uid == *uid).map(|blocked| blocked.why.clone())
        };
        let same = |a: &Waiting, b: &Waiting| a.reason == b.reason && a.reason == IMAGE_PULL;
        match (&self.waiting, &waiting) {
            // The kubelet alternates between two messages, of which the first says more.
            (Some(known), Some(now)) if same(known, now) => {}
            _ => self.waiting = waiting,
        }
    }

    fn settle(&mut self, pods: Option<&BTreeMap<String, PodFacts>>) -> Pods {
        if matches!(self.phase, JobPhase::Ended(_)) {
            return Pods::Enough;
        }
        let pods = || pods.into_iter().flat_map(BTreeMap::values);
        self.started_at = pods().filter_map(PodFacts::started_at).chain(self.started_at).min();
        let going = if self.started_at.is_some() { JobPhase::Running } else { JobPhase::Pending };
        self.phase = match (&self.job, &self.terminal) {
            (Seen::NotYet, _) => return Pods::Enough,
            // Its fate is known, and stays so when the Job goes.
            (Seen::There { .. } | Seen::Gone, Some(terminal)) => {
                let told = pods().any(|pod| pod.tells(terminal.succeeded));
                if !told && self.pods_asked != Asked::Answered {
                    self.phase = going;
                    return Pods::Missing;
                }
                JobPhase::Ended(fate::ending(terminal, pods()))
            }
            (Seen::There { .. }, None) => going,
            // Its items are not free for another run before the last pod has ended, and while another Job of this name
            // may come up.
            (Seen::Gone, None) if self.create_sent || pods().any(|pod| pod.live) => going,
            // The watch of pods may be behind that of Jobs: one that it has not shown yet may run.
            (Seen::Gone, None) if self.pods_asked != Asked::Answered => {
                self.phase = going;
                return Pods::Missing;
            }
            // The controller had not yet told what the pod had done: to do it again would be to do it twice.
            (Seen::Gone, None) => match pods().find(|pod| pod.done && self.single) {
                Some(pod) => JobPhase::Ended(fate::ending(&Terminal::of_done(pod), std::iter::once(pod))),
                None => JobPhase::Gone,
            },
        };
        Pods::Enough
    }
}
