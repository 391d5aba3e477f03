//! The oldest snapshot: no row that has died since can be removed, anybody's.

use jiff::Timestamp;
use serde_json::Value;

use super::failure::Failure;
use super::session::Session;
use super::words;

/// A worker of autovacuum holds nobody up. Without `pg_read_all_stats` nothing but our own sessions is told of.
const OLDEST: &str = "\
    SELECT current_user AS role, pg_has_role('pg_read_all_stats', 'USAGE') AS may_see, o.pid, o.role AS holder, o.name, o.state, o.since \
    FROM (SELECT 1) one LEFT JOIN LATERAL ( \
        SELECT a.pid::bigint AS pid, a.usename AS role, a.application_name AS name, a.state, a.xact_start AS since \
        FROM pg_stat_activity a \
        WHERE a.datname = current_database() AND (a.backend_xid IS NOT NULL OR a.backend_xmin IS NOT NULL) \
            AND a.pid <> pg_backend_pid() AND a.backend_type <> 'autovacuum worker' AND a.xact_start IS NOT NULL \
        UNION ALL \
        SELECT NULL, p.owner, p.gid, 'prepared', p.prepared FROM pg_prepared_xacts p WHERE p.database = current_database() \
        ORDER BY since LIMIT 1) o ON true";

/// `role`, who asks, and whether he `may_see` it; `since` when the oldest is held, by which `pid`, `holder`, `name` and in which
/// `state`; null where none is.
pub(crate) async fn oldest(session: &Session) -> Result<Value, Failure> {
    Ok(session.row(OLDEST, &[]).await?.unwrap_or_default())
}

/// How long ago it was taken, by whom: `25m00s: backend 7 (a report) of ann, idle in transaction`.
pub(crate) fn told(found: &Value, since: Timestamp, now: Timestamp) -> String {
    let who = match found["pid"].as_i64() {
        Some(pid) => format!("backend {pid} ({})", words::short(found, "name")),
        None => format!("the prepared transaction {}", words::short(found, "name")),
    };
    let (holder, state) = (words::text(found, "holder"), words::text(found, "state"));
    format!("{}: {who} of {holder}, {state}", words::between(since, now))
}
