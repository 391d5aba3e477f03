//! A dashboard, served by a real dispatcher with local processes, of a database of its own.

use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use e2e::dispatcher::Dispatcher;
use e2e::http;
use e2e::network::free_port;
use e2e::postgres::{Listen, Options, SUPERUSER, Server};
use e2e::wait::until;
use e2e::world::World;
use tokio_postgres::Error;

pub(crate) const SOON: Duration = Duration::from_secs(30);

/// The world, the dispatcher that serves, and where.
pub(crate) struct Board {
    pub(crate) world: World,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) port: u16,
    /// The role that it logs in as.
    pub(crate) reader: String,
}

impl Board {
    /// One for this host, without a login.
    pub(crate) async fn new(test: &str) -> Result<Self, Box<dyn std::error::Error>> {
        Self::with(test, &[]).await
    }

    /// One with further flags.
    pub(crate) async fn with(test: &str, flags: &[&str]) -> Result<Self, Box<dyn std::error::Error>> {
        let world = World::on(&format!("dashboard_{test}"), server()?).await?;
        let reader = reader(&world).await?;
        let port = free_port(None, [127, 0, 0, 1].into())?;
        let own = flags_of(&world, &reader, port);
        let flags: Vec<&str> = own.iter().map(String::as_str).chain(flags.iter().copied()).collect();
        let dispatcher = world.dispatcher(&flags)?;
        let board = Self { world, dispatcher, port, reader };
        until("the dispatcher to lead", SOON, async || {
            http::get(port, "/readyz", &[]).ok().filter(|answer| answer.body.contains("leading"))
        })
        .await;
        Ok(board)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn get(&self, path: &str) -> io::Result<http::Answer> {
        http::get(self.port, path, &[])
    }

    pub(crate) async fn run(&self, sql: &str) -> Result<(), Error> {
        self.world.client.batch_execute(sql).await
    }

    pub(crate) async fn number(&self, sql: &str) -> Result<i64, Error> {
        Ok(self.world.client.query_one(sql, &[]).await?.get(0))
    }

    pub(crate) async fn until_state(&self, batch: i64, state: &str) {
        let sql = "SELECT true FROM pgbatch.batches WHERE id = $1 AND state = $2";
        until(&format!("batch {batch} to be {state}"), SOON, async || {
            self.world.client.query_opt(sql, &[&batch, &state]).await.ok().flatten()
        })
        .await;
    }
}

/// A server that is reached by an address, as people have it: pictures of pages show it.
fn server() -> io::Result<&'static Server> {
    static SHARED: OnceLock<Result<Server, String>> = OnceLock::new();
    let listen = Some(Listen { address: [127, 0, 0, 1].into(), port: None, password: None });
    let start =
        || Server::start(&Options { listen, ..Options::default() }).map_err(|error| error.to_string());
    SHARED.get_or_init(start).as_ref().map_err(|error| io::Error::other(error.clone()))
}

/// Where it is served, and how it logs in.
pub(crate) fn flags_of(world: &World, reader: &str, port: u16) -> [String; 2] {
    let url = world.database.tcp_url(reader).unwrap_or_default();
    [format!("--listen=127.0.0.1:{port}"), format!("--dashboard-database-url={url}?sslmode=disable")]
}

/// A role that may read, and nothing more.
pub(crate) async fn reader(world: &World) -> Result<String, Error> {
    let reader = format!("reader_{}", world.database.name);
    let superuser = world.database.connect_as(SUPERUSER).await?;
    superuser.batch_execute(&format!("CREATE ROLE {reader} LOGIN")).await?;
    world.client.batch_execute(&format!("SELECT pgbatch.grant('*', '{reader}', 'read')")).await?;
    Ok(reader)
}
