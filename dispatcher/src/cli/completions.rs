//! `pgbatch completions SHELL`: a script that completes commands and flags.

use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;
use super::failure::{Failure, Fate};
use super::output::Output;
use crate::config::OutputFormat;

pub(super) fn completions(shell: Shell) -> Result<Fate, Failure> {
    let mut script = vec![];
    clap_complete::generate(shell, &mut Cli::command(), "pgbatch", &mut script);
    Output::new(OutputFormat::Table).write(&String::from_utf8_lossy(&script))?;
    Ok(Fate::Fine)
}
