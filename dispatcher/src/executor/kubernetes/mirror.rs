//! What is known of the cluster: fed by watches and by answers, read by the planner. No IO, no clock but arguments.
//!
//! An entry is a run. Its phase follows from facts, with these rules:
//! - an ending is for ever, until it is recorded and the Job is gone;
//! - a Job that vanished leaves its run running for as long as a pod of it lives;
//! - a Job that is not in a list was there only if the watch had seen it, or its create was answered before the list.

mod answers;
mod namespaces;
mod pods;
mod settle;

use std::collections::BTreeMap;

use jiff::Timestamp;
use pgbatch_core::notice::Notice;
use pgbatch_core::snapshot::{ExecutorView, JobPhase, JobView, RunId, Waiting};

use self::namespaces::Namespace;
use super::facts::{BlockedFacts, JobFacts, PodFacts, Terminal};

/// Jobs and pods of the watched namespaces, by run.
#[derive(Debug)]
pub(super) struct Mirror {
    /// The dispatcher's own namespace.
    own: String,
    namespaces: BTreeMap<String, Namespace>,
    /// Whether it was ever told which namespaces there are besides the dispatcher's own.
    namespaces_told: bool,
    runs: BTreeMap<RunId, Entry>,
    /// Pods may come before their Job, or outlive it.
    pods: BTreeMap<RunId, BTreeMap<String, PodFacts>>,
    /// Whether the planner's view differs from what it was at the last [`Mirror::take_changed`].
    changed: bool,
    /// Questions that only the API server can answer.
    questions: Vec<Question>,
    /// What people are to be told of Jobs.
    news: Vec<(Target, Notice)>,
}

/// Something to ask the API server, once.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// The run's Job has ended, and no pod has said how: list its pods.
    Pods(RunId),
    /// The Job was created while a list was under way, and is not in the list: is it there?
    Exists(RunId),
}

#[derive(Debug)]
struct Entry {
    queue: String,
    namespace: String,
    name: String,
    /// What the Job's containers must present, where this dispatcher started it.
    token: Option<String>,
    phase: JobPhase,
    started_at: Option<Timestamp>,
    job: Seen,
    terminal: Option<Terminal>,
    /// One pod that succeeds is all that the Job wants.
    single: bool,
    /// A create request is under way. It may be carried out at any moment: also after a delete of what is there now.
    create_sent: bool,
    stop_requested: bool,
    deleting: bool,
    pods_asked: Asked,
    /// The outcome is in the database.
    recorded: bool,
    /// Refusals in a row.
    refusals: u32,
    /// How many lists of Jobs had begun when the create request was answered.
    answered: Option<u64>,
    /// How many had been complete when it was sent.
    sent_at: u64,
    /// Why it does not start: the last words of whoever is in its way.
    waiting: Option<Waiting>,
    /// The Job controller could not create a pod, and has not since.
    blocked: Option<BlockedFacts>,
    /// How many of its pods were evicted, drained or preempted.
    disruptions: u32,
    /// Whether a pod of it has the conditions by which its queue counts pending runs; none = nobody asks.
    is_ready: Option<bool>,
}

/// Whether the watch (or a read) has seen the Job.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    NotYet,
    There { uid: String },
    Gone,
}

/// Whether the API server has been asked for the pods of a Job that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    No,
    UnderWay,
    /// There is no more to know.
    Answered,
}

/// Where to find a Job, to delete it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) run: RunId,
    pub(super) namespace: String,
    pub(super) name: String,
    /// Known where the Job has been seen.
    pub(super) uid: Option<String>,
    pub(super) token: Option<String>,
}

impl Mirror {
    /// Knows of nothing yet but the dispatcher's own namespace.
    pub(super) fn new(own: &str) -> Self {
        Self {
            own: own.to_owned(),
            namespaces: BTreeMap::new(),
            namespaces_told: false,
            runs: BTreeMap::new(),
            pods: BTreeMap::new(),
            changed: false,
            questions: Vec::new(),
            news: Vec::new(),
        }
    }

    /// Whether the view has changed since the last call.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// The questions that have come up since the last call.
    pub(super) fn take_questions(&mut self) -> Vec<Question> {
        std::mem::take(&mut self.questions)
    }

    /// What people are to be told of Jobs, since the last call.
    pub(super) fn take_news(&mut self) -> Vec<(Target, Notice)> {
        std::mem::take(&mut self.news)
    }

