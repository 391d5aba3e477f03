//! A batch: when it will be done, and what that means for its deadline.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::failure::Failure;
use super::queue::eta_seconds;
use super::session::Session;
use super::words;

/// Open batches that have a deadline: those that are past it, and those whose deadline is next, so many of each.
const DEADLINES: &str = "\
    SELECT b.* FROM (SELECT pgbatch.find_deadlines($1) AS ids) f CROSS JOIN LATERAL pgbatch.peek_batches(f.ids, 1000) b";

/// What is or will be late.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// It is past its deadline.
    Now(String),
    /// It will be.
    Soon(String),
}

impl Late {
    /// What to say of it.
    pub(crate) fn words(&self) -> &str {
        match self {
            Self::Now(words) | Self::Soon(words) => words,
        }
    }
}

/// As `peek_batches()` has them, those that are past their deadline first.
pub(crate) async fn deadlines(session: &Session, at_most: i32) -> Result<Vec<Value>, Failure> {
    session.rows(DEADLINES, &[&at_most]).await
}

/// `billing "nightly", batch 12`
pub(crate) fn named(batch: &Value) -> String {
    let label = words::short(batch, "label");
    let label = if label.is_empty() { label } else { format!(" \"{label}\"") };
    format!("{}{label}, batch {}", words::text(batch, "queue"), words::number(batch, "id"))
}

/// How long what is left takes, at the rate of the items that have ended since it started.
pub(crate) fn seconds_left(batch: &Value, now: Timestamp) -> Option<f64> {
    let started = words::time(batch, "started_at").filter(|_| batch["finished_at"].is_null())?;
    let ended = words::number(batch, "succeeded") + words::number(batch, "failed");
    #[expect(clippy::cast_precision_loss, reason = "a guess for people")]
    let rate = ended as f64 / now.duration_since(started).as_secs_f64().max(1.0);
    eta_seconds(batch, rate)
}

/// Of an open batch with a deadline, what is amiss with that.
pub(crate) fn late(batch: &Value, now: Timestamp) -> Option<Late> {
    let deadline = words::time(batch, "deadline").filter(|_| batch["finished_at"].is_null())?;
    let done = seconds_left(batch, now)
        .and_then(|seconds| now.checked_add(SignedDuration::try_from_secs_f64(seconds).ok()?).ok());
    let expected = done.map(|done| format!("at this rate done about {}", words::clock(done, now)));
    if deadline <= now {
        let expected = match (expected, words::text(batch, "state")) {
            (Some(expected), _) => format!("; {expected}"),
            (None, state) => format!("; it is {state}"),
        };
        let past = words::between(deadline, now);
        return Some(Late::Now(format!(
            "{past} past its deadline, {}{expected}",
            words::clock(deadline, now)
        )));
    }
    let (done, expected) = (done.filter(|done| *done > deadline)?, expected?);
    Some(Late::Soon(format!("{expected}, {} after its deadline", words::between(deadline, done))))
}

/// The deadline, and how far it is, or how the end was to it; nothing where there is none.
pub(crate) fn deadline(batch: &Value, now: Timestamp) -> String {
    let Some(deadline) = words::time(batch, "deadline") else { return String::new() };
    let moment = words::moment(batch, "deadline");
    let left = words::between(now, deadline);
    match words::time(batch, "finished_at") {
        None if now < deadline => format!("{moment} (in {left})"),
        None => format!("{moment} ({} ago)", words::between(deadline, now)),
        Some(_) => format!("{moment} ({})", ended(batch).unwrap_or_default()),
    }
}

/// How the end of a batch was to its deadline: `it ended 25m00s after`.
pub(crate) fn ended(batch: &Value) -> Option<String> {
    let (deadline, end) = (words::time(batch, "deadline")?, words::time(batch, "finished_at")?);
    Some(match end <= deadline {
        true => format!("it ended {} before", words::between(end, deadline)),
        false => format!("it ended {} after", words::between(deadline, end)),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn now() -> Timestamp {
        "2026-01-02T05:45:00Z".parse().unwrap()
    }

    /// Half of 400 items in 40 minutes, and so 40 minutes to go.
    fn running(deadline: &str) -> Value {
        json!({"id": 12, "queue": "billing", "label": "nightly", "state": "running", "deadline": deadline, "items": 400,
            "started_at": "2026-01-02T05:05:00+00:00", "finished_at": null, "succeeded": 200, "pending": 200})
    }

    #[test]
    fn what_is_left_is_of_one_that_runs_and_has_ended_some() {
        let mut batch = running("2026-01-02T06:00:00+00:00");
        assert_eq!(seconds_left(&batch, now()), Some(2400.0));
        batch["succeeded"] = 0.into();
        assert_eq!(seconds_left(&batch, now()), None);
    }

    fn soon(words: &str) -> Option<Late> {
        Some(Late::Soon(words.to_owned()))
    }

    #[test]
    fn a_batch_that_will_be_late_says_when_it_will_be_done() {
        let says = "at this rate done about 06:25:00 UTC, 25m00s after its deadline";
        assert_eq!(late(&running("2026-01-02T06:00:00+00:00"), now()), soon(says));
        assert_eq!(late(&running("2026-01-02T06:25:00+00:00"), now()), None, "to the second");
        let tomorrow = json!({"deadline": "2026-01-02T06:00:00+00:00", "started_at": "2026-01-02T05:44:00+00:00",
            "succeeded": 1, "pending": 1440});
        let says = "at this rate done about 2026-01-03 05:45:00 UTC, 23h45m after its deadline";
        assert_eq!(late(&tomorrow, now()), soon(says));
    }

    #[test]
    fn a_batch_that_is_late_says_since_when_and_for_how_long_still() {
        let says = |batch: &Value| late(batch, now()).map(|late| late.words().to_owned()).unwrap_or_default();
        assert_eq!(
            says(&running("2026-01-02T05:20:00+00:00")),
            "25m00s past its deadline, 05:20:00 UTC; at this rate done about 06:25:00 UTC"
        );
        let mut held = json!({"deadline": "2026-01-02T05:45:00+00:00", "state": "pending", "pending": 3});
        assert_eq!(says(&held), "0ms past its deadline, 05:45:00 UTC; it is pending");
        held["finished_at"] = "2026-01-02T05:46:00+00:00".into();
        assert_eq!(late(&held, now()), None, "it has ended");
    }

    #[test]
    fn without_a_rate_or_a_deadline_nothing_is_foretold() {
        let mut batch = running("2026-01-02T05:46:00+00:00");
        batch["succeeded"] = 0.into();
        assert_eq!(late(&batch, now()), None);
        batch["deadline"] = Value::Null;
        assert_eq!((late(&batch, now()), deadline(&batch, now())), (None, String::new()));
    }

    #[test]
    fn a_deadline_is_told_with_what_became_of_it() {
        let told = |at: &str, finished: Value| {
            let batch = json!({"deadline": format!("2026-01-02T{at}:00+00:00"), "finished_at": finished});
            deadline(&batch, now())
        };
        assert_eq!(told("06:00", Value::Null), "2026-01-02 06:00:00+00:00 (in 15m00s)");
        assert_eq!(told("05:44", Value::Null), "2026-01-02 05:44:00+00:00 (1m00s ago)");
        let end = json!("2026-01-02T05:30:00+00:00");
        assert_eq!(told("06:00", end.clone()), "2026-01-02 06:00:00+00:00 (it ended 30m00s before)");
        assert_eq!(told("05:25", end), "2026-01-02 05:25:00+00:00 (it ended 5m00s after)");
    }
}
