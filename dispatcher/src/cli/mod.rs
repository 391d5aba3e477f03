//! The command line: one file a command.

mod watch;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tracing::error;

use crate::config::{Config, DatabaseArgs, DispatchArgs, LogArgs};
use crate::executor::process_shim;
use crate::reconcile::dispatch;
use crate::run_sql::run_sql;
use crate::shutdown::Shutdown;
use crate::telemetry;
use crate::web::{self, Health};

/// PostgreSQL is the queue, Kubernetes is the engine, and nothing polls in between.
#[derive(Debug, Parser)]
#[command(name = "pgbatch", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The daemon: wakes on commit, starts Jobs, records their outcomes.
    Dispatch(DispatchArgs),
    /// Follow a batch until it ends. Exit status: 0 it succeeded, 1 it failed or was cancelled, 2 it cannot be read.
    Watch {
        #[command(flatten)]
        database: DatabaseArgs,
        /// The number that the enqueue call returned.
        batch: i64,
    },
    /// The run of a queue of SQL (started by the dispatcher, inside the run's Job).
    RunSql {
        #[command(flatten)]
        database: DatabaseArgs,
        #[command(flatten)]
        log: LogArgs,
    },
    /// The parent of a local process (started by the dispatcher).
    #[command(hide = true)]
    ProcessShim {
        /// The run's folder.
        dir: PathBuf,
    },
}

/// Runs the command; the exit status is the process's.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    match cli.command {
        // A plain program of its own: it must outlive everything and needs no runtime.
        Command::ProcessShim { dir } => process_shim::main(&dir),
        Command::Dispatch(args) => {
            telemetry::start(args.log.log_format, &args.log.log);
            on_runtime(run_dispatch(args))
        }
        Command::RunSql { database, log } => {
            telemetry::start(log.log_format, &log.log);
            on_runtime(run_sql(database.database_url))
        }
        Command::Watch { database, batch } => on_runtime(watch::watch(database.database_url, batch)),
    }
}

async fn run_dispatch(args: DispatchArgs) -> ExitCode {
    let config = Config::from(args);
    let shutdown = match Shutdown::on_signals() {
        Ok(shutdown) => shutdown,
        Err(error) => {
            error!(%error, "cannot listen to signals");
            return ExitCode::FAILURE;
        }
    };
    let health = Health::new();
    if let Some(address) = config.listen
        && let Err(error) = web::listen(address, health.clone()).await
    {
        error!(%address, %error, hint = "give another address with --listen (PGBATCH_LISTEN)", "cannot listen");
        return ExitCode::FAILURE;
    }
    match Box::pin(dispatch(&config, shutdown, &health)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The runtime does not wait for threads that watch local processes: those outlive the dispatcher.
fn on_runtime(future: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => {
            let code = runtime.block_on(future);
            runtime.shutdown_timeout(Duration::from_millis(100));
            code
        }
        Err(error) => {
            error!(%error, "cannot start the runtime");
            ExitCode::FAILURE
        }
    }
}
