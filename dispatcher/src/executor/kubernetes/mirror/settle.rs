//! From facts to the phase of a run.

use std::collections::BTreeMap;

use pgbatch_core::snapshot::{JobPhase, RunId};

use super::super::facts::PodFacts;
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
        if entry.settle(pods) == Pods::Missing && pods_synced && entry.pods_asked == Asked::No {
            entry.pods_asked = Asked::UnderWay;
            self.questions.push(Question::Pods(run));
        }
        if entry.view(run) != before {
            self.changed = true;
        }
        if matches!(entry.phase, JobPhase::Ended(_)) {
            self.pods.remove(&run);
        }
    }
}

/// Whether the pods say enough.
#[derive(PartialEq, Eq)]
enum Pods {
    Enough,
    Missing,
}

impl Entry {
    fn settle(&mut self, pods: Option<&BTreeMap<String, PodFacts>>) -> Pods {
        if matches!(self.phase, JobPhase::Ended(_)) {
            return Pods::Enough;
        }
        let pods = || pods.into_iter().flat_map(BTreeMap::values);
        self.started_at = pods().filter_map(PodFacts::started_at).chain(self.started_at).min();
        let going = if self.started_at.is_some() { JobPhase::Running } else { JobPhase::Pending };
        self.phase = match (&self.job, &self.terminal) {
            (Seen::NotYet, _) => return Pods::Enough,
            // Its items are not free for another run before the last pod has ended.
            (Seen::Gone, _) if pods().any(|pod| pod.live) => going,
            (Seen::Gone, _) => JobPhase::Gone,
            (Seen::There { .. }, None) => going,
            (Seen::There { .. }, Some(terminal)) => {
                let told = pods().any(|pod| pod.tells(terminal.succeeded));
                if !told && self.pods_asked != Asked::Answered {
                    self.phase = going;
                    return Pods::Missing;
                }
                JobPhase::Ended(fate::ending(terminal, pods()))
            }
        };
        Pods::Enough
    }
}
