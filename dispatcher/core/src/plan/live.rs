//! Runs that PostgreSQL holds as live, compared with what the executor sees of their Jobs.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::{DISRUPTIONS_MAX, End, Note, Plan, Ready, Reason, Started, Stop};
use crate::notice::StopReason;
use crate::retry::window_ms;
use crate::snapshot::{Ending, JobPhase, JobView, LiveRun, Queue, RunId, Snapshot};
use crate::state::RunState;

pub(super) fn plan_live_runs(seen: &Snapshot, plan: &mut Plan) {
    for live in &seen.store.live {
        let queue = seen.store.queues.iter().find(|q| q.name == live.queue);
        let run = Seen { live, queue, job: seen.executor.jobs.get(&live.run), now: seen.store.now };
        match run.job {
            Some(job) => run.plan_with_job(job, seen.local_now, plan),
            // Before the first full list a missing Job means nothing.
            None if !seen.executor.has_read(live.namespace.as_deref()) => {}
            None => run.plan_without_job(plan),
        }
    }
}

/// Jobs that go on without a live run: of a dispatcher that was cut off between its claim and its create and came back
/// when the run was over, or of a claim that a restored or promoted database does not know.
///
/// A dispatcher that lost the lead sees the Jobs of its successor in the same way, so these are only questions: see
/// [`Plan::strays`].
pub(super) fn plan_strays(seen: &Snapshot, plan: &mut Plan) {
    let live: BTreeSet<RunId> = seen.store.live.iter().map(|r| r.run).collect();
    let goes_on = |job: &JobView| matches!(job.phase, JobPhase::Pending | JobPhase::Running) && !job.stopping;
    plan.strays = seen
        .executor
        .jobs
        .values()
        .filter(|job| goes_on(job) && !live.contains(&job.run))
        .map(|job| job.run)
        .collect();
}

struct Seen<'a> {
    live: &'a LiveRun,
    queue: Option<&'a Queue>,
    job: Option<&'a JobView>,
    now: Timestamp,
}

impl Seen<'_> {
    fn plan_without_job(&self, plan: &mut Plan) {
        if self.live.cancel {
            plan.ends.push(self.end(RunState::Cancelled, Ending::default()));
        } else if self.live.state == RunState::Starting {
            plan.starts.push(self.live.run);
        } else {
            plan.ends.push(self.end_of_vanished());
        }
    }

    fn plan_with_job(&self, job: &JobView, local_now: Timestamp, plan: &mut Plan) {
        match &job.phase {
            // Its Job may or may not exist: only after the answer can it be stopped or started again.
            JobPhase::Creating => {}
            JobPhase::Refused { .. } if self.live.cancel => {
                plan.stops.push(Stop { run: self.live.run, why: StopReason::Cancelled });
            }
            JobPhase::Refused { again_at } if *again_at <= local_now => plan.starts.push(self.live.run),
            JobPhase::Refused { again_at } => {
                plan.hold(&self.live.queue, Reason::Refused { run: self.live.run, until: *again_at });
                self.plan_note(job, plan);
                // The executor's clock set it; on the database's clock it lies as far ahead.
                plan.wake_no_later_than(self.now + again_at.duration_since(local_now));
            }
            JobPhase::Pending | JobPhase::Running => self.plan_going(job, plan),
            JobPhase::Ended(ending) => {
                let state = match ending.succeeded {
                    true => RunState::Succeeded,
                    false if self.live.cancel => RunState::Cancelled,
                    false if job.stopping && self.ended_over_time(ending) => RunState::TimedOut,
                    false => RunState::Failed,
                };
                let disrupted = ending.disrupted && state == RunState::Failed;
                plan.ends.push(self.end(state, Ending { disrupted, ..ending.clone() }));
            }
            JobPhase::Gone => plan.ends.push(self.end_of_vanished()),
        }
    }

    fn plan_going(&self, job: &JobView, plan: &mut Plan) {
        if let Some(is_ready) = job.is_ready.filter(|is_ready| *is_ready != self.live.is_ready) {
            plan.ready.push(Ready { run: self.live.run, is_ready });
        }
        if let (RunState::Starting, JobPhase::Running, Some(started_at)) =
            (self.live.state, &job.phase, job.started_at)
        {
            plan.running.push(Started { run: self.live.run, started_at });
            // Recorded before it is stopped: a run that never started and has no Job would be started again.
            if !self.live.cancel {
                return;
            }
        } else {
            self.plan_note(job, plan);
        }
        if job.stopping {
            return;
        }
        if let Some(why) = self.stop_reason(job) {
            plan.stops.push(Stop { run: self.live.run, why });
        } else if let Some(deadline) = self.deadline() {
            plan.wake_no_later_than(deadline);
        }
    }

    fn stop_reason(&self, job: &JobView) -> Option<StopReason> {
        if self.live.cancel {
            Some(StopReason::Cancelled)
        } else if self.is_over_time() {
            Some(StopReason::RunTimeout)
        } else {
            (job.disruptions > DISRUPTIONS_MAX).then_some(StopReason::DisruptedTooOften)
        }
    }

    /// What keeps a run from starting is recorded while it lasts; that it started says that it is over.
    fn plan_note(&self, job: &JobView, plan: &mut Plan) {
        if self.live.state == RunState::Starting && self.live.waiting != job.waiting {
            plan.notes.push(Note { run: self.live.run, waiting: job.waiting.clone() });
        }
    }

    fn started_at(&self) -> Option<Timestamp> {
        self.live.started_at.or_else(|| self.job.and_then(|j| j.started_at))
    }

    /// Counted from the first running container: waiting for a node or an image is not the run's fault.
    fn deadline(&self) -> Option<Timestamp> {
        let timeout = self.queue?.run_timeout_ms?;
        Some(self.started_at()? + SignedDuration::from_millis(timeout))
    }

    fn is_over_time(&self) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= self.now)
    }

    /// Whether it had its time: one that failed by itself before, and was seen too late, did not.
    fn ended_over_time(&self, ending: &Ending) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= ending.finished_at.unwrap_or(self.now))
    }

    /// The Job is gone and nobody saw how it ended: by our own stop, or by another hand.
    fn end_of_vanished(&self) -> End {
        let disrupted = self.job.is_some_and(|job| job.disruptions > DISRUPTIONS_MAX);
        let (state, reason, message) = if self.live.cancel {
            (RunState::Cancelled, None, None)
        } else if self.is_over_time() {
            (RunState::TimedOut, Some("RunTimeout"), Some("stopped after the queue's run_timeout"))
        } else if disrupted {
            let words = "stopped, as its pods were evicted, drained or preempted too often";
            (RunState::Failed, Some("DisruptedTooOften"), Some(words))
        } else {
            (RunState::Lost, Some("JobGone"), Some("the Job vanished before its end was seen"))
        };
        let ending = Ending {
            reason: reason.map(Into::into),
            message: message.map(Into::into),
            disrupted: disrupted && state == RunState::Failed,
            ..Ending::default()
        };
        self.end(state, ending)
    }

    fn end(&self, state: RunState, ending: Ending) -> End {
        let retry_window_ms = self
            .queue
            .map_or(0, |q| window_ms(q.retry_backoff_ms, q.retry_backoff_max_ms, self.live.attempt));
        End { run: self.live.run, state, started_at: self.started_at(), ending, retry_window_ms }
    }
}
