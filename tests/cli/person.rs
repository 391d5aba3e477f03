//! Somebody at a shell, whose `PG*` variables say where the database is.

use std::io;
use std::process::{Command, Stdio};

use e2e::dispatcher::Dispatcher;
use e2e::postgres::OWNER;
use e2e::world::World;

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    /// Its exit status.
    pub(crate) status: i32,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

/// The variables that say where the world's database is.
pub(crate) fn variables(world: &World) -> Vec<(String, String)> {
    let (socket, port) = world.database.socket();
    [
        ("PGHOST", socket.display().to_string()),
        ("PGPORT", port.to_string()),
        ("PGDATABASE", world.database.name.clone()),
        ("PGUSER", OWNER.to_owned()),
        // No cluster of the machine's own is asked for logs.
        ("KUBECONFIG", "/nonexistent".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// `pgbatch` with these arguments and nothing else that says where the database is.
pub(crate) fn pgbatch(variables: &[(String, String)], arguments: &[&str]) -> Command {
    let mut command = Command::new(Dispatcher::binary());
    let inherited = std::env::vars_os().filter(|(name, _)| {
        let name = name.to_string_lossy();
        !name.starts_with("PG") && name != "NO_COLOR" && name != "KUBECONFIG"
    });
    command.env_clear().envs(inherited).envs(variables.iter().cloned()).args(arguments);
    command
}

/// Runs it with pipes, to its end.
pub(crate) fn run(mut command: Command) -> io::Result<Said> {
    let output = command.stdin(Stdio::null()).output()?;
    Ok(Said {
        status: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs `pgbatch` in a world, with pipes.
pub(crate) fn say(world: &World, arguments: &[&str]) -> io::Result<Said> {
    run(pgbatch(&variables(world), arguments))
}

/// What it printed; it must have succeeded, and complained of nothing.
pub(crate) fn ask(world: &World, arguments: &[&str]) -> io::Result<String> {
    let said = say(world, arguments)?;
    if said.status == 0 && said.err.is_empty() {
        Ok(said.out)
    } else {
        Err(io::Error::other(format!("{said:?}")))
    }
}

/// The text with each duration (`12s`, `3m04s`, `850ms`) as `~`: for what was just now, and never takes as long twice.
pub(crate) fn without_durations(text: &str) -> String {
    let is_duration = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_digit())
            && word.ends_with(['s', 'm', 'h'])
            && word.chars().all(|c| c.is_ascii_digit() || "dhms".contains(c))
    };
    let mut told = String::new();
    for piece in text.split_inclusive([' ', '\n', ';', ',', '(']) {
        let end =
            piece.len() - piece.chars().last().filter(|c| " \n;,(".contains(*c)).map_or(0, char::len_utf8);
        let (word, separator) = piece.split_at(end);
        told += if is_duration(word) { "~" } else { word };
        told += separator;
    }
    told
}
