//! The command line: one file a command.

mod actions;
mod address;
mod bench;
mod cancel;
mod completions;
mod doctor;
mod enqueue;
mod import;
mod logs;
mod ls;
mod migrate;
mod output;
mod pause;
mod retry;
mod show;
mod status;
mod table;
mod watch;
mod why;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use tracing::error;

use self::failure::{Failure, Fate};
use crate::config::{ClientArgs, Config, DatabaseArgs, DispatchArgs, LogArgs};
use crate::executor::process_shim;
use crate::people::{connection, failure, item, session, words};
use crate::reconcile::dispatch;
use crate::run_sql::run_sql;
use crate::shutdown::Shutdown;
use crate::telemetry;
use crate::trace;
use crate::web::dashboard::Dashboard;
use crate::web::{self, Health};

const AFTER_HELP: &str = "\
Exit status:
  0  done; and where a batch was followed (watch, run --wait, bench), it succeeded; doctor: all works
  1  the batch that was followed failed or was cancelled; doctor: something does not work
  2  wrong usage, no connection, or PostgreSQL refused; one line on standard error says why

BATCH is the number that the enqueue call returned, ITEM the number of an item in it, from 1.
Colours are for terminals only, and not with NO_COLOR. -o json prints what the views of schema pgbatch have.";

/// PostgreSQL is the queue, Kubernetes is the engine, and nothing polls in between.
#[derive(Debug, Parser)]
#[command(name = "pgbatch", version, about, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The daemon: wakes on commit, starts Jobs, records their outcomes.
    Dispatch(Box<DispatchArgs>),
    /// The queues, who leads, and why work is held; live on a terminal, like top.
    Status(status::StatusArgs),
    /// Follow a batch until it ends: progress, rate, ETA, and its failures as they come.
    Watch(BatchArgs),
    /// The batches, newest first.
    Ls(ls::LsArgs),
    /// All that is known of a batch, or of an item and its runs.
    Show(show::ShowArgs),
    /// Why is an item not running? Every gate on its way, in words.
    Why(why::WhyArgs),
    /// What an item's run wrote: its pod's log, or what was kept of it.
    Logs(logs::LogsArgs),
    /// Enqueue an item; prints its batch, or with --wait ends with its fate.
    Run(enqueue::RunArgs),
    /// Run the failed items of a batch again, or some of them.
    Retry(retry::RetryArgs),
    /// Cancel what has not ended of a batch; its live runs are stopped.
    Cancel(BatchActionArgs),
    /// Start nothing more of a queue; its live runs go on.
    Pause(QueueArgs),
    /// Let a queue go on.
    Resume(QueueArgs),
    /// Who has changed what, and why: queues, rights, limits and triggers, and batches that were cancelled or retried.
    Actions(actions::ActionsArgs),
    /// Make queues and triggers of ScaledJobs of KEDA, and tell what is not as it was.
    Import(import::ImportArgs),
    /// Create the extension in a database, or update it to the version whose files the server has; waits for a PostgreSQL that
    /// is still starting.
    Migrate(migrate::MigrateArgs),
    /// Would a dispatcher with these flags work? Tries the database, the doorbell, the rights and the cluster.
    Doctor(doctor::DoctorArgs),
    /// How fast is it here? Enqueues items into a queue, waits for their ends, and tells how long each step took.
    Bench(bench::BenchArgs),
    /// Print a script that completes commands and flags, as in: source <(pgbatch completions bash).
    Completions {
        /// For which shell.
        shell: Shell,
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

/// One batch.
#[derive(Debug, Args)]
struct BatchArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// The number that the enqueue call returned.
    batch: i64,
}

/// What is done to a batch.
#[derive(Debug, Args)]
struct BatchActionArgs {
    #[command(flatten)]
    of: BatchArgs,
    #[command(flatten)]
    why: ReasonArgs,
}

/// Why something is done.
#[derive(Debug, Args)]
struct ReasonArgs {
    /// Why, for the others: pgbatch actions tells it.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// What is done to a queue.
#[derive(Debug, Args)]
struct QueueArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    why: ReasonArgs,
    /// Its name.
    queue: String,
}

/// Runs the command; the exit status is the process's.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    match cli.command {
        // A plain program of its own: it must outlive everything and needs no runtime.
        Command::ProcessShim { dir } => process_shim::main(&dir),
        Command::Dispatch(args) => {
            telemetry::start(args.log.log_format, &args.log.log);
            on_runtime(run_dispatch(*args))
        }
        Command::RunSql { database, log } => {
            telemetry::start(log.log_format, &log.log);
            on_runtime(run_sql(database.database_url))
        }
        Command::Status(args) => for_people(status::status(args)),
        Command::Watch(args) => for_people(watch::watch(args)),
        Command::Ls(args) => for_people(ls::ls(args)),
        Command::Show(args) => for_people(show::show(args)),
        Command::Why(args) => for_people(why::why(args)),
        Command::Logs(args) => for_people(logs::logs(args)),
        Command::Run(args) => for_people(enqueue::run(args)),
        Command::Retry(args) => for_people(retry::retry(args)),
        Command::Cancel(args) => for_people(cancel::cancel(args)),
        Command::Pause(args) => for_people(pause::pause(args)),
        Command::Resume(args) => for_people(pause::resume(args)),
        Command::Actions(args) => for_people(actions::actions(args)),
        Command::Import(args) => for_people(import::import(args)),
        Command::Migrate(args) => {
            telemetry::start(args.log.log_format, &args.log.log);
            for_people(migrate::migrate(args))
        }
        Command::Doctor(args) => for_people(doctor::doctor(args)),
        Command::Bench(args) => for_people(bench::bench(args)),
        Command::Completions { shell } => status_of(completions::completions(shell)),
    }
}

fn for_people(command: impl Future<Output = Result<Fate, Failure>>) -> ExitCode {
    on_runtime(async { status_of(Box::pin(command).await) })
}

fn status_of(ended: Result<Fate, Failure>) -> ExitCode {
    match ended {
        Ok(fate) => fate.into(),
        Err(failure) => failure.report(),
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
    let dashboard = match Dashboard::new(&config.dashboard, config.listen, &config.executor, &health) {
        Ok(dashboard) => dashboard,
        Err(error) => {
            error!(%error, "the dashboard cannot be served");
            return ExitCode::FAILURE;
        }
    };
    if let Some(address) = config.listen
        && let Err(error) = web::listen(address, health.clone(), dashboard).await
    {
        error!(%address, %error, hint = "give another address with --listen (PGBATCH_LISTEN)", "cannot listen");
        return ExitCode::FAILURE;
    }
    if let Some(endpoint) = &config.otlp_endpoint
        && let Err(error) = trace::begin(endpoint)
    {
        error!(%error, hint = "give another URL with --otlp-endpoint (PGBATCH_OTLP_ENDPOINT)", "cannot send traces");
        return ExitCode::FAILURE;
    }
    let ended = Box::pin(dispatch(&config, shutdown, &health)).await;
    trace::flush().await;
    match ended {
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
