//! How it is, in a few lines of words, the worst first: what somebody wants to know who is woken at night.

use jiff::Timestamp;
use maud::{Markup, html};
use serde_json::Value;

use super::state::icon;
use crate::people::batch::{Late, late, named};
use crate::people::words;

/// So many lines are read; the rest is in the tables below.
const LINES_MAX: usize = 6;

/// Of so many batches that are past their deadline each has a line: those that fail have theirs beside them.
const LATE_MAX: usize = 2;
/// So many are looked at, and as many whose deadline is next.
pub(super) const DEADLINES_MAX: usize = 10;

/// What is told of.
pub(super) struct Seen<'a> {
    /// What `explain_dispatcher()` says; nothing where it may not be asked.
    pub(super) dispatcher: Option<&'a Value>,
    /// As `peek_queues()` has them, each with `held`: why its next item waits.
    pub(super) queues: &'a [Value],
    /// The batches that have failed lately, each with its `errors`.
    pub(super) failing: &'a [Value],
    /// The open batches that have a deadline, those that are past it first.
    pub(super) deadlines: &'a [Value],
    /// The triggers that have an error.
    pub(super) triggers: &'a [Value],
    pub(super) now: Timestamp,
}

/// How bad a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Bad,
    Warning,
    Good,
}

/// A line, and where to read on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    level: Level,
    words: String,
    link: Option<String>,
}

impl Line {
    fn new(level: Level, words: impl Into<String>) -> Self {
        Self { level, words: words.into(), link: None }
    }
}

/// The lines, the worst first; at least one.
pub(super) fn verdict(seen: &Seen<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some(dispatcher) = seen.dispatcher.filter(|found| found["open"] == false) {
        lines.push(Line::new(Level::Bad, words::text(dispatcher, "words")));
    }
    lines.extend(late_ones(seen));
    lines.extend(seen.failing.iter().map(|batch| failing(batch, seen.now)));
    for trigger in seen.triggers {
        let words = format!("trigger {}: {}", words::text(trigger, "name"), words::short(trigger, "error"));
        lines.push(Line { link: Some("/triggers".to_owned()), ..Line::new(Level::Bad, words) });
    }
    lines.extend(seen.queues.iter().filter_map(held));
    if lines.is_empty() {
        lines.push(Line::new(Level::Good, all_well(seen.queues)));
    }
    lines.sort_by_key(|line| line.level);
    if lines.len() > LINES_MAX {
        let more = lines.len() - LINES_MAX;
        lines.truncate(LINES_MAX);
        lines.push(Line::new(Level::Warning, format!("and {more} more")));
    }
    lines
}

/// `billing "nightly", batch 12: at this rate done about 06:25:00 UTC, 25m00s after its deadline`
fn late_ones(seen: &Seen<'_>) -> Vec<Line> {
    let lines = seen.deadlines.iter().filter_map(|batch| {
        let late = late(batch, seen.now)?;
        let level = if matches!(late, Late::Now(_)) { Level::Bad } else { Level::Warning };
        let link = Some(format!("/batches/{}", words::number(batch, "id")));
        Some(Line { link, ..Line::new(level, format!("{}: {}", named(batch), late.words())) })
    });
    let (mut past, mut soon): (Vec<Line>, Vec<Line>) = lines.partition(|line| line.level == Level::Bad);
    let more = past.len().saturating_sub(LATE_MAX);
    past.truncate(LATE_MAX);
    if more > 0 {
        let least = if more + LATE_MAX == DEADLINES_MAX { "at least " } else { "" };
        past.push(Line::new(Level::Bad, format!("and {least}{more} more past their deadline")));
    }
    past.append(&mut soon);
    past
}

