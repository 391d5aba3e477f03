//! What a trace tells of a run: its span, and those of its phases.

use jiff::Timestamp;
use opentelemetry::trace::{SpanContext, SpanKind, Status};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use pgbatch_core::name::job_name;
use pgbatch_core::snapshot::{BatchId, RunId};
use pgbatch_core::state::RunState;
use serde::Deserialize;

use super::context::{format, parse, span_of};

/// The name of a run's span; those of its phases are below.
const RUN: &str = "run";

/// A run whose batch was enqueued in a trace: a row of `pgbatch.run_traces()`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct RunTrace {
    /// Which pgbatch.
    pub installation: String,
    /// The run.
    pub run: RunId,
    /// Its queue.
    pub queue: String,
    /// Its batch.
    pub batch: BatchId,
    /// Where its Job is; none = in the dispatcher's own namespace.
    pub namespace: Option<String>,
    /// Which attempt it is, from 1.
    pub attempt: u32,
    /// The trace, and the span in it that enqueued the batch.
    pub traceparent: String,
    /// From when on it could be claimed, where that is known and it is the first attempt.
    pub claimable_at: Option<Timestamp>,
    /// When it was claimed.
    pub claimed_at: Timestamp,
    /// When its first container started, if one has.
    pub started_at: Option<Timestamp>,
    /// When it ended, if it has.
    pub finished_at: Option<Timestamp>,
    /// How it is.
    pub state: RunState,
    /// One word for how it ended.
    pub reason: Option<String>,
}

impl RunTrace {
    /// What the programs of the run go on from: the `TRACEPARENT` of their environment.
    pub(super) fn context(&self) -> Option<String> {
        let parent = parse(&self.traceparent)?;
        Some(format(&span_of(&parent, &self.installation, self.run, RUN)))
    }

    /// The spans of a run that has ended, its own first. None where somebody upstream has said that the trace is not sampled.
    ///
    /// `created_at`: when its Job was there, where this dispatcher has seen it come. `own`: the dispatcher's own namespace.
    pub(super) fn spans(&self, created_at: Option<Timestamp>, own: &str) -> Vec<SpanData> {
        let Some(parent) = parse(&self.traceparent).filter(SpanContext::is_sampled) else { return vec![] };
        let Some(finished_at) = self.finished_at else { return vec![] };
        let phases = [
            ("enqueue to claim", self.claimable_at, Some(self.claimed_at)),
            ("claim to create", Some(self.claimed_at), created_at),
            ("create to running", created_at, self.started_at),
            ("running", self.started_at, Some(finished_at)),
        ];
        let began_at = self.claimable_at.unwrap_or(self.claimed_at);
        let run = span_of(&parent, &self.installation, self.run, RUN);
        let mut spans = vec![SpanData {
            span_kind: SpanKind::Consumer,
            parent_span_is_remote: true,
            attributes: self.attributes(own),
            status: self.status(),
            ..span(run.clone(), &parent, RUN, (began_at, finished_at))
        }];
        for (name, from, to) in phases {
            if let (Some(from), Some(to)) = (from, to) {
                let context = span_of(&parent, &self.installation, self.run, name);
                spans.push(span(context, &run, name, (from, to)));
            }
        }
        in_order(&mut spans);
        spans
    }

    fn status(&self) -> Status {
        match self.state {
            RunState::Succeeded => Status::Ok,
            RunState::Failed | RunState::TimedOut | RunState::Lost => {
                Status::error(self.reason.clone().unwrap_or_else(|| self.state.to_string()))
            }
            RunState::Starting | RunState::Running | RunState::Cancelled => Status::Unset,
        }
    }

    fn attributes(&self, own: &str) -> Vec<KeyValue> {
        let namespace = self.namespace.clone().unwrap_or_else(|| own.to_owned());
        vec![
            KeyValue::new("pgbatch.queue", self.queue.clone()),
            KeyValue::new("pgbatch.batch", self.batch),
            KeyValue::new("pgbatch.run", self.run),
            KeyValue::new("pgbatch.attempt", i64::from(self.attempt)),
            KeyValue::new("pgbatch.state", self.state.word()),
            KeyValue::new("k8s.job.name", job_name(&self.queue, self.run)),
            KeyValue::new("k8s.namespace.name", namespace),
        ]
    }
}

fn span(
    span_context: SpanContext,
    parent: &SpanContext,
    name: &'static str,
    (from, to): (Timestamp, Timestamp),
) -> SpanData {
    SpanData {
        span_context,
        parent_span_id: parent.span_id(),
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: name.into(),
        start_time: from.into(),
        end_time: to.into(),
        attributes: vec![],
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("pgbatch").build(),
    }
}

