//! From facts to the phase of a run.

use std::collections::BTreeMap;

use pgbatch_core::notice::Notice;
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
        let has_ended = matches!(entry.phase, JobPhase::Ended(_));
        let mut news = None;
        if after != before {
            news = new_reason(&before, &after).filter(|_| !entry.is_told_by_others()).cloned();
            self.changed = true;
        }
        if has_ended {
            self.pods.remove(&run);
        }
        if let Some(waiting) = news
            // Nobody looks at a Job that is not there.
            && let Some(job) = self.target(run).filter(|job| job.uid.is_some())
        {
            self.news.push((job, Notice::Waits(waiting)));
        }
    }
}

/// Says why a run does not start, once for each reason, which is returned: an image that does not exist can be waited for in
/// vain.
fn new_reason<'a>(before: &JobView, after: &'a JobView) -> Option<&'a Waiting> {
    let waiting = after.waiting.as_ref()?;
    let Waiting { reason, message } = waiting;
    if before.waiting.as_ref().is_some_and(|known| known.reason == *reason) {
        return None;
    }
    warn!(queue = after.queue, run = after.run, reason, message, "the run does not start");
    Some(waiting)
}

/// Whether the pods say enough.
#[derive(PartialEq, Eq)]
enum Pods {
    Enough,
    Missing,
}

impl Entry {
    /// Why it does not start is an Event of its Job already, the Job controller's.
    fn is_told_by_others(&self) -> bool {
        self.waiting.is_some() && self.waiting.as_ref() == self.blocked.as_ref().map(|blocked| &blocked.why)
    }

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
