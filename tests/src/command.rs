//! Running other programs.

use std::io;
use std::process::{Command, Stdio};

/// Runs a command to its end.
///
/// # Errors
/// It cannot be started, or failed: what it said is in the error.
pub(crate) fn run(command: &mut Command) -> io::Result<()> {
    output(command).map(drop)
}

/// The same; returns what it printed.
///
/// # Errors
/// As [`run`].
pub(crate) fn output(command: &mut Command) -> io::Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(io::Error::other(format!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&said))))
}