/// The phases follow each other, and the run is around them, though PostgreSQL, the dispatcher and the nodes have a clock each, and
/// Kubernetes' times are whole seconds: what would lie before what it comes after is moved there.
fn in_order(spans: &mut [SpanData]) {
    let Some((run, phases)) = spans.split_first_mut() else { return };
    let mut at = run.start_time;
    for phase in phases {
        phase.start_time = at.max(phase.start_time);
        phase.end_time = phase.start_time.max(phase.end_time);
        at = phase.end_time;
    }
    run.end_time = run.end_time.max(at);
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn succeeded() -> RunTrace {
        RunTrace {
            installation: "an-id".into(),
            run: 7,
            queue: "claps".into(),
            batch: 12,
            namespace: None,
            attempt: 1,
            traceparent: PARENT.into(),
            claimable_at: Some(at(10)),
            claimed_at: at(20),
            started_at: Some(at(40)),
            finished_at: Some(at(50)),
            state: RunState::Succeeded,
            reason: None,
        }
    }

    fn seconds(time: SystemTime) -> u64 {
        time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
    }

    fn told(run: &RunTrace, created_at: Option<i64>) -> Vec<(String, u64, u64)> {
        let spans = run.spans(created_at.map(at), "shop").into_iter();
        spans.map(|s| (s.name.into_owned(), seconds(s.start_time), seconds(s.end_time))).collect()
    }

    fn expected(spans: &[(&str, u64, u64)]) -> Vec<(String, u64, u64)> {
        spans.iter().map(|(name, from, to)| ((*name).to_owned(), *from, *to)).collect()
    }

    #[test]
    fn a_run_is_a_span_with_its_phases() {
        let all = [
            ("run", 10, 50),
            ("enqueue to claim", 10, 20),
            ("claim to create", 20, 30),
            ("create to running", 30, 40),
            ("running", 40, 50),
        ];
        assert_eq!(told(&succeeded(), Some(30)), expected(&all));
        let spans = succeeded().spans(Some(at(30)), "shop");
        assert_eq!(succeeded().context(), Some(format(&spans[0].span_context)));
        assert_eq!(spans[0].parent_span_id, parse(PARENT).unwrap().span_id());
        assert!(spans[1..].iter().all(|phase| phase.parent_span_id == spans[0].span_context.span_id()));
        assert_eq!(spans[0].status, Status::Ok);
        assert!(spans[0].attributes.contains(&KeyValue::new("k8s.job.name", "claps-7")));
        assert!(spans[0].attributes.contains(&KeyValue::new("k8s.namespace.name", "shop")));
    }

    #[test]
    fn what_nobody_saw_is_left_out() {
        let taken_over = [("run", 10, 50), ("enqueue to claim", 10, 20), ("running", 40, 50)];
        assert_eq!(told(&succeeded(), None), expected(&taken_over));
        let never_started = RunTrace { claimable_at: None, started_at: None, ..succeeded() };
        assert_eq!(told(&never_started, Some(30)), expected(&[("run", 20, 50), ("claim to create", 20, 30)]));
        let unended = RunTrace { finished_at: None, ..succeeded() };
        assert_eq!(told(&unended, Some(30)), []);
    }

    #[test]
    fn clocks_that_differ_turn_nothing_round() {
        let all = [
            ("run", 10, 45),
            ("enqueue to claim", 10, 20),
            ("claim to create", 20, 45),
            ("create to running", 45, 45),
            ("running", 45, 45),
        ];
        let early = RunTrace { finished_at: Some(at(42)), ..succeeded() };
        assert_eq!(told(&early, Some(45)), expected(&all));
    }

    #[test]
    fn a_trace_that_is_not_sampled_or_none_has_no_spans_and_is_gone_on_with() {
        let unsampled = RunTrace { traceparent: PARENT.replace("-01", "-00"), ..succeeded() };
        assert_eq!(told(&unsampled, Some(30)), []);
        assert!(unsampled.context().unwrap().ends_with("-00"));
        let none = RunTrace { traceparent: "no".into(), ..succeeded() };
        assert_eq!((told(&none, None), none.context()), (vec![], None));
    }

    #[test]
    fn the_status_is_that_of_the_outcome() {
        let status = |state, reason: Option<&str>| {
            RunTrace { state, reason: reason.map(str::to_owned), ..succeeded() }.status()
        };
        assert_eq!(status(RunState::Failed, Some("OOMKilled")), Status::error("OOMKilled"));
        assert_eq!(status(RunState::TimedOut, None), Status::error("timed_out"));
        assert_eq!(status(RunState::Cancelled, None), Status::Unset);
    }
}
