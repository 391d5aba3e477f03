//! PostgreSQL's side: the server, the extension, what stands between, and the rights.

use std::time::Duration;

use pgbatch_core::item::Item;
use pgbatch_core::run::RunSpec;
use serde_json::Value;

use super::doorbell;
use super::findings::Findings;
use crate::people::failure::Failure;
use crate::people::session::Session;
use crate::people::{snapshot, words};
use crate::store::{CONTRACT_VERSION, DatabaseUrl, FUNCTIONS};

/// A second session must not have to wait for the first one: where it does, both have one backend.
const SECOND_SESSION_MAX: Duration = Duration::from_secs(5);

/// The oldest PostgreSQL that the extension is built for.
const SERVER_MIN: i64 = 150_000;

/// Of a transaction that is open for so long.
const LONG_SECONDS: i64 = 3600;

/// Examines it. Returns a run of each queue, as the dispatcher might have to start it; what cannot be read is a finding.
///
/// # Errors
/// Something that was not expected to fail.
pub(super) async fn examine(url: &DatabaseUrl, findings: &mut Findings) -> Result<Vec<RunSpec>, Failure> {
    let session = match Session::connect(url, "doctor").await {
        Ok(session) => session,
        Err(failure) => {
            findings.failed("connection", &failure);
            return Ok(vec![]);
        }
    };
    server(&session, findings).await?;
    pooler(&session, url, findings).await?;
    if !extension(&session, findings).await? || !rights(&session, findings).await? {
        return Ok(vec![]);
    }
    doorbell::examine(&session, url, findings).await?;
    leader(&session, findings).await?;
    open_transactions(&session, findings).await?;
    // Not behind the view, a role that only dispatches.
    let readable = "SELECT 1 WHERE has_table_privilege('pgbatch.queue', 'SELECT')";
    if session.row(readable, &[]).await?.is_none() {
        findings.untried(
            "queues",
            "whether each queue's Job can be made, this role may not read them",
            "for this try: SELECT pgbatch.grant('*', ..., 'read')",
        );
        return Ok(vec![]);
    }
    runs(&session).await
}

async fn server(session: &Session, findings: &mut Findings) -> Result<(), Failure> {
    let sql = "SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS number, \
        current_user AS role, inet_server_addr() IS NULL AS local, \
        coalesce(inet_server_addr() << '127.0.0.0/8' OR inet_server_addr() = '::1', true) AS loopback, \
        s.ssl, s.version AS tls FROM pg_stat_ssl s WHERE s.pid = pg_backend_pid()";
    let found = session.row(sql, &[]).await?.unwrap_or_default();
    let flag = |column: &str| found[column].as_bool().unwrap_or(false);
    let way = match (flag("ssl"), flag("local")) {
        (true, _) => words::text(&found, "tls"),
        (false, true) => "a Unix socket".to_owned(),
        (false, false) => "no TLS".to_owned(),
    };
    let said = format!(
        "PostgreSQL {} at {} as {}, by {way}",
        words::text(&found, "version"),
        session.target(),
        words::text(&found, "role")
    );
    if words::number(&found, "number") < SERVER_MIN {
        findings.fail("connection", said, "pgbatch needs PostgreSQL 15 or later");
    } else if flag("ssl") || flag("loopback") {
        findings.fine("connection", said);
    } else {
        findings.warn(
            "connection",
            said,
            "let the URL say sslmode=verify-full, or others may read and change it",
        );
    }
    Ok(())
}

/// Whether each of our transactions may be another backend's. While a second session is in a transaction, the first one gets its
/// own backend again, unless a pooler has given that away.
async fn pooler(session: &Session, url: &DatabaseUrl, findings: &mut Findings) -> Result<(), Failure> {
    let backend = "SELECT pg_backend_pid()::bigint";
    let first = session.number(backend, &[]).await?;
    let other = Session::connect(url, "doctor").await?;
    let again = tokio::time::timeout(SECOND_SESSION_MAX, async {
        other.call("BEGIN", &[]).await?;
        let theirs = other.number(backend, &[]).await?;
        let again = session.number(backend, &[]).await?;
        other.call("ROLLBACK", &[]).await?;
        Ok::<_, Failure>((theirs, again))
    })
    .await;
    match again {
        Ok(again) => {
            let (theirs, again) = again?;
            if again == first && theirs != first {
                findings.fine("pooler", "each session has a backend of its own");
                return Ok(());
            }
        }
        // Both wait for the one backend that the pooler has.
        Err(_) => drop(other),
    }
    findings.fail(
        "pooler",
        "a pooler gives the session's backend away after each transaction: the lead would be lost with it",
        "connect the dispatcher to PostgreSQL itself (or in the pooler's session mode); enqueuers may use the pooler",
    );
    Ok(())
}

