//! Who a span is: W3C Trace Context in, ids out.

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use ring::digest::{SHA256, digest};

/// Reads a `traceparent`, which PostgreSQL keeps only in its right shape. None where its ids are those of nothing.
pub(super) fn parse(traceparent: &str) -> Option<SpanContext> {
    let mut fields = traceparent.split('-');
    let (version, trace, span, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    if version == "ff" {
        return None;
    }
    // Other flags are not ours to hand on.
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let context = SpanContext::new(trace, span, flags, true, TraceState::NONE);
    context.is_valid().then_some(context)
}

/// As a `traceparent`, for whoever goes on in the trace.
pub(super) fn format(context: &SpanContext) -> String {
    format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), context.trace_flags().to_u8())
}

/// A span of a run in the trace of `parent`. Its id is made of what it is, so that each dispatcher that ever knows of the run says
/// the same.
pub(super) fn span_of(parent: &SpanContext, installation: &str, run: i64, part: &str) -> SpanContext {
    let hash = digest(&SHA256, format!("{installation}/{run}/{part}").as_bytes());
    let mut id = [0; 8];
    id.copy_from_slice(&hash.as_ref()[..8]);
    SpanContext::new(parent.trace_id(), SpanId::from_bytes(id), parent.trace_flags(), false, TraceState::NONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_read_and_written() {
        assert_eq!(format(&parse(SAMPLED).unwrap()), SAMPLED);
        let unsampled = SAMPLED.replace("-01", "-00");
        assert!(!parse(&unsampled).unwrap().is_sampled());
        assert_eq!(format(&parse(&SAMPLED.replace("-01", "-ff")).unwrap()), SAMPLED, "other flags go");
        let later = SAMPLED.replacen("00-", "cc-", 1);
        assert_eq!(format(&parse(&later).unwrap()), SAMPLED, "of a later version what is known is read");
    }

    #[test]
    fn what_is_of_nothing_is_none() {
        let zeros = |from: &str| SAMPLED.replace(from, &"0".repeat(from.len()));
        let bad = [
            SAMPLED.replacen("00-", "ff-", 1),
            zeros("4bf92f3577b34da6a3ce929d0e0e4736"),
            zeros("00f067aa0ba902b7"),
            "00-4bf9".to_owned(),
            String::new(),
            "00-x-y-z".to_owned(),
        ];
        for traceparent in bad {
            assert_eq!(parse(&traceparent), None, "{traceparent}");
        }
    }

    #[test]
    fn ids_differ_by_run_part_and_installation_and_by_nothing_else() {
        let parent = parse(SAMPLED).unwrap();
        let id = |installation, run, part| span_of(&parent, installation, run, part).span_id();
        assert_eq!(id("a", 1, "run"), id("a", 1, "run"));
        let all = [id("a", 1, "run"), id("a", 2, "run"), id("a", 1, "running"), id("b", 1, "run")];
        assert_eq!(std::collections::HashSet::from(all).len(), 4);
        assert_eq!(span_of(&parent, "a", 1, "run").trace_id(), parent.trace_id());
    }
}
