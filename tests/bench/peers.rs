//! The other queues in PostgreSQL, as `peers/install.sh` gets them.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use e2e::postgres::{Database, SUPERUSER, Server};

use crate::rig::{Failed, connect, output, payload};

/// Another queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    /// The folder below `target/bench/peers`.
    pub(crate) name: &'static str,
    /// What is to be said of it beside its name.
    variant: &'static str,
    /// The file that psql makes its schema from, where it is not made by a program.
    schema: &'static str,
    /// What a user does once, after the schema is there.
    prepare: &'static str,
    /// The channels that its workers listen on.
    pub(crate) channels: &'static [&'static str],
}

const PLAIN: Peer = Peer { name: "", variant: "", schema: "install.sql", prepare: "SELECT 1", channels: &[] };

pub(crate) const PGMQ: Peer = Peer { name: "pgmq", prepare: "SELECT pgmq.create('bench')", ..PLAIN };

pub(crate) const GRAPHILE: Peer = Peer { name: "graphile-worker", channels: &["jobs:insert"], ..PLAIN };

const PGQ: Peer =
    Peer { name: "pgq", variant: " (its C library)", prepare: "SELECT pgq.create_queue('bench')", ..PLAIN };

/// Every peer whose enqueueing is one SQL statement.
pub(crate) const PEERS: [Peer; 7] = [
    PGMQ,
    GRAPHILE,
    Peer { name: "procrastinate", channels: &["procrastinate_any_queue_v1"], ..PLAIN },
    PGQ,
    Peer { variant: " (PL/pgSQL)", schema: "install-plpgsql.sql", ..PGQ },
    Peer { name: "river", channels: &["public.river_insert"], ..PLAIN },
    Peer { name: "awa", ..PLAIN },
];

impl Peer {
    /// Its folder, or why it is not there.
    pub(crate) fn dir(&self) -> Result<PathBuf, String> {
        let dir = output().join("peers").join(self.name);
        if dir.join("version").exists() {
            return Ok(dir);
        }
        let why = std::fs::read_to_string(dir.join("missing")).unwrap_or_else(|_| "not installed".to_owned());
        Err(format!("{}: {}", self.name, why.trim()))
    }

    /// Its name with its version.
    pub(crate) fn title(&self) -> String {
        let version = std::fs::read_to_string(output().join("peers").join(self.name).join("version"));
        format!("{} {}{}", self.name, version.unwrap_or_default().trim(), self.variant)
    }

    /// What enqueues one item: a statement in which `:n` is a number.
    pub(crate) fn enqueue(&self) -> String {
        let item = payload(":n::int");
        match self.name {
            "pgmq" => format!("SELECT pgmq.send('bench', {item})"),
            "graphile-worker" => format!("SELECT graphile_worker.add_job('bench', {item}::json)"),
            "procrastinate" => format!(
                "SELECT unnest(procrastinate_defer_jobs_v1(ARRAY[ROW('bench', 'bench', 0, NULL, NULL, {item}, \
                 NULL)::procrastinate_job_to_defer_v1]))"
            ),
            "pgq" => format!("SELECT pgq.insert_event('bench', 'item', ({item})::text)"),
            // What its client sends for one job, and the notification that it adds at most once in 100 ms is left out: in
            // its favour.
            "river" => format!(
                "INSERT INTO river_job (args, kind, max_attempts, metadata, priority, queue, scheduled_at, state, tags) \
                 VALUES ({item}, 'bench', 25, '{{}}', 1, 'default', now(), 'available', '{{}}') RETURNING *"
            ),
            _ => format!(
                "SELECT id FROM awa.insert_job_compat('bench', 'default', {item}, 'available'::awa.job_state, 2::smallint, \
                 25::smallint, now(), '{{}}', '{{}}'::text[], NULL, NULL::bit(8), NULL::bytea)"
            ),
        }
    }

    /// Makes its schema in an empty database.
    pub(crate) async fn install(&self, server: &Server) -> Result<Database, Failed> {
        let dir = self.dir()?;
        let database = server.empty_database().await?;
        let program = dir.join("install");
        let mut command = Command::new(&program);
        if program.exists() {
            command.arg(database.url(SUPERUSER));
        } else {
            let (socket, port) = database.socket();
            command = Command::new(Server::programs()?.join("psql"));
            command.args(["-X", "-q", "-o", "/dev/null", "-v", "ON_ERROR_STOP=1", "-U", SUPERUSER, "-h"]);
            command.arg(socket).args(["-p", &port.to_string(), "-d", &database.name, "-f"]);
            command.arg(dir.join(self.schema));
        }
        let output = command.stdin(Stdio::null()).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let why = said.lines().find(|line| line.contains("ERROR")).unwrap_or(said.trim()).to_owned();
            return Err(format!("{}: its schema could not be made: {why}", self.name).into());
        }
        connect(&database).await?.batch_execute(self.prepare).await?;
        Ok(database)
    }
}
