//! `pgbatch migrate`: brings the extension in a database to the version whose files its server has; or, where the server has none
//! and `--sql-only` says so, the same SQL without the library to the version of this program. The migrate Job of the chart is
//! this; run by hand as often as one likes, it does what is left to do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use tokio::sync::Notify;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, Transaction};
use tracing::{info, warn};

use super::connection;
use super::failure::{Failure, Fate};
use super::output::Output;
use crate::config::{ClientArgs, LogArgs};
use crate::store::{CONTRACT_VERSION, ConnectError, DatabaseUrl, connect};

/// Between two attempts to connect.
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// The same, when it has taken long already.
const PAUSE_MAX: Duration = Duration::from_secs(3);
/// The same reason to wait is told again after so long.
const TOLD_PERIOD: Duration = Duration::from_secs(10);

/// Two that migrate at once do it one after the other; the number is any that nobody else would take.
const ONE_AT_A_TIME: &str = "SELECT pg_advisory_xact_lock(8103120419745)";

/// The oldest PostgreSQL that the SQL is for.
const MAJOR_MIN: i32 = 15;

/// The SQL without the library, for a server that cannot have it, and what brings an earlier one of it to this version.
const VERSION: &str = env!("CARGO_PKG_VERSION");
const INSTALL: &str = include_str!(concat!(env!("OUT_DIR"), "/install.sql"));
const UPGRADES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/upgrades.rs"));

const READ: &str = "SELECT current_database()::text AS database, current_user::text AS role, e.extversion AS installed, \
    (SELECT r.rolsuper FROM pg_roles AS r WHERE r.rolname = current_user) AS is_superuser, \
    pg_get_userbyid(e.extowner)::text AS owner, a.default_version AS available, \
    current_setting('server_version_num')::int / 10000 AS major, \
    EXISTS (SELECT FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace \
        WHERE n.nspname = 'pgbatch' AND p.proname = 'version') AS has_version \
    FROM (SELECT 1) AS one LEFT JOIN pg_extension AS e ON e.extname = 'pgbatch' \
    LEFT JOIN pg_available_extensions AS a ON a.name = 'pgbatch'";

/// Whose extension, and for how long to wait.
#[derive(Debug, Args)]
pub(super) struct MigrateArgs {
    /// Connect as the owner of the database, or of the extension once it is there.
    #[command(flatten)]
    client: ClientArgs,
    /// Wait for so long where PostgreSQL cannot be reached yet, or is still starting.
    #[arg(long, env = "PGBATCH_WAIT", default_value = "60", value_name = "SECONDS")]
    wait: u32,
    /// Install without the library, in a server that cannot have it (managed PostgreSQL): the same functions, with NOTIFY as the
    /// doorbell.
    #[arg(long, env = "PGBATCH_SQL_ONLY")]
    sql_only: bool,
    /// Print the SQL that --sql-only would run, for psql --single-transaction, and do nothing.
    #[arg(long, requires = "sql_only")]
    print: bool,
    #[command(flatten)]
    pub(super) log: LogArgs,
}

/// What the database has, and what its server has the files of.
struct Found {
    database: String,
    role: String,
    is_superuser: bool,
    major: i32,
    installed: Option<String>,
    owner: Option<String>,
    available: Option<String>,
    /// What is there without being an extension.
    sql_only: Option<String>,
}

/// What is left to do.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Create,
    Update,
    /// The SQL alone.
    Install,
    /// The SQL alone, by this script.
    Upgrade(&'static str),
    Nothing,
}

