//! How many Jobs a demand is: the decision of `core`, for SQL.

use pgbatch_core::scaling::{self, OpenJobs, Policy, Reading};
use pgrx::JsonB;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde::de::DeserializeOwned;

/// How many Jobs to create now, for an array of Readings and a Policy as JSON.
#[pg_extern(sql = false)]
fn jobs_to_create(readings: JsonB, policy: JsonB, running: i32, pending: i32) -> Option<i32> {
    let readings: Vec<Reading> = read("readings", readings)?;
    let policy: Policy = read("policy", policy)?;
    let open = OpenJobs { running: running.max(0).cast_unsigned(), pending: pending.max(0).cast_unsigned() };
    Some(i32::try_from(scaling::jobs_to_create(&readings, &policy, open)).unwrap_or(i32::MAX))
}

fn read<T: DeserializeOwned>(argument: &str, json: JsonB) -> Option<T> {
    match serde_json::from_value(json.0) {
        Ok(value) => Some(value),
        Err(problem) => {
            let message = format!("{argument} is invalid: {problem}");
            ErrorReport::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message, "jobs_to_create")
                .set_hint("dispatcher/core/src/scaling.rs says what they are.")
                .report(PgLogLevel::ERROR);
            None
        }
    }
}
