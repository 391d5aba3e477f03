//! What tests of Spring Batch need to kill a run between two of its chunks.

use std::io;
use std::process::Command;

use tokio_postgres::Client;

use crate::postgres::Database;

/// A row that nobody can insert before the gate opens: who tries waits, in the middle of a chunk.
pub struct Gate {
    keeper: Client,
}

impl Gate {
    /// Shuts it for the rows of a table of which the condition, over `NEW`, is true. Each of a database has another number.
    ///
    /// # Errors
    /// The server's.
    pub async fn shut(
        database: &Database,
        table: &str,
        row: &str,
        number: i32,
    ) -> Result<Self, tokio_postgres::Error> {
        let keeper = database.connect().await?;
        let sql = format!(
            "SELECT pg_advisory_lock({number});
             CREATE FUNCTION wait_at_gate_{number}() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN PERFORM pg_advisory_xact_lock_shared({number}); RETURN NEW; END';
             CREATE TRIGGER gate_{number} BEFORE INSERT ON {table} FOR EACH ROW WHEN ({row})
                 EXECUTE FUNCTION wait_at_gate_{number}()"
        );
        keeper.batch_execute(&sql).await?;
        Ok(Self { keeper })
    }

    /// Opens it. The transaction that a killed run has left open at it ends with a rollback, as nobody reads its answers.
    ///
    /// # Errors
    /// The server's.
    pub async fn open(self) -> Result<(), tokio_postgres::Error> {
        self.keeper.batch_execute("SELECT pg_advisory_unlock_all()").await
    }
}

/// SIGKILL to the process of a run, local or in a pod: the one that has the run's token.
///
/// # Errors
/// There is none.
pub fn kill_run(token: &str) -> io::Result<()> {
    let variable = format!("PGBATCH_RUN_TOKEN={token}");
    let mut killed = 0;
    for process in std::fs::read_dir("/proc")?.flatten() {
        let environ = std::fs::read(process.path().join("environ")).unwrap_or_default();
        if environ.split(|&byte| byte == 0).any(|entry| entry == variable.as_bytes()) {
            let id = process.file_name().to_string_lossy().into_owned();
            killed += i32::from(Command::new("kill").args(["-KILL", &id]).status()?.success());
        }
    }
    if killed == 0 { Err(io::Error::other("no process has the run's token")) } else { Ok(()) }
}