pub(super) async fn migrate(args: MigrateArgs) -> Result<Fate, Failure> {
    let MigrateArgs { client: ClientArgs { database_url, output }, wait, sql_only, print, log: _ } = args;
    let output = Output::new(output);
    if print {
        output.line(INSTALL.trim_end())?;
        return Ok(Fate::Fine);
    }
    let url = connection::database(database_url)?;
    let mut client = connect_within(&url, Duration::from_secs(wait.into())).await?;
    // What is not committed at the end was never done: so it may be tried, to see what comes of it.
    let transaction = client.transaction().await?;
    transaction.batch_execute("SET LOCAL search_path = pg_catalog, pg_temp").await?;
    transaction.batch_execute(ONE_AT_A_TIME).await?;
    let found = read(&transaction).await?;
    let (step, version) = found.step(sql_only)?;
    let statements = match step {
        Step::Create => "CREATE EXTENSION pgbatch",
        Step::Update => "ALTER EXTENSION pgbatch UPDATE",
        Step::Install => INSTALL,
        Step::Upgrade(script) => script,
        Step::Nothing => "",
    };
    transaction.batch_execute(statements).await.map_err(|error| found.refused(&error))?;
    check_contract(&transaction, version).await?;
    transaction.commit().await?;
    if matches!(step, Step::Create | Step::Install) && found.is_superuser {
        let hint = "better have the database's owner create it, who needs no more than that";
        warn!(
            role = found.role,
            hint, "what pgbatch does for those who enqueue is done with the rights of a superuser"
        );
    }
    report(&output, &found, &step, version)?;
    Ok(Fate::Fine)
}

async fn read(transaction: &Transaction<'_>) -> Result<Found, Error> {
    let row = transaction.query_one(READ, &[]).await?;
    let is_sql_only = row.get("has_version") && row.get::<_, Option<String>>("installed").is_none();
    let sql_only = match is_sql_only {
        true => transaction.query_one("SELECT pgbatch.version()", &[]).await?.get(0),
        false => None,
    };
    Ok(Found {
        sql_only,
        database: row.get("database"),
        role: row.get("role"),
        is_superuser: row.get("is_superuser"),
        major: row.get("major"),
        installed: row.get("installed"),
        owner: row.get("owner"),
        available: row.get("available"),
    })
}

/// Whether what is there now is what this program speaks: the dispatcher, which is this program, would refuse it too.
async fn check_contract(transaction: &Transaction<'_>, version: &str) -> Result<(), Failure> {
    let contract: i32 = transaction.query_one("SELECT pgbatch.contract_version()", &[]).await?.get(0);
    let hint = match contract.cmp(&CONTRACT_VERSION) {
        std::cmp::Ordering::Equal => return Ok(()),
        std::cmp::Ordering::Greater => {
            "take a newer pgbatch program (image); the database was left as it was"
        }
        std::cmp::Ordering::Less => {
            "give the server the files of a newer pgbatch (extension image, package); the database was left as it was"
        }
    };
    let words = format!("pgbatch {version} speaks contract {contract}, this program {CONTRACT_VERSION}");
    Err(Failure::new(words).hint(hint))
}

fn report(output: &Output, found: &Found, step: &Step, version: &str) -> Result<(), Failure> {
    let Found { database, installed, sql_only, .. } = found;
    let before = installed.as_ref().or(sql_only.as_ref());
    let is_sql_only = sql_only.is_some() || *step == Step::Install;
    if output.is_json() {
        return output.json(
            &json!({"database": database, "before": before, "version": version, "sql_only": is_sql_only}),
        );
    }
    let before = before.map_or("", String::as_str);
    output.line(&match step {
        Step::Create => format!("database {database}: pgbatch {version} was created"),
        Step::Install => {
            format!("database {database}: pgbatch {version} was installed without the library, as SQL only")
        }
        Step::Update | Step::Upgrade(_) => {
            format!("database {database}: pgbatch was updated from {before} to {version}")
        }
        Step::Nothing => format!("database {database}: pgbatch {version} was there already"),
    })
}