/// Whether it is there and speaks our contract.
async fn extension(session: &Session, findings: &mut Findings) -> Result<bool, Failure> {
    let sql = "SELECT a.name, a.default_version, a.installed_version, \
        to_regprocedure('pgbatch.contract_version()') IS NOT NULL AS has_contract, current_database() AS database \
        FROM (SELECT 1) one LEFT JOIN pg_available_extensions a ON a.name = 'pgbatch'";
    let found = session.row(sql, &[]).await?.unwrap_or_default();
    let database = words::text(&found, "database");
    if found["has_contract"] != true {
        let hint = match found["name"].is_null() {
            true => {
                "the server has no files of it: make install, or an image with them; then CREATE EXTENSION pgbatch"
            }
            false => "as a user who may: CREATE EXTENSION pgbatch",
        };
        findings.fail("extension", format!("database {database} has no pgbatch"), hint);
        return Ok(false);
    }
    let contract = match session.row("SELECT pgbatch.contract_version() AS contract", &[]).await {
        Ok(found) => words::number(&found.unwrap_or_default(), "contract"),
        Err(failure) => {
            findings.failed("extension", &failure);
            return Ok(false);
        }
    };
    let is_extension = !found["installed_version"].is_null();
    let (installed, newest, update) = match is_extension {
        true => (
            words::text(&found, "installed_version"),
            words::text(&found, "default_version"),
            "ALTER EXTENSION pgbatch UPDATE",
        ),
        false => {
            let found = session.row("SELECT pgbatch.version()", &[]).await?.unwrap_or_default();
            (words::text(&found, "version"), env!("CARGO_PKG_VERSION").to_owned(), "pgbatch migrate")
        }
    };
    let kind = if is_extension { "" } else { ", without the library," };
    let said = format!("pgbatch {installed}{kind} in database {database} speaks contract {contract}");
    if contract != i64::from(CONTRACT_VERSION) {
        let said = format!("{said}, this program {CONTRACT_VERSION}");
        findings.fail("extension", said, &format!("update the older of the two ({update})"));
        return Ok(false);
    }
    if installed == newest {
        findings.fine("extension", said);
    } else {
        let who = if is_extension { "the server" } else { "this program" };
        let said = format!("{said}; {who} has the files of {newest}");
        findings.warn("extension", said, update);
    }
    Ok(true)
}

/// Whether this role may do what a dispatcher does.
async fn rights(session: &Session, findings: &mut Findings) -> Result<bool, Failure> {
    let sql = "SELECT p.oid::regprocedure::text AS routine, current_user AS role, quote_literal(current_user) AS quoted \
        FROM pg_proc p WHERE p.pronamespace = 'pgbatch'::regnamespace AND p.proname = ANY ($1) \
        AND NOT (has_function_privilege(p.oid, 'EXECUTE') AND has_schema_privilege(p.pronamespace, 'USAGE')) ORDER BY 1";
    let missing = session.rows(sql, &[&FUNCTIONS.as_slice()]).await?;
    if missing.is_empty() {
        findings.fine("rights", "this role may call all that a dispatcher calls");
        return Ok(true);
    }
    for row in &missing {
        let routine = words::text(row, "routine");
        let said = format!("role {} may not call {routine}", words::text(row, "role"));
        let quoted = words::text(row, "quoted");
        let hint = format!("as the extension's owner: SELECT pgbatch.grant_dispatcher({quoted})");
        findings.fail("rights", said, &hint);
    }
    Ok(false)
}

async fn leader(session: &Session, findings: &mut Findings) -> Result<(), Failure> {
    // Not everybody may ask.
    let Ok(Some(found)) = session.row("SELECT * FROM pgbatch.explain_dispatcher()", &[]).await else {
        findings.untried(
            "leader",
            "whether a dispatcher leads, this role may not ask",
            "pgbatch.grant_dispatcher() lets it",
        );
        return Ok(());
    };
    if found["open"] == true {
        findings.fine("leader", words::text(&found, "words"));
    } else {
        findings.warn("leader", "no dispatcher is connected", "start one: pgbatch dispatch");
    }
    Ok(())
}

/// Old snapshots keep dead rows, everybody's.
async fn open_transactions(session: &Session, findings: &mut Findings) -> Result<(), Failure> {
    let (found, now) = (snapshot::oldest(session).await?, session.now().await?);
    let seen = if found["may_see"] == true { "" } else { " that this role may see" };
    match words::time(&found, "since").filter(|since| now.duration_since(*since).as_secs() >= LONG_SECONDS) {
        None => findings.fine("transactions", format!("none{seen} is open for an hour")),
        Some(since) => findings.warn(
            "transactions",
            format!("{}; no row that has died since can be removed", snapshot::told(&found, since, now)),
            "end it, or set idle_in_transaction_session_timeout; queues stay fast meanwhile, those with max_per_key do not",
        ),
    }
    Ok(())
}

/// A run of each queue as the dispatcher might have to start it.
async fn runs(session: &Session) -> Result<Vec<RunSpec>, Failure> {
    let sql = "SELECT q.name, q.namespace, q.job_template, q.sql_role FROM pgbatch.queues q ORDER BY q.name";
    let queues = session.rows(sql, &[]).await?;
    Ok(queues
        .into_iter()
        .map(|queue| RunSpec {
            run: 0,
            queue: words::text(&queue, "name"),
            batch: 0,
            namespace: queue["namespace"].as_str().map(str::to_owned),
            first_item: 1,
            last_item: 1,
            attempt: 1,
            token: String::new(),
            items: vec![Item::empty()],
            job_template: Some(queue["job_template"].clone()).filter(|template| *template != Value::Null),
            sql_role: queue["sql_role"].as_str().map(str::to_owned),
            pending_pod_conditions: None,
            items_per_run: 1,
            waited_ms: None,
            traceparent: None,
        })
        .collect())
}