/// `billing "nightly", batch 12: 37 of 12,400 items failed since 02:41:07 (3h04m ago), 2 causes, most often: exit code 1`
fn failing(batch: &Value, now: Timestamp) -> Line {
    let number = |column| words::grouped(words::number(batch, column));
    let least = if batch["is_exact"] == false { "at least " } else { "" };
    let mut words =
        format!("{}: {least}{} of {} items failed", named(batch), number("failed"), number("items"));
    let errors = batch["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let since = errors.iter().filter_map(|error| words::time(error, "first_at")).min();
    if let Some(since) = since {
        let ago = words::seconds(now.duration_since(since).as_secs_f64());
        words += &format!(" since {} ({ago} ago)", words::clock(since, now));
    }
    if let Some(most) = errors.first() {
        let often = if errors.len() > 1 { ", most often" } else { "" };
        let causes = words::count(i64::try_from(errors.len()).unwrap_or(i64::MAX), "cause");
        words += &format!("; {causes}{often}: {}", words::short(most, "sample"));
    }
    let link = Some(format!("/batches/{}", words::number(batch, "id")));
    Line { link, ..Line::new(Level::Bad, words) }
}

/// A queue whose work waits for something else than its turn.
fn held(queue: &Value) -> Option<Line> {
    let open: i64 = ["pending", "retrying"].iter().map(|state| words::number(queue, state)).sum();
    if open == 0 || words::number(queue, "running") > 0 {
        return None;
    }
    let reason = words::short(queue, "held");
    let reason = if reason.is_empty() && queue["paused"] == true { "paused".to_owned() } else { reason };
    let name = words::text(queue, "name");
    let link = Some(format!("/batches?queue={name}&state=open"));
    let items = words::count(open, "item");
    (!reason.is_empty()).then(|| Line {
        link,
        ..Line::new(Level::Warning, format!("{name}: nothing runs of {items}: {reason}"))
    })
}

fn all_well(queues: &[Value]) -> String {
    let total = |state| queues.iter().map(|queue| words::number(queue, state)).sum::<i64>();
    let (running, waiting) = (total("running"), total("pending") + total("retrying"));
    match (queues.len(), running, waiting) {
        (0, _, _) => "There is no queue yet: pgbatch.create_queue() makes one.".to_owned(),
        (_, 0, 0) => "All is well: nothing is waiting, nothing failed in the last 24 hours.".to_owned(),
        _ => format!(
            "All is well: {} running, {} waiting, nothing failed in the last 24 hours.",
            words::count(running, "item"),
            words::grouped(waiting)
        ),
    }
}

/// The lines, read out when they change.
pub(super) fn shown(lines: &[Line]) -> Markup {
    html! {
        ul.verdict #verdict aria-live="polite" {
            @for line in lines {
                @let level = match line.level {
                    Level::Bad => "bad",
                    Level::Warning => "warning",
                    Level::Good => "good",
                };
                li.(level) {
                    (icon(level))
                    @match &line.link {
                        Some(link) => a href=(link) { (line.words) },
                        None => span { (line.words) },
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(dispatcher: Value, queues: Value, failing: Value) -> Vec<(Level, String)> {
        told(&dispatcher, queues, failing, &[])
    }

    fn told(dispatcher: &Value, queues: Value, failing: Value, deadlines: &[Value]) -> Vec<(Level, String)> {
        let list = |value: Value| value.as_array().cloned().unwrap_or_default();
        let (queues, failing) = (list(queues), list(failing));
        let now = "2026-01-02T05:45:07Z".parse().unwrap();
        let dispatcher = Some(dispatcher);
        let seen = Seen { dispatcher, queues: &queues, failing: &failing, deadlines, triggers: &[], now };
        verdict(&seen).into_iter().map(|line| (line.level, line.words)).collect()
    }

    fn led() -> Value {
        json!({"open": true, "words": "a dispatcher leads"})
    }

    #[test]
    fn what_failed_is_told_with_since_when_and_how_many_causes_before_what_waits() {
        let errors = json!([{"failures": 30, "first_at": "2026-01-02T02:41:07+00:00", "sample": "exit code 1"},
            {"failures": 7, "first_at": "2026-01-02T03:00:00+00:00", "sample": "deadlock"}]);
        let failing = json!([{"id": 12, "queue": "billing", "label": "nightly", "items": 12400, "failed": 37,
            "is_exact": true, "errors": errors}]);
        let queues = json!([{"name": "mail", "pending": 3, "running": 0, "retrying": 0, "held": "queue \"mail\" is paused"}]);
        let expected = "billing \"nightly\", batch 12: 37 of 12,400 items failed since 02:41:07 UTC (3h04m ago); \
            2 causes, most often: exit code 1";
        assert_eq!(
            lines(led(), queues, failing),
            [
                (Level::Bad, expected.to_owned()),
                (Level::Warning, "mail: nothing runs of 3 items: queue \"mail\" is paused".to_owned())
            ]
        );
    }

    #[test]
    fn a_missed_deadline_is_bad_and_one_that_will_be_missed_is_a_warning() {
        let batch = |id: i64, deadline: &str| {
            json!({"id": id, "queue": "billing", "label": "nightly", "state": "running",
            "deadline": format!("2026-01-02T{deadline}+00:00"), "started_at": "2026-01-02T05:05:07+00:00", "succeeded": 5, "pending": 5})
        };
        let late = [batch(7, "05:45:00"), batch(12, "06:00:07"), batch(13, "06:45:00")];
        let expected = [
            (
                Level::Bad,
                "billing \"nightly\", batch 7: 7s past its deadline, 05:45:00 UTC; at this rate done about 06:25:07 UTC",
            ),
            (
                Level::Warning,
                "billing \"nightly\", batch 12: at this rate done about 06:25:07 UTC, 25m00s after its deadline",
            ),
        ];
        let lines = told(&led(), json!([]), json!([]), &late);
        assert_eq!(lines, expected.map(|(level, words)| (level, words.to_owned())));
    }

    #[test]
    fn many_missed_deadlines_leave_room_for_what_fails() {
        let late: Vec<Value> =
            (0..10).map(|id| json!({"id": id, "deadline": "2026-01-02T05:45:00Z"})).collect();
        let failing = json!([{"id": 12, "queue": "billing", "failed": 1, "items": 1}]);
        let lines = told(&led(), json!([]), failing, &late);
        assert_eq!((lines.len(), lines[2].1.as_str()), (4, "and at least 8 more past their deadline"));
        assert!(lines[3].1.starts_with("billing, batch 12: 1 of 1 items failed"), "{lines:?}");
        assert_eq!(told(&led(), json!([]), json!([]), &late[..3])[2].1, "and 1 more past their deadline");
    }

    #[test]
    fn without_a_leader_nothing_is_well() {
        let lines = lines(
            json!({"open": false, "words": "no dispatcher is connected"}),
            json!([{"name": "q"}]),
            json!([]),
        );
        assert_eq!(lines, [(Level::Bad, "no dispatcher is connected".to_owned())]);
    }

    #[test]
    fn a_queue_at_its_limit_is_no_trouble() {
        let queues =
            json!([{"name": "q", "pending": 2000, "running": 30, "held": "queue \"q\" has 30 of 30 runs"}]);
        let lines = lines(led(), queues, json!([]));
        assert_eq!(lines[0].0, Level::Good);
        assert!(lines[0].1.contains("30 items running, 2,000 waiting"), "{lines:?}");
    }

    #[test]
    fn a_long_list_is_cut() {
        let failing: Vec<Value> =
            (0..9).map(|id| json!({"id": id, "queue": "q", "failed": 1, "items": 1})).collect();
        let lines = lines(led(), json!([]), Value::from(failing));
        assert_eq!((lines.len(), lines[6].1.as_str()), (7, "and 3 more"));
    }
}