impl Found {
    /// What is left to do, and the version that is there afterwards.
    fn step(&self, sql_only: bool) -> Result<(Step, &str), Failure> {
        if sql_only && self.installed.is_some() {
            return Err(Failure::new(format!("database {} has the extension", self.database))
                .hint("it is what --sql-only is instead of: leave that out"));
        }
        if self.sql_only.is_some() || sql_only {
            return Ok((self.sql_only_step()?, VERSION));
        }
        let Some(available) = self.available.as_deref() else {
            let hint = format!(
                "put the extension for PostgreSQL {} there: the extension image (as image volume or by an init container), or \
                 make install; README, section Install, has each way; where a server cannot have it: --sql-only",
                self.major
            );
            return Err(Failure::new("the server has no files of pgbatch").hint(hint));
        };
        let step = match self.installed.as_deref() {
            None => Step::Create,
            Some(installed) if installed != available => Step::Update,
            Some(_) => Step::Nothing,
        };
        Ok((step, available))
    }

    fn sql_only_step(&self) -> Result<Step, Failure> {
        let Some(there) = self.sql_only.as_deref() else {
            if self.major < MAJOR_MIN {
                return Err(Failure::new(format!("this is PostgreSQL {}", self.major))
                    .hint(format!("pgbatch needs PostgreSQL {MAJOR_MIN} or later")));
            }
            return Ok(Step::Install);
        };
        if there == VERSION {
            return Ok(Step::Nothing);
        }
        let script =
            UPGRADES.iter().find(|(from, _)| *from == there).map(|(_, script)| Step::Upgrade(script));
        script.ok_or_else(|| {
            Failure::new(format!("there is no way from pgbatch {there} to {VERSION}"))
                .hint("take a program (image) of that version or later")
        })
    }

    /// PostgreSQL's words, and what to do about them.
    fn refused(&self, error: &Error) -> Failure {
        let Some(server) = error.as_db_error() else { return error_in_words(error) };
        let Self { database, role, owner, installed, major, .. } = self;
        let failure = Failure::new(server.message());
        match (*server.code() == SqlState::INSUFFICIENT_PRIVILEGE, owner) {
            (true, Some(owner)) => failure.hint(format!("connect as {owner}, who owns the extension")),
            (true, None) => failure.hint(format!(
                "as the owner of the database: GRANT CREATE ON DATABASE {database} TO {role}; or connect as him"
            )),
            _ if *server.code() == SqlState::UNDEFINED_FILE => failure.hint(format!(
                "the server has the SQL of pgbatch, but no library that it can load: take the extension image or package for \
                 PostgreSQL {major}, let dynamic_library_path name its folder, and note that it needs glibc (not alpine)"
            )),
            _ if *server.code() == SqlState::DUPLICATE_SCHEMA => {
                failure.hint("the schema pgbatch must be pgbatch's own: rename or drop the one that is there")
            }
            _ if *server.code() == SqlState::INVALID_PARAMETER_VALUE && installed.is_some() => failure
                .hint("the server's files are older than what is installed: give it those of that version or later"),
            _ => failure,
        }
    }
}

fn error_in_words(error: &Error) -> Failure {
    Failure::new(crate::store::with_causes(error))
}