    /// The planner's view.
    pub(super) fn view(&self) -> ExecutorView {
        let namespaces = self.namespaces.keys();
        let unread = namespaces.clone().filter(|namespace| !self.is_synced(namespace)).cloned().collect();
        let unheard = namespaces.filter(|namespace| !self.is_heard(namespace)).cloned().collect();
        let jobs = self.runs.iter().map(|(run, entry)| (*run, entry.view(*run))).collect();
        ExecutorView { synced: self.namespaces_told, unread, unheard, namespace: self.own.clone(), jobs }
    }

    /// A start is about to be sent. False: one is under way already.
    pub(super) fn begin(&mut self, target: &Target, queue: &str) -> bool {
        let (refusals, waiting) = match self.runs.get(&target.run) {
            Some(known) if known.phase == JobPhase::Creating => return false,
            Some(known) => (known.refusals, known.waiting.clone()),
            None => (0, None),
        };
        let entry = Entry {
            token: target.token.clone(),
            create_sent: true,
            sent_at: self.lists_ended(&target.namespace),
            refusals,
            waiting,
            ..Entry::new(queue, &target.namespace, &target.name, Seen::NotYet)
        };
        self.runs.insert(target.run, entry);
        true
    }

    /// A stop is about to be sent to the returned target; none: it waits for the answer to a create request, or there is
    /// nothing left to stop.
    pub(super) fn stop(&mut self, run: RunId) -> Option<Target> {
        self.edit(run, |entry| {
            entry.stop_requested = true;
            // A refused create may have been carried out all the same: only the delete's answer tells.
            if matches!(entry.phase, JobPhase::Refused { .. }) {
                entry.phase = JobPhase::Creating;
            }
        });
        if self.runs.get(&run).is_some_and(|entry| entry.create_sent) {
            return None;
        }
        self.target(run)
    }

    /// Where the run's Job is, unless it is gone.
    pub(super) fn target(&self, run: RunId) -> Option<Target> {
        let Entry { namespace, name, token, job, .. } = self.runs.get(&run)?;
        let uid = match job {
            Seen::NotYet => None,
            Seen::There { uid } => Some(uid.clone()),
            Seen::Gone => return None,
        };
        Some(Target { run, namespace: namespace.clone(), name: name.clone(), uid, token: token.clone() })
    }

    /// The outcome is in the database.
    pub(super) fn forget(&mut self, run: RunId) {
        let Some(entry) = self.runs.get_mut(&run) else { return };
        entry.recorded = true;
        match &mut entry.phase {
            // What stays is for the history limits; the words are recorded.
            JobPhase::Ended(ending) if matches!(entry.job, Seen::There { .. }) => ending.message = None,
            JobPhase::Ended(_) | JobPhase::Gone | JobPhase::Refused { .. } => {
                self.runs.remove(&run);
                self.pods.remove(&run);
            }
            JobPhase::Creating | JobPhase::Pending | JobPhase::Running => {}
        }
    }

    /// A Job ended long ago is about to be deleted. None: nothing is left but this memory, and that is gone now.
    pub(super) fn remove(&mut self, run: RunId) -> Option<Target> {
        let entry = self.runs.get_mut(&run)?;
        if !matches!(entry.phase, JobPhase::Ended(_)) {
            return None;
        }
        entry.recorded = true;
        entry.stop_requested = true;
        let target = self.target(run).filter(|target| target.uid.is_some());
        if target.is_none() {
            self.runs.remove(&run);
        }
        target
    }

    /// A list of Jobs begins.
    pub(super) fn begin_jobs(&mut self, namespace: &str) {
        if let Some(known) = self.namespaces.get_mut(namespace) {
            known.jobs.begin();
        }
    }

    /// A Job in the list under way.
    pub(super) fn list_job(&mut self, facts: JobFacts) {
        let (changed, namespace) = (self.changed, facts.namespace.clone());
        let is_first = self.namespaces.get_mut(&namespace).is_some_and(|known| {
            known.jobs.seen.insert(facts.run);
            !known.jobs.synced
        });
        self.apply_job(facts);
        // The first list is worth a look when it begins to come, as new Jobs can be made then, and when it is complete; not
        // for each of its Jobs, of which there may be thousands.
        if is_first {
            let is_heard = self.namespaces.get_mut(&namespace).is_some_and(|known| known.jobs.hear());
            self.changed = changed || is_heard;
        }
    }

