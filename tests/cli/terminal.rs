//! A real terminal: a shell inside tmux, with a size of one's choice, whose picture can be read.

use std::io;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use e2e::dispatcher::Dispatcher;
use e2e::wait::until;
use e2e::world::World;

use crate::{SOON, person};

static OPENED: AtomicU32 = AtomicU32::new(0);

/// A terminal; it ends with its value.
pub(crate) struct Terminal {
    socket: PathBuf,
}

impl Terminal {
    /// Opens one, with a shell in it that finds the database of `world` and calls the program under test `pgbatch`.
    pub(crate) async fn open(world: &World, columns: u16, lines: u16) -> io::Result<Self> {
        let number = OPENED.fetch_add(1, Ordering::Relaxed);
        // Not in the world's folder: a socket's path must be short.
        let socket = std::env::temp_dir().join(format!("pgbatch-tmux-{}-{number}", std::process::id()));
        let terminal = Self { socket };
        let folder = Dispatcher::binary().parent().map(|dir| dir.display().to_string()).unwrap_or_default();
        let path = format!("{folder}:{}", std::env::var("PATH").unwrap_or_default());
        let mut variables = person::variables(world);
        variables.push(("PATH".to_owned(), path));
        variables.push(("PS1".to_owned(), "$ ".to_owned()));
        let mut tmux = terminal.tmux();
        tmux.args(["start-server", ";", "set", "-g", "status", "off", ";", "new-session", "-d"]);
        tmux.args(["-x", &columns.to_string(), "-y", &lines.to_string()]);
        tmux.arg("env").args(variables.iter().map(|(name, value)| format!("{name}={value}"))).arg("sh");
        told(tmux)?;
        // What is typed before the shell is ready would show above its prompt.
        terminal.until(&["$"]).await;
        Ok(terminal)
    }

    fn tmux(&self) -> Command {
        let mut tmux = Command::new("tmux");
        // A server of its own, whatever the machine's user has set up; and it speaks UTF-8.
        tmux.args(["-u", "-f", "/dev/null", "-S"]).arg(&self.socket).stdin(Stdio::null());
        for name in ["TMUX", "ENV", "NO_COLOR", "PGBATCH_DATABASE_URL"] {
            tmux.env_remove(name);
        }
        tmux
    }

    /// Types a line and Enter.
    pub(crate) fn type_line(&self, line: &str) -> io::Result<()> {
        told(with(self.tmux(), &["send-keys", "-l", line]))?;
        self.press("Enter")
    }

    /// Presses a key, as tmux calls it.
    pub(crate) fn press(&self, key: &str) -> io::Result<()> {
        told(with(self.tmux(), &["send-keys", key])).map(drop)
    }

    /// Makes it as wide and high as that.
    pub(crate) fn resize(&self, columns: u16, lines: u16) -> io::Result<()> {
        let size = ["resize-window", "-x", &columns.to_string(), "-y", &lines.to_string()];
        told(with(self.tmux(), &size)).map(drop)
    }

    /// What it shows, without the empty lines at its end.
    pub(crate) fn picture(&self) -> io::Result<String> {
        Ok(told(with(self.tmux(), &["capture-pane", "-p"]))?.trim_end().to_owned())
    }

    /// What it shows, with its colours.
    pub(crate) fn coloured_picture(&self) -> io::Result<String> {
        told(with(self.tmux(), &["capture-pane", "-p", "-e"]))
    }

    /// Waits until it shows all of this, and returns the picture.
    pub(crate) async fn until(&self, parts: &[&str]) -> String {
        until(&format!("a terminal to show {parts:?}"), SOON, async || {
            self.picture().ok().filter(|picture| parts.iter().all(|part| picture.contains(part)))
        })
        .await
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the terminal\n{}", self.picture().unwrap_or_default());
        }
        let _ = told(with(self.tmux(), &["kill-server"]));
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn with(mut command: Command, arguments: &[&str]) -> Command {
    command.args(arguments);
    command
}

fn told(mut command: Command) -> io::Result<String> {
    let Output { status, stdout, stderr } = command
        .output()
        .map_err(|e| io::Error::new(e.kind(), format!("tmux: {e}; tests/cli/install.sh installs it")))?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    Err(io::Error::other(format!("{command:?}: {}", String::from_utf8_lossy(&stderr))))
}
