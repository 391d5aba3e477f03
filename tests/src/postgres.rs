//! Real PostgreSQL servers for tests: a private copy of the installed one, with the extension in it.
//!
//! ```text
//! pg_config's PostgreSQL --copied once--> prefix + extension --initdb, once--> template --copied--> a server's data
//! ```
//!
//! A server lives in a folder of its own and listens on a Unix socket in it; several may run side by side. It ends with
//! its [`Server`], and at the latest with the test process, however that ends: see `watchdog.rs`.
//!
//! Environment: `PGBATCH_PG_CONFIG` (default `pg_config`), `PGBATCH_SO` (default `target/release/libpgbatch.so`),
//! `PGBATCH_KEEP=1` leaves the servers' folders behind, logs and data; `PGBATCH_TEST_SQL_ONLY=1` tests without the library.

mod database;
mod prefix;
mod sql_only;
mod standby;
mod upgrade;
mod watchdog;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub use database::{Database, Messages};
use prefix::Prefix;
pub use sql_only::is_sql_only;
use watchdog::Watchdog;
pub use watchdog::{SmallDisk, Stop};

use crate::command::run;
use crate::network::free_port;

/// The superuser of every server.
pub const SUPERUSER: &str = "postgres";
/// An ordinary role that owns the databases, and the extension in them.
pub const OWNER: &str = "owner";

const START_LIMIT: Duration = Duration::from_secs(60);

/// How to start a server.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where to listen for TCP, beside the Unix socket.
    pub listen: Option<Listen>,
    /// The network namespace to live in.
    pub netns: Option<String>,
    /// Further settings of the server.
    pub settings: Vec<(String, String)>,
    /// A disk of its own, which can be filled up; it gets no TCP address then.
    pub disk: Option<SmallDisk>,
}

/// A TCP address of a server.
#[derive(Debug, Clone)]
pub struct Listen {
    /// The address; every host that reaches it is let in.
    pub address: IpAddr,
    /// The port; none = a free one.
    pub port: Option<u16>,
    /// The password of [`OWNER`]; none = nobody needs one.
    pub password: Option<String>,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    watchdog: Watchdog,
    place: Place,
}

/// Where a server is: what its databases need of it.
#[derive(Debug, Clone)]
struct Place {
    dir: PathBuf,
    port: u16,
    listen: Option<Listen>,
}

static STARTED: AtomicU32 = AtomicU32::new(0);

