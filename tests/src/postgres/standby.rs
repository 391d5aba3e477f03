//! Streaming standbys.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::prefix::Prefix;
use super::{Database, Options, START_LIMIT, STARTED, SUPERUSER, Server};
use crate::command::run;

/// What a standby calls itself.
const STANDBY: &str = "standby";

impl Server {
    /// Starts a standby of this server. From its return on, no commit of this server is acknowledged that the standby
    /// does not have.
    ///
    /// # Errors
    /// As [`Server::start`], or the standby does not get connected.
    pub fn standby(&self, options: &Options) -> io::Result<Self> {
        let prefix = Prefix::get()?;
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let dir = prefix.servers().join(format!("{}-{number}", std::process::id()));
        prefix.new_dir(&dir)?;
        let primary = format!(
            "host={} port={} user={SUPERUSER} application_name={STANDBY}",
            self.place.dir.display(),
            self.place.port
        );
        // -R writes down that it is a standby, and whose.
        let mut copy = prefix.command(prefix.bin.join("pg_basebackup"));
        run(copy.args(["-d", &primary, "-R", "-X", "stream", "-c", "fast", "-D"]).arg(dir.join("data")))?;
        let standby = Self::spawn(prefix, dir, options)?;
        standby.await_start(prefix, 0)?;
        let wait_for = format!("ALTER SYSTEM SET synchronous_standby_names = '{STANDBY}'");
        self.psql(prefix, &[&wait_for, "SELECT pg_reload_conf()"])?;
        self.await_synchronous(prefix)?;
        Ok(standby)
    }

    fn await_synchronous(&self, prefix: &Prefix) -> io::Result<()> {
        let started = Instant::now();
        // A division by zero for as long as there is none.
        let sql = "SELECT 1 / count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        while let Err(error) = self.psql(prefix, &[sql]) {
            if started.elapsed() > START_LIMIT {
                return Err(error);
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Ok(())
    }

    /// Makes a standby take over, and waits until it has.
    ///
    /// # Errors
    /// It is none.
    pub fn promote(&self) -> io::Result<()> {
        self.psql(Prefix::get()?, &["SELECT pg_promote()"])
    }

    /// A database of this server that was made through another one: the primary that it took over from.
    #[must_use]
    pub fn existing_database(&self, name: &str) -> Database {
        Database { name: name.to_owned(), place: self.place.clone() }
    }
}
