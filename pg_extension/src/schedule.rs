//! When a schedule occurs: the decision of `core`, for SQL. Times are seconds since 1970.

use jiff::Timestamp;
use pgbatch_core::schedule::{Problem, Schedule};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// The first occurrence after a moment; NULL if there is none any more.
#[pg_extern(sql = false)]
fn next_occurrence(cron: &str, timezone: &str, after: i64) -> Option<i64> {
    parse(cron, timezone)?.next_after(Timestamp::from_second(after).ok()?).map(Timestamp::as_second)
}

/// The last occurrence after `since` and not after `upto`; NULL if there is none.
#[pg_extern(sql = false)]
fn latest_occurrence(cron: &str, timezone: &str, since: i64, upto: i64) -> Option<i64> {
    let (since, upto) = (Timestamp::from_second(since).ok()?, Timestamp::from_second(upto).ok()?);
    parse(cron, timezone)?.latest(since, upto).map(Timestamp::as_second)
}

fn parse(cron: &str, timezone: &str) -> Option<Schedule> {
    match Schedule::parse(cron, timezone) {
        Ok(schedule) => Some(schedule),
        Err(problem) => {
            let hint = match problem {
                Problem::Cron(_) => {
                    "Give minute, hour, day of the month, month and day of the week, for example '0 2 * * MON-FRI'; \
                     seconds may come before them."
                }
                Problem::TimeZone(_) => {
                    "Give a name of the IANA time zone database, for example 'Europe/Paris'."
                }
            };
            ErrorReport::new(
                PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
                problem.to_string(),
                "next_occurrence",
            )
            .set_hint(hint)
            .report(PgLogLevel::ERROR);
            None
        }
    }
}
