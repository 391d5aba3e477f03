//! pgbench: one client program for all sides.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::postgres::{Database, SUPERUSER, Server};

use crate::rig::{Failed, output};

/// Until when pgbench goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    Time(Duration),
    /// So many transactions of each client.
    Transactions(u32),
}

/// What it counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counted {
    pub(crate) per_second: f64,
    pub(crate) transactions: f64,
}

/// Writes a script of one statement, in which `:n` is a number, a new one each time.
pub(crate) fn script(name: &str, statement: &str) -> Result<PathBuf, Failed> {
    let dir = output().join("scripts");
    std::fs::create_dir_all(&dir)?;
    let file = dir.join(format!("{}.sql", name.replace(|c: char| !c.is_ascii_alphanumeric(), "-")));
    std::fs::write(&file, format!("\\set n random(1, 1000000)\n{statement};\n"))?;
    Ok(file)
}

/// Runs a script from so many clients, each a transaction at a time, prepared.
pub(crate) fn run(
    database: &Database,
    file: &PathBuf,
    clients: usize,
    until: Until,
) -> Result<Counted, Failed> {
    let (socket, port) = database.socket();
    let mut command = Command::new(Server::programs()?.join("pgbench"));
    command.args(["-n", "-M", "prepared", "-j", "2", "-U", SUPERUSER, "-h"]).arg(socket);
    command.args(["-p", &port.to_string(), "-c", &clients.to_string(), "-f"]).arg(file);
    match until {
        Until::Time(time) => command.args(["-T", &time.as_secs().to_string()]),
        Until::Transactions(number) => command.args(["-t", &number.to_string()]),
    };
    let output = command.arg(&database.name).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let counted = number(&said, "tps = ").zip(number(&said, "actually processed: "));
    match counted {
        // A client that stopped because of an error is a side with fewer clients.
        Some((per_second, transactions)) if output.status.success() => {
            Ok(Counted { per_second, transactions })
        }
        _ => Err(format!("{command:?}: {said}{}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

fn number(said: &str, after: &str) -> Option<f64> {
    let rest = said.split(after).nth(1)?;
    rest.split(|c: char| !c.is_ascii_digit() && c != '.').next()?.parse().ok()
}
