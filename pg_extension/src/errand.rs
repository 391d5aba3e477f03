//! Whether the session's role is the one that calls. It is not where PostgreSQL runs somebody's code on another one's errand:
//! autovacuum or a superuser's REINDEX run the functions of everybody's indexes, a replication worker the triggers of
//! everybody's tables. PostgreSQL makes these operations security-restricted.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[pg_extern(sql = false)]
fn in_restricted_operation() -> bool {
    // SAFETY: it reads a variable of the backend.
    unsafe { pg_sys::InSecurityRestrictedOperation() }
}

/// Refuses a change in such an operation: nobody can tell whose rights it would need.
pub(crate) fn refuse_restricted() {
    if in_restricted_operation() {
        ErrorReport::new(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            "pgbatch changes nothing within a security-restricted operation",
            "refuse_restricted",
        )
        .set_hint(
            "Functions of indexes and materialized views are run in one, and row triggers by logical replication, unless the \
             subscription has run_as_owner = true.",
        )
        .report(PgLogLevel::ERROR);
    }
}