impl Server {
    /// The server that tests share, each with a database of its own: started by the first who asks.
    ///
    /// # Errors
    /// As [`Server::start`], with the same words for all who ask.
    pub fn shared() -> io::Result<&'static Self> {
        static SHARED: OnceLock<Result<Server, String>> = OnceLock::new();
        SHARED
            .get_or_init(|| Self::start(&Options::default()).map_err(|e| e.to_string()))
            .as_ref()
            .map_err(|e| io::Error::other(e.clone()))
    }

    /// Starts a server.
    ///
    /// # Errors
    /// PostgreSQL or the extension's library is missing, or the server does not start: its log is in the message.
    pub fn start(options: &Options) -> io::Result<Self> {
        let prefix = Prefix::get()?;
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let dir = prefix.servers().join(format!("{}-{number}", std::process::id()));
        match options.disk {
            Some(_) => prefix.new_dir(&dir)?,
            None => prefix.new_data(&dir)?,
        }
        let server = Self::spawn(prefix, dir, options)?;
        server.await_start(prefix, 0)?;
        server.allow_tcp(prefix)?;
        Ok(server)
    }

    fn spawn(prefix: &Prefix, dir: PathBuf, options: &Options) -> io::Result<Self> {
        let place = Place { dir, port: port(options)?, listen: options.listen.clone() };
        Ok(Self { watchdog: Watchdog::spawn(prefix, &place, options)?, place })
    }

    /// Stops the server and waits for its end. Its data stays, for [`Server::restart`].
    ///
    /// # Errors
    /// Its watchdog is gone.
    pub fn stop(&mut self, how: Stop) -> io::Result<()> {
        self.watchdog.stop(how)
    }

    /// Starts it again, after [`Server::stop`] or when it ended by itself, and waits until it lets clients in.
    ///
    /// # Errors
    /// It does not start: what it said is in the message.
    pub fn restart(&mut self) -> io::Result<()> {
        let (prefix, began) = (Prefix::get()?, Instant::now());
        loop {
            let said_before = std::fs::metadata(self.log())?.len();
            self.watchdog.start()?;
            match self.await_start(prefix, usize::try_from(said_before).map_err(io::Error::other)?) {
                // Of one that was killed: the others of its processes end as soon as they notice, and hold its memory until then.
                Err(error) if error.to_string().contains(MEMORY_IN_USE) && began.elapsed() < START_LIMIT => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                ended => return ended,
            }
        }
    }

    /// Takes all room of its [`SmallDisk`], or gives it back.
    ///
    /// # Errors
    /// It has none.
    pub fn fill_disk(&self, full: bool) -> io::Result<()> {
        self.watchdog.fill_disk(&self.place.dir, full)
    }

    /// The folder of its programs: `psql`, `pg_dump`.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn programs() -> io::Result<&'static Path> {
        Prefix::get().map(|prefix| prefix.bin.as_path())
    }

    /// Where its log is.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.place.dir.join("log")
    }

    /// A new database of [`OWNER`], with the extension created by him.
    ///
    /// # Errors
    /// The server's.
    pub async fn database(&self) -> Result<Database, tokio_postgres::Error> {
        Database::with_extension(self.place.clone()).await
    }

    /// A new, empty database of [`OWNER`].
    ///
    /// # Errors
    /// The server's.
    pub async fn empty_database(&self) -> Result<Database, tokio_postgres::Error> {
        Database::empty(self.place.clone()).await
    }

    fn await_start(&self, prefix: &Prefix, said_before: usize) -> io::Result<()> {
        let started = Instant::now();
        loop {
            let ready = Command::new(prefix.bin.join("pg_isready"))
                .args(["--quiet", "--username", SUPERUSER, "--dbname", "postgres", "--host"])
                .arg(&self.place.dir)
                .args(["--port", &self.place.port.to_string()])
                .status()?;
            if ready.success() {
                return Ok(());
            }
            let said = self.said_since(said_before);
            if started.elapsed() > START_LIMIT || gave_up(&said) {
                return Err(io::Error::other(format!("the server did not start: {said}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What it has logged after so many bytes.
    fn said_since(&self, bytes: usize) -> String {
        let log = std::fs::read(self.log()).unwrap_or_default();
        String::from_utf8_lossy(log.get(bytes..).unwrap_or_default()).into_owned()
    }

    /// The template lets in only the Unix socket.
    fn allow_tcp(&self, prefix: &Prefix) -> io::Result<()> {
        let Some(listen) = &self.place.listen else { return Ok(()) };
        let method = if listen.password.is_some() { "scram-sha-256" } else { "trust" };
        let rule = format!("host all all all {method}");
        let file = self.place.dir.join("data/pg_hba.conf");
        run(prefix.command("sh").args(["-c", r#"echo "$1" >>"$2""#, "sh", &rule]).arg(file))?;
        self.psql(prefix, &["SELECT pg_reload_conf()"])?;
        if let Some(password) = &listen.password {
            let password = password.replace('\'', "''");
            self.psql(prefix, &[&format!("ALTER ROLE {OWNER} PASSWORD '{password}'")])?;
        }
        Ok(())
    }

    /// Runs statements as the superuser.
    fn psql(&self, prefix: &Prefix, statements: &[&str]) -> io::Result<()> {
        let mut psql = Command::new(prefix.bin.join("psql"));
        psql.args([
            "-X",
            "-q",
            "-o",
            "/dev/null",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            SUPERUSER,
            "-d",
            "postgres",
        ]);
        psql.arg("-h").arg(&self.place.dir).args(["-p", &self.place.port.to_string()]);
        run(psql.args(statements.iter().flat_map(|statement| ["-c", statement])))
    }
}

/// What a server says that comes too early after a killed one.
const MEMORY_IN_USE: &str = "pre-existing shared memory block";

/// Whether a server has said why it will not start. That it is not ready yet, said to whoever asks, is no such reason, nor
/// are the last words of the sessions of one that was killed.
fn gave_up(said: &str) -> bool {
    let is_reason =
        |line: &str| !line.contains("the database system is ") && !line.contains("terminating connection");
    said.lines().any(|line| line.contains("FATAL") && is_reason(line))
}

fn port(options: &Options) -> io::Result<u16> {
    match &options.listen {
        Some(Listen { port: Some(port), .. }) => Ok(*port),
        Some(Listen { address, .. }) => free_port(options.netns.as_deref(), *address),
        None => Ok(5432),
    }
}
