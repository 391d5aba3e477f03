//! `pgbatch`: one program for the dispatcher, for the Jobs of SQL queues, and for people.

use std::process::ExitCode;

use clap::Parser;
use pgbatch_dispatcher::cli::{Cli, run};

fn main() -> ExitCode {
    run(Cli::parse())
}
