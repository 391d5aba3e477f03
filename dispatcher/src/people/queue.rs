//! A queue: when it will be done, and what keeps its runs from starting.

use serde_json::Value;

use super::failure::Failure;
use super::session::Session;
use super::words;

/// What the scheduler, the kubelet or the API server says of runs that do not start.
const NOT_STARTING: &str = "\
    SELECT r.queue, count(*) AS runs, min(concat_ws(': ', r.reason, r.message)) AS words \
    FROM pgbatch.runs r WHERE r.state = 'starting' AND r.reason IS NOT NULL GROUP BY r.queue";

/// The queues that have runs which do not start, and why, in words.
pub(crate) async fn not_starting(session: &Session) -> Result<Vec<(String, String)>, Failure> {
    let queues = session.rows(NOT_STARTING, &[]).await?;
    let told = queues.iter().map(|runs| {
        let count = words::number(runs, "runs");
        let verb = if count == 1 { "does" } else { "do" };
        let words =
            format!("{} {verb} not start: {}", words::count(count, "run"), words::short(runs, "words"));
        (words::text(runs, "queue"), words)
    });
    Ok(told.collect())
}

/// How long what is open, of a queue or a batch, takes at a rate of items in a second.
#[expect(clippy::cast_precision_loss, reason = "a guess for people")]
pub(crate) fn eta_seconds(counts: &Value, per_second: f64) -> Option<f64> {
    let left: i64 = ["pending", "running", "retrying"].iter().map(|state| words::number(counts, state)).sum();
    (left > 0 && per_second > 0.0).then(|| (left as f64 / per_second).round())
}
