//! Real PostgreSQL servers for tests: a private copy of the installed one, with the extension in it.
//!
//! ```text
//! pg_config's PostgreSQL --copied once--> prefix + extension --initdb, once--> template --copied--> a server's data
//! ```
//!
//! A server lives in a folder of its own and listens on a Unix socket in it; several may run side by side. It ends with
//! its [`Server`], and at the latest with the test process, however that ends: it is the child of a small shell that
//! reads a pipe from us, and the end of the pipe is the end of the server and of its folder.
//!
//! Environment: `PGBATCH_PG_CONFIG` (default `pg_config`), `PGBATCH_SO` (default `target/release/libpgbatch.so`),
//! `PGBATCH_KEEP=1` leaves the servers' folders behind, logs and data.

mod database;
mod prefix;

use std::io;
use std::net::{IpAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub use database::{Database, Messages};
use prefix::Prefix;

use crate::command::run;

/// The superuser of every server.
pub const SUPERUSER: &str = "postgres";
/// An ordinary role that owns the databases, and the extension in them.
pub const OWNER: &str = "owner";

const START_LIMIT: Duration = Duration::from_secs(60);

/// Starts the server, waits for the end of standard input, and stops it in the way of a power cut.
const WATCHDOG: &str = r#"
    dir=$1; shift
    "$@" >"$dir/log" 2>&1 </dev/null &
    server=$!
    cat >/dev/null
    kill -QUIT "$server"
    wait "$server"
    [ "${PGBATCH_KEEP:-}" = 1 ] || rm -rf "$dir"
"#;

/// How to start a server.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where to listen for TCP, beside the Unix socket.
    pub listen: Option<Listen>,
    /// The network namespace to live in.
    pub netns: Option<String>,
    /// Further settings of the server.
    pub settings: Vec<(String, String)>,
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
    watchdog: Child,
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
        prefix.new_data(&dir)?;
        let place = Place { dir, port: port(options)?, listen: options.listen.clone() };
        let mut server = Self { watchdog: spawn(prefix, &place, options)?, place };
        server.await_start(prefix)?;
        server.allow_tcp(prefix)?;
        Ok(server)
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

    fn await_start(&mut self, prefix: &Prefix) -> io::Result<()> {
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
            if started.elapsed() > START_LIMIT || self.gave_up() {
                return Err(io::Error::other(format!(
                    "the server did not start: {}",
                    std::fs::read_to_string(self.log())?
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether the server has said why it will not start. That it is not ready yet, said to our own question, is no
    /// such reason.
    fn gave_up(&self) -> bool {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        log.lines().any(|line| line.contains("FATAL") && !line.contains("the database system is starting up"))
    }

    /// The template lets in only the Unix socket.
    fn allow_tcp(&self, prefix: &Prefix) -> io::Result<()> {
        let Some(listen) = &self.place.listen else { return Ok(()) };
        let method = if listen.password.is_some() { "scram-sha-256" } else { "trust" };
        let rule = format!("host all all all {method}");
        let file = self.place.dir.join("data/pg_hba.conf");
        run(prefix.command("sh").args(["-c", r#"echo "$1" >>"$2""#, "sh", &rule]).arg(file))?;
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
            "-h",
        ])
        .arg(&self.place.dir)
        .args(["-p", &self.place.port.to_string(), "-c", "SELECT pg_reload_conf()"]);
        if let Some(password) = &listen.password {
            psql.args(["-c", &format!("ALTER ROLE {OWNER} PASSWORD '{}'", password.replace('\'', "''"))]);
        }
        run(&mut psql)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        // Nothing can be done about a watchdog that cannot be waited for.
        let _ = self.watchdog.wait();
    }
}

fn port(options: &Options) -> io::Result<u16> {
    match &options.listen {
        Some(Listen { port: Some(port), .. }) => Ok(*port),
        // Ports of another network namespace are not ours to look at, and usually all free.
        Some(Listen { address, .. }) if options.netns.is_none() => {
            Ok(TcpListener::bind((*address, 0))?.local_addr()?.port())
        }
        _ => Ok(5432),
    }
}

fn spawn(prefix: &Prefix, place: &Place, options: &Options) -> io::Result<Child> {
    let address = place.listen.as_ref().map_or_else(String::new, |l| l.address.to_string());
    let mut server = prefix.command_in(options.netns.as_deref(), "sh");
    server.args(["-c", WATCHDOG, "watchdog"]).arg(&place.dir).arg(prefix.bin.join("postgres"));
    server.arg("-D").arg(place.dir.join("data")).arg("-k").arg(&place.dir);
    server.args(["-p", &place.port.to_string()]);
    let fixed = [("listen_addresses", address.as_str()), ("fsync", "off"), ("max_connections", "200")];
    let settings = options.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in fixed.into_iter().chain(settings) {
        server.args(["-c", &format!("{name}={value}")]);
    }
    // A group of its own: Ctrl-C ends the tests, and their end ends the server.
    server.process_group(0);
    server.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}
