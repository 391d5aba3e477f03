//! What a ScaledJob of KEDA becomes: the reading of `core`, for SQL.

use pgbatch_core::scaled_job::{import, manifest};
use pgrx::JsonB;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// The calls that make it, and the notes.
#[pg_extern(sql = false)]
fn read_scaled_job(manifest: &str) -> Option<JsonB> {
    match manifest::read_one(manifest).and_then(|manifest| import(&manifest)) {
        Ok(import) => Some(JsonB(import.to_json())),
        Err(problem) => {
            let code = PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE;
            ErrorReport::new(code, problem.told(), "read_scaled_job")
                .set_hint(problem.hint)
                .report(PgLogLevel::ERROR);
            None
        }
    }
}
