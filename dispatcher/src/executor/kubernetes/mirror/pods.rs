//! The pods' half of the mirror.

use std::collections::BTreeSet;

use pgbatch_core::name::job_name;
use pgbatch_core::snapshot::{JobPhase, RunId};

use super::super::facts::PodFacts;
use super::{Asked, Entry, Mirror, Question, Seen};

impl Mirror {
    /// A list of pods begins.
    pub(in super::super) fn begin_pods(&mut self, namespace: &str) {
        let Some(known) = self.namespaces.get_mut(namespace) else { return };
        known.pods.begin();
        known.ended_before_pods = self
            .runs
            .iter()
            .filter(|(_, entry)| entry.namespace == namespace && entry.has_no_new_pods())
            .map(|(run, _)| *run)
            .collect();
    }

    /// A pod in the list under way.
    pub(in super::super) fn list_pod(&mut self, facts: PodFacts) {
        if let Some(known) = self.namespaces.get_mut(&facts.namespace) {
            known.pods.seen.insert(facts.name.clone());
        }
        self.apply_pod(facts);
    }

    /// The list of pods is complete: what is not in it runs nothing any more.
    pub(in super::super) fn end_pods(&mut self, namespace: &str) {
        let Some(known) = self.namespaces.get_mut(namespace) else { return };
        let listed = known.pods.end();
        let ended_before = std::mem::take(&mut known.ended_before_pods);
        self.changed = true;
        for pod in self.pods.values_mut().flat_map(|pods| pods.values_mut()) {
            if pod.namespace == namespace && !listed.contains(&pod.name) {
                pod.live = false;
            }
        }
        self.adopt_orphans(namespace);
        let here: Vec<RunId> =
            self.runs.iter().filter(|(_, entry)| entry.namespace == namespace).map(|(run, _)| *run).collect();
        for run in here {
            self.edit(run, |entry| {
                if ended_before.contains(&run) {
                    entry.pods_asked = Asked::Answered;
                }
            });
        }
    }

    /// Pods whose Job was deleted while nobody watched: their runs go on until they end.
    fn adopt_orphans(&mut self, namespace: &str) {
        let runs = &self.runs;
        let mut orphans = Vec::new();
        self.pods.retain(|run, pods| {
            let Some(pod) = pods.values().find(|pod| pod.namespace == namespace) else { return true };
            if !runs.contains_key(run) && pods.values().any(|pod| pod.live) {
                orphans.push((*run, pod.queue.clone()));
            }
            runs.contains_key(run) || pods.values().any(|pod| pod.live)
        });
        for (run, queue) in orphans {
            let name = job_name(&queue, run);
            let pods_asked = Asked::Answered;
            self.runs.insert(run, Entry { pods_asked, ..Entry::new(&queue, namespace, &name, Seen::Gone) });
        }
    }

    /// A pod is there, or has changed.
    pub(in super::super) fn apply_pod(&mut self, facts: PodFacts) {
        let run = facts.run;
        // Nothing that a pod could say changes an end.
        if self.runs.get(&run).is_some_and(|entry| matches!(entry.phase, JobPhase::Ended(_))) {
            return;
        }
        let pods = self.pods.entry(run).or_default();
        // Its deletion comes after that, and does not undo it.
        let done = facts.done || pods.get(&facts.name).is_some_and(|known| known.done);
        pods.insert(facts.name.clone(), PodFacts { done, ..facts });
        self.edit(run, |_| {});
    }

    /// A pod was deleted. Its last words are kept for as long as the run's end is not known.
    pub(in super::super) fn delete_pod(&mut self, facts: PodFacts) {
        if self.runs.contains_key(&facts.run) {
            self.apply_pod(PodFacts { live: false, ..facts });
        } else if let Some(pods) = self.pods.get_mut(&facts.run) {
            pods.remove(&facts.name);
            if pods.is_empty() {
                self.pods.remove(&facts.run);
            }
        }
    }

    /// The answer to [`super::Question::Pods`]: all there is.
    pub(in super::super) fn answer_pods(&mut self, run: RunId, pods: Vec<PodFacts>) {
        let known: BTreeSet<String> =
            self.pods.get(&run).into_iter().flat_map(|pods| pods.keys().cloned()).collect();
        for pod in pods.into_iter().filter(|pod| !known.contains(&pod.name) || !pod.live) {
            self.apply_pod(pod);
        }
        self.edit(run, |entry| entry.pods_asked = Asked::Answered);
    }

    /// There is no answer to a question. False: nothing goes on without one. Whether a Job is there, or a pod of one that
    /// is gone, decides whether its items are free; how a Job ended that has, does not.
    pub(in super::super) fn give_up(&mut self, question: &Question) -> bool {
        let Question::Pods(run) = *question else { return false };
        if self.runs.get(&run).is_some_and(|entry| entry.terminal.is_none()) {
            return false;
        }
        self.answer_pods(run, vec![]);
        true
    }

    /// The namespace and the name of a run's Job, be it there or gone.
    pub(in super::super) fn place(&self, run: RunId) -> Option<(String, String)> {
        self.runs.get(&run).map(|entry| (entry.namespace.clone(), entry.name.clone()))
    }
}

impl Entry {
    /// Its Job has ended or is gone, and no request of ours may create another.
    fn has_no_new_pods(&self) -> bool {
        self.terminal.is_some() || self.job == Seen::Gone && !self.create_sent
    }
}