/// Connects, and tries again for as long as `wait` where time may help; each attempt has its own bound.
async fn connect_within(url: &DatabaseUrl, wait: Duration) -> Result<Client, Failure> {
    let started = Instant::now();
    let mut pause = PAUSE_MIN;
    let mut told: Option<(String, Instant)> = None;
    loop {
        let error = match connect(url, "pgbatch migrate", Arc::new(Notify::new())).await {
            Ok((client, _driver)) => return Ok(client),
            Err(error) => error,
        };
        if !may_pass(&error) {
            return Err(unreachable(error));
        }
        let waited = started.elapsed();
        if waited + pause > wait {
            let words = format!("{error}; waited for {} s", waited.as_secs());
            return Err(Failure::new(words)
                .hint("does it run, and is this its address? --wait SECONDS waits for longer"));
        }
        let words = error.to_string();
        if told.as_ref().is_none_or(|(before, at)| *before != words || at.elapsed() > TOLD_PERIOD) {
            let left = (wait - waited).as_secs();
            info!(seconds_left = left, error = words, "waiting for PostgreSQL");
            told = Some((words, Instant::now()));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Whether the same attempt may succeed later, without anybody doing anything about it.
fn may_pass(error: &ConnectError) -> bool {
    let ConnectError::Connect { source, .. } = error else { return false };
    match source.code() {
        // Not reached at all.
        None => true,
        Some(code) => *code == SqlState::CANNOT_CONNECT_NOW || *code == SqlState::TOO_MANY_CONNECTIONS,
    }
}

fn unreachable(error: ConnectError) -> Failure {
    let code = match &error {
        ConnectError::Connect { source, .. } => source.code(),
        _ => None,
    };
    match code {
        Some(code) if *code == SqlState::INVALID_CATALOG_NAME => Failure::new(error.to_string())
            .hint("as a role that may: CREATE DATABASE, with the role of this URL as its OWNER"),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(installed: Option<&str>, available: Option<&str>, sql_only: Option<&str>) -> Found {
        let [installed, available, sql_only] =
            [installed, available, sql_only].map(|version| version.map(str::to_owned));
        let [database, role] = ["shop", "app"].map(str::to_owned);
        Found { database, role, is_superuser: false, major: 15, owner: None, installed, available, sql_only }
    }

    fn step(installed: Option<&str>, available: Option<&str>) -> Result<(Step, String), String> {
        step_of(&found(installed, available, None), false)
    }

    fn step_of(found: &Found, sql_only: bool) -> Result<(Step, String), String> {
        let step = found.step(sql_only).map(|(step, version)| (step, version.to_owned()));
        step.map_err(|failure| failure.to_string())
    }

    #[test]
    fn without_the_library_it_is_installed_only_where_that_is_asked_for_and_goes_on_by_itself() {
        let version = || VERSION.to_owned();
        assert_eq!(step_of(&found(None, None, None), true), Ok((Step::Install, version())));
        assert_eq!(step_of(&found(None, Some("2"), None), true), Ok((Step::Install, version())));
        for sql_only in [true, false] {
            assert_eq!(
                step_of(&found(None, Some("2"), Some(VERSION)), sql_only),
                Ok((Step::Nothing, version()))
            );
            let (from, script) = UPGRADES[0];
            let upgrade = Ok((Step::Upgrade(script), version()));
            assert_eq!(step_of(&found(None, None, Some(from)), sql_only), upgrade);
            let said = step_of(&found(None, None, Some("99")), sql_only).unwrap_err();
            assert!(said.starts_with("there is no way from pgbatch 99 to "), "{said}");
        }
        let said = step_of(&found(Some("1"), Some("2"), None), true).unwrap_err();
        assert!(said.starts_with("database shop has the extension (hint: "), "{said}");
        let old = Found { major: 14, ..found(None, None, None) };
        assert!(step_of(&old, true).unwrap_err().starts_with("this is PostgreSQL 14 (hint: "));
    }

    #[test]
    fn what_is_missing_is_created_and_what_is_another_version_is_updated() {
        assert_eq!(step(None, Some("2")), Ok((Step::Create, "2".to_owned())));
        assert_eq!(step(Some("1"), Some("2")), Ok((Step::Update, "2".to_owned())));
        assert_eq!(step(Some("2"), Some("2")), Ok((Step::Nothing, "2".to_owned())));
    }

    #[test]
    fn without_files_nothing_can_be_done_even_where_it_is_installed() {
        for installed in [None, Some("1")] {
            let said = step(installed, None).unwrap_err();
            assert!(
                said.starts_with(
                    "the server has no files of pgbatch (hint: put the extension for PostgreSQL 15"
                ),
                "{said}"
            );
        }
    }
}