    /// The list of Jobs is complete: what is not in it is gone, unless it is younger than the list.
    pub(super) fn end_jobs(&mut self, namespace: &str) {
        let Some(known) = self.namespaces.get_mut(namespace) else { return };
        let (listed, lists) = (known.jobs.end(), known.jobs.lists);
        self.changed = true;
        let missing: Vec<RunId> = self
            .runs
            .iter()
            .filter(|(run, entry)| entry.namespace == namespace && !listed.contains(run))
            .map(|(run, _)| *run)
            .collect();
        for run in missing {
            let Some(entry) = self.runs.get(&run) else { continue };
            match (&entry.job, entry.answered) {
                (Seen::There { .. }, _) => self.lose_job(run),
                (Seen::NotYet, Some(answered)) if entry.is_unseen() => {
                    if answered < lists {
                        self.lose_job(run);
                    } else {
                        self.questions.push(Question::Exists(run));
                    }
                }
                (Seen::NotYet | Seen::Gone, _) => {}
            }
        }
    }

    /// A Job is there, or has changed.
    pub(super) fn apply_job(&mut self, facts: JobFacts) {
        let JobFacts { run, queue, batch: _, namespace, name, uid, token, deleting, single, terminal } =
            facts;
        let entry =
            self.runs.entry(run).or_insert_with(|| Entry::new(&queue, &namespace, &name, Seen::NotYet));
        if entry.token.is_some() && entry.token != token {
            // Another run of the same number, from before the database was restored: the create's answer tells.
            return;
        }
        self.edit(run, |entry| {
            // Another Job than the one that was stopped.
            if matches!(&entry.job, Seen::There { uid: known } if *known != uid) || entry.job == Seen::Gone {
                (entry.stop_requested, entry.pods_asked) = (false, Asked::No);
            }
            entry.job = Seen::There { uid };
            entry.deleting = deleting;
            entry.single = single;
            entry.terminal = terminal;
        });
    }

    /// A Job was deleted.
    pub(super) fn delete_job(&mut self, facts: &JobFacts) {
        let ours = |entry: &Entry| match &entry.job {
            Seen::There { uid } => *uid == facts.uid,
            Seen::NotYet => entry.token.is_some() && entry.token == facts.token,
            Seen::Gone => false,
        };
        if self.runs.get(&facts.run).is_some_and(ours) {
            self.lose_job(facts.run);
        }
    }

    /// The Job controller says that it cannot create a pod of this Job: a quota, or an admission's refusal.
    pub(super) fn block_job(&mut self, facts: BlockedFacts) {
        // The event may be faster than the Job that it is about.
        self.edit(facts.run, |entry| entry.blocked = Some(facts));
    }

    fn lose_job(&mut self, run: RunId) {
        let Some(entry) = self.runs.get(&run) else { return };
        if entry.recorded && matches!(entry.phase, JobPhase::Ended(_)) {
            self.runs.remove(&run);
            return;
        }
        self.edit(run, |entry| entry.job = Seen::Gone);
    }
}

impl Entry {
    fn new(queue: &str, namespace: &str, name: &str, job: Seen) -> Self {
        Self {
            queue: queue.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            token: None,
            phase: JobPhase::Creating,
            started_at: None,
            job,
            terminal: None,
            single: false,
            create_sent: false,
            stop_requested: false,
            deleting: false,
            pods_asked: Asked::No,
            recorded: false,
            refusals: 0,
            answered: None,
            sent_at: 0,
            waiting: None,
            blocked: None,
            disruptions: 0,
            is_ready: None,
        }
    }

    /// Its create request is under way, or answered and not yet seen by the watch.
    fn is_unseen(&self) -> bool {
        self.job == Seen::NotYet && self.phase == JobPhase::Creating
    }

    /// Its Job is gone, a pod of it still lives.
    fn is_orphaned(&self) -> bool {
        self.job == Seen::Gone && matches!(self.phase, JobPhase::Pending | JobPhase::Running)
    }

    /// Its Job has ended, and its pods have yet to say how: to delete it now would silence them.
    fn is_ending(&self) -> bool {
        self.terminal.is_some() && matches!(self.phase, JobPhase::Pending | JobPhase::Running)
    }

    fn view(&self, run: RunId) -> JobView {
        JobView {
            run,
            queue: self.queue.clone(),
            phase: self.phase.clone(),
            started_at: self.started_at,
            stopping: self.stop_requested || self.deleting || self.is_orphaned() || self.is_ending(),
            waiting: self.waiting.clone(),
            disruptions: self.disruptions,
            is_ready: self.is_ready,
        }
    }
}

#[cfg(test)]
mod tests;
