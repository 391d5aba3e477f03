//! What the API server answers to creates and reads. The watches tell the rest, and what they have told counts.

use jiff::Timestamp;
use pgbatch_core::snapshot::{Ending, JobPhase, RunId, Waiting};

use super::super::facts::JobFacts;
use super::{Mirror, Question, Seen, Target};

impl Mirror {
    /// The create request succeeded: the watch will tell the rest.
    pub(in super::super) fn created(&mut self, run: RunId) {
        let Some(entry) = self.runs.get_mut(&run) else { return };
        entry.refusals = 0;
        let Some(namespace) = self.namespaces.get(&entry.namespace) else { return };
        entry.answered = Some(namespace.jobs.lists);
        if entry.sent_at != namespace.jobs.ended {
            // That list may be of after the Job's whole life: then no watch will ever show it.
            self.questions.push(Question::Exists(run));
        }
    }

    /// The Job was read: news only where the watch has not told yet. `as_of` is what [`Mirror::lists_ended`] said before:
    /// a list that was complete since may know better.
    pub(in super::super) fn read(&mut self, run: RunId, job: Option<JobFacts>, as_of: u64) {
        let Some(entry) = self.runs.get(&run).filter(|entry| entry.is_unseen()) else { return };
        if self.lists_ended(&entry.namespace) != as_of {
            self.questions.push(Question::Exists(run));
            return;
        }
        match job {
            Some(facts) => self.apply_job(facts),
            None => self.edit(run, |entry| entry.job = Seen::Gone),
        }
    }

    /// The create request was refused for now, with these words.
    pub(in super::super) fn refuse(
        &mut self,
        run: RunId,
        why: Waiting,
        again_at: impl FnOnce(u32) -> Timestamp,
    ) {
        self.edit(run, |entry| {
            if entry.is_unseen() {
                entry.waiting = Some(why);
                entry.refusals += 1;
                entry.phase = JobPhase::Refused { again_at: again_at(entry.refusals) };
            }
        });
    }

    /// The create request was not sent, as too many others were before it: it is to be asked for again, at once.
    pub(in super::super) fn put_off(&mut self, run: RunId, now: Timestamp) {
        self.edit(run, |entry| {
            if entry.is_unseen() {
                entry.phase = JobPhase::Refused { again_at: now };
            }
        });
    }

    /// The create request was refused for good.
    pub(in super::super) fn reject(&mut self, run: RunId, now: Timestamp, reason: &str, message: String) {
        self.edit(run, |entry| {
            entry.phase = JobPhase::Ended(Ending {
                finished_at: Some(now),
                reason: Some(reason.to_owned()),
                message: Some(message),
                ..Ending::default()
            });
        });
    }

    /// The create request was answered, in whatever way. A stop that waited for it is about to be sent to the returned
    /// target.
    pub(in super::super) fn end_create(&mut self, run: RunId) -> Option<Target> {
        let entry = self.runs.get_mut(&run)?;
        entry.create_sent = false;
        if entry.job == Seen::Gone && entry.terminal.is_none() {
            // Of which Job was that: of this one, or of an earlier one whose name was then free for this?
            (entry.job, entry.phase, entry.stop_requested) = (Seen::NotYet, JobPhase::Creating, false);
            self.questions.push(Question::Exists(run));
            return None;
        }
        if entry.stop_requested { self.target(run) } else { None }
    }

    /// How many lists of the namespace's Jobs have been complete.
    pub(in super::super) fn lists_ended(&self, namespace: &str) -> u64 {
        self.namespaces.get(namespace).map_or(0, |n| n.jobs.ended)
    }
}
