//! `pgbatch run-sql`: the run of a queue of SQL.
//!
//! Each item is one transaction: the queue's statement with the item as `$1`, then `complete_item`, then COMMIT. So
//! work and outcome commit together: it is done exactly once, whatever is killed and however often the run starts.

mod item;
mod report;
mod session;

use std::process::ExitCode;

use tracing::{error, info, warn};

use self::item::{ItemError, run_item};
use self::session::{Session, SessionError};
use crate::shutdown::Shutdown;
use crate::store::DatabaseUrl;

/// 128 + SIGTERM, as every program that a signal ended.
const STOPPED: u8 = 143;

/// Why the run cannot go on.
#[derive(Debug, thiserror::Error)]
enum RunSqlError {
    /// It was not started by a dispatcher.
    #[error("{name} is {}: run-sql is started by the dispatcher, inside a run's Job", if *.unreadable { "no number" } else { "not set" })]
    ReadVariable { name: &'static str, unreadable: bool },
    /// Signals cannot be heard.
    #[error("cannot listen to signals: {0}")]
    Listen(#[source] std::io::Error),
    /// The database.
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// Which run this is, from the environment.
#[derive(Debug)]
struct Identity {
    run: i64,
    batch: i64,
    attempt: i32,
    queue: String,
    token: String,
}

impl Identity {
    fn from_environment(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, RunSqlError> {
        let text =
            |name: &'static str| lookup(name).ok_or(RunSqlError::ReadVariable { name, unreadable: false });
        fn number<T: std::str::FromStr>(name: &'static str, text: &str) -> Result<T, RunSqlError> {
            text.parse().map_err(|_| RunSqlError::ReadVariable { name, unreadable: true })
        }
        Ok(Self {
            run: number("PGBATCH_RUN_ID", &text("PGBATCH_RUN_ID")?)?,
            batch: number("PGBATCH_BATCH_ID", &text("PGBATCH_BATCH_ID")?)?,
            attempt: number("PGBATCH_ATTEMPT", &text("PGBATCH_ATTEMPT")?)?,
            queue: text("PGBATCH_QUEUE")?,
            token: text("PGBATCH_RUN_TOKEN")?,
        })
    }
}

/// How a run ended that could be run.
enum Ending {
    Succeeded,
    /// So many items failed.
    Failed(usize),
    /// By SIGTERM: whoever stopped it knows.
    Stopped,
}

/// Runs the queue's statement for every item of the run that is not reported yet. Exit status: 0 all succeeded, 1 one
/// failed or the run could not go on, 143 stopped by SIGTERM.
pub async fn run_sql(database_url: DatabaseUrl) -> ExitCode {
    match run(&database_url).await {
        Ok(Ending::Succeeded) => ExitCode::SUCCESS,
        Ok(Ending::Failed(items)) => {
            error!(items, "the run failed");
            ExitCode::FAILURE
        }
        Ok(Ending::Stopped) => {
            warn!("stopped; what was not committed is rolled back");
            ExitCode::from(STOPPED)
        }
        Err(error) => {
            let words = error.to_string();
            error!(error = words, "the run cannot go on");
            report::write_termination_log(&[words]);
            ExitCode::FAILURE
        }
    }
}

async fn run(database_url: &DatabaseUrl) -> Result<Ending, RunSqlError> {
    let identity = Identity::from_environment(|name| std::env::var(name).ok())?;
    let mut shutdown = Shutdown::on_signals().map_err(RunSqlError::Listen)?;
    let Identity { run, batch, ref queue, .. } = identity;
    let mut session = tokio::select! {
        session = Session::open(database_url, &identity) => session?,
        () = shutdown.requested() => return Ok(Ending::Stopped),
    };
    let items = session.items(&identity).await?;
    info!(queue, batch, run, items = items.len(), "running");
    let mut failures = Vec::new();
    for item in items {
        let item_no = item.item_no;
        let outcome = tokio::select! {
            outcome = run_item(session.client_mut(), &identity, &item) => outcome,
            () = shutdown.requested() => {
                session.cancel(database_url).await;
                return Ok(Ending::Stopped);
            }
        };
        match outcome {
            Ok(()) => info!(queue, batch, run, item_no, "done"),
            Err(ItemError::Statement(words)) => {
                error!(queue, batch, run, item_no, error = words, "the item failed");
                session.fail_item(&identity, item_no, &words).await?;
                failures.push(format!("item {item_no}: {words}"));
            }
            Err(ItemError::Session(error)) => return Err(error.into()),
        }
    }
    if failures.is_empty() {
        return Ok(Ending::Succeeded);
    }
    report::write_termination_log(&failures);
    Ok(Ending::Failed(failures.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(run_id: Option<&str>) -> Result<Identity, RunSqlError> {
        Identity::from_environment(|name| match name {
            "PGBATCH_RUN_ID" => run_id.map(str::to_owned),
            "PGBATCH_BATCH_ID" | "PGBATCH_ATTEMPT" => Some("2".to_owned()),
            _ => Some("x".to_owned()),
        })
    }

    #[test]
    fn the_environment_says_which_run_it_is() {
        let identity = identity(Some("42")).unwrap();
        assert_eq!((identity.run, identity.batch, identity.attempt), (42, 2, 2));
    }

    #[test]
    fn a_missing_or_broken_variable_is_named() {
        for (value, expected) in
            [(None, "PGBATCH_RUN_ID is not set"), (Some("x"), "PGBATCH_RUN_ID is no number")]
        {
            let words = identity(value).unwrap_err().to_string();
            assert!(words.starts_with(expected), "{words}");
        }
    }
}
