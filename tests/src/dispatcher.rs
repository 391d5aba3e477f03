//! The dispatcher under test: the released binary as a process of its own.

use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::network::command_in;
use crate::repository;

/// Settings of a dispatcher; start as many as the test likes.
#[derive(Debug, Clone)]
pub struct Options {
    /// Connection URL.
    pub database_url: String,
    /// Flags after `dispatch`.
    pub flags: Vec<String>,
    /// Environment.
    pub env: Vec<(String, String)>,
    /// Where the logs go.
    pub log_dir: PathBuf,
    /// The network namespace that it and its local processes live in; none = the tests' own.
    pub netns: Option<String>,
}

/// A running dispatcher; ends (SIGKILL) when it is dropped.
#[derive(Debug)]
pub struct Dispatcher {
    child: Child,
    /// Its log.
    pub log: PathBuf,
}

static STARTED: AtomicU32 = AtomicU32::new(0);

impl Dispatcher {
    /// The program under test.
    #[must_use]
    pub fn binary() -> PathBuf {
        std::env::var_os("PGBATCH_BIN")
            .map_or_else(|| repository().join("target/release/pgbatch"), PathBuf::from)
    }

    /// Starts one.
    ///
    /// # Errors
    /// The binary or the log cannot be opened.
    pub fn start(options: &Options) -> io::Result<Self> {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let log = options.log_dir.join(format!("dispatcher-{number}.log"));
        let child = command_in(options.netns.as_deref(), Self::binary())
            .arg("dispatch")
            .args(&options.flags)
            .env("PGBATCH_DATABASE_URL", &options.database_url)
            .env("PGBATCH_LOG", "debug")
            .envs(options.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()?;
        Ok(Self { child, log })
    }

    /// The number of its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, in the middle of whatever it does.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }

    /// SIGTERM, and waits for its end.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn terminate(&mut self) -> io::Result<ExitStatus> {
        self.signal(libc::SIGTERM)?;
        self.child.wait()
    }

    /// SIGSTOP: it does nothing any more, and knows nothing of it, until [`Dispatcher::thaw`].
    ///
    /// # Errors
    /// None that is known.
    pub fn freeze(&self) -> io::Result<()> {
        self.signal(libc::SIGSTOP)
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// None that is known.
    pub fn thaw(&self) -> io::Result<()> {
        self.signal(libc::SIGCONT)
    }

    #[expect(unsafe_code, reason = "std sends no other signal than SIGKILL")]
    fn signal(&self, signal: i32) -> io::Result<()> {
        // SAFETY: to a child that has not been waited for, so the number is still its own.
        unsafe { libc::kill(i32::try_from(self.child.id()).map_err(io::Error::other)?, signal) };
        Ok(())
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// It cannot be asked.
    pub fn is_running(&mut self) -> io::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Where one that was told `--listen=127.0.0.1:0` serves its pages.
    ///
    /// # Errors
    /// It does not yet, or the log cannot be read.
    pub fn port(&self) -> io::Result<u16> {
        let log = self.logged()?;
        let address = log.split("and /metrics address=127.0.0.1:").nth(1);
        let port = address.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        port.ok_or_else(|| io::Error::other("it does not listen"))
    }

    /// What it logged so far.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn logged(&self) -> io::Result<String> {
        std::fs::read_to_string(&self.log)
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        if let Ok(status) = self.kill()
            && status.core_dumped()
        {
            eprintln!("the dispatcher dumped core; its log is {}", self.log.display());
        }
        if std::thread::panicking() {
            show_tail(&self.log);
        }
    }
}

/// The end of a log, for a test that failed.
fn show_tail(log: &Path) {
    let Ok(text) = std::fs::read_to_string(log) else { return };
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(40);
    eprintln!("--- the end of {}\n{}", log.display(), lines[from..].join("\n"));
}
