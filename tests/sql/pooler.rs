//! A pooler in transaction mode between clients and server: each transaction may be of another client's session. Run by
//! PgBouncer, which `tests/pgbouncer/install.sh` brings.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};

use e2e::postgres::{Database, OWNER, Options, Server};
use e2e::repository;
use e2e::wait::until;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::support::{Bell, LIMIT, Tested, until_waiting, value};

/// A running PgBouncer; ends with the value.
struct Pooler {
    process: Child,
    port: u16,
}

impl Pooler {
    /// With so many sessions of the server.
    fn start(database: &Database, sessions: u32) -> Tested<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let (socket, server_port) = database.socket();
        let file = socket.join(format!("pgbouncer-{port}.ini"));
        let name = &database.name;
        // It refuses to be root.
        let user = if std::fs::metadata("/proc/self")?.uid() == 0 { "user = postgres\n" } else { "" };
        std::fs::write(
            &file,
            format!(
                "[databases]\n{name} = host={} port={server_port} user={OWNER}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
                 listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n\
                 default_pool_size = {sessions}\n{user}",
                socket.display()
            ),
        )?;
        let program = repository().join("target/pgbouncer/run");
        let process = Command::new(&program).arg("-q").arg(&file).stderr(Stdio::null()).spawn();
        let process =
            process.map_err(|e| format!("{}: {e}; tests/pgbouncer/install.sh", program.display()))?;
        Ok(Self { process, port })
    }

    async fn connect(&self, database: &Database) -> Client {
        let url = format!("host=127.0.0.1 port={} user={OWNER} dbname={}", self.port, database.name);
        until("PgBouncer", LIMIT, async || {
            let (client, connection) = tokio_postgres::connect(&url, NoTls).await.ok()?;
            tokio::spawn(connection);
            Some(client)
        })
        .await
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _gone_already = self.process.kill();
        let _status = self.process.wait();
    }
}

/// A server of its own, as databases share places of the bell.
async fn alone() -> Tested<(Server, Database, Client)> {
    let server = Server::start(&Options::default())?;
    let database = server.database().await?;
    let direct = database.connect().await?;
    direct.batch_execute("SELECT pgbatch.create_queue('q', sql => 'SELECT 1')").await?;
    Ok((server, database, direct))
}

/// Which session of the server a client's transaction has.
async fn session(client: &Client) -> Tested<String> {
    let messages = client.simple_query("SELECT pg_backend_pid()").await?;
    let row =
        messages.iter().find_map(|m| if let SimpleQueryMessage::Row(row) = m { row.get(0) } else { None });
    Ok(row.ok_or("no row")?.to_owned())
}

#[tokio::test]
async fn a_session_that_clients_share_rings_for_the_commits_and_not_for_those_before() -> Tested {
    let (_server, database, direct) = alone().await?;
    let pooler = Pooler::start(&database, 1)?;
    let (first, second) = (pooler.connect(&database).await, pooler.connect(&database).await);
    assert_eq!(session(&first).await?, session(&second).await?, "one session for both");
    let mut bell = Bell::of(&database).await?;
    let before = bell.rings().await?;
    first.batch_execute("BEGIN; SELECT pgbatch.enqueue('q'); ROLLBACK").await?;
    second.batch_execute("BEGIN; SELECT 1; COMMIT").await?;
    assert_eq!(bell.rings().await?, before, "what another client has taken back");
    first.batch_execute("BEGIN; SELECT pgbatch.enqueue('q'); COMMIT").await?;
    second.batch_execute("BEGIN; SELECT 1; COMMIT").await?;
    assert_eq!(bell.rings().await?, before + 1);
    first.batch_execute("BEGIN; SELECT pgbatch.enqueue('q')").await?;
    drop(first);
    // It gets the session, or a new one, when the transaction of who has gone is over.
    second.batch_execute("BEGIN; SELECT pgbatch.enqueue('q'); COMMIT").await?;
    assert_eq!(bell.rings().await?, before + 2);
    assert_eq!(value::<i64>(&direct, "SELECT count(*) FROM pgbatch.batches").await?, 2);
    Ok(())
}

#[tokio::test]
async fn a_sleeper_behind_a_pooler_wakes() -> Tested {
    let (_server, database, direct) = alone().await?;
    let pooler = Pooler::start(&database, 2)?;
    let (sleeper, client) = (pooler.connect(&database).await, pooler.connect(&database).await);
    let now: i64 = value(&direct, "SELECT pgbatch.doorbell_seq()").await?;
    let sleeping =
        tokio::spawn(async move { sleeper.batch_execute(&format!("CALL pgbatch.wait({now})")).await });
    until_waiting(&direct, "Extension").await;
    client.batch_execute("SELECT pgbatch.enqueue('q')").await?;
    tokio::time::timeout(LIMIT, sleeping).await???;
    Ok(())
}
