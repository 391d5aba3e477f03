//! A database of a test's own.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client, Config, Error, NoTls};

use super::sql_only::{is_sql_only, sql_only_script};
use super::{OWNER, Place, SUPERUSER};

/// Notices and notifications of a connection, in the order of their arrival.
pub type Messages = mpsc::UnboundedReceiver<AsyncMessage>;

/// A database. It stays until its server ends.
#[derive(Debug, Clone)]
pub struct Database {
    /// Its name.
    pub name: String,
    pub(super) place: Place,
}

impl Database {
    pub(super) async fn empty(place: Place) -> Result<Self, Error> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", MADE.fetch_add(1, Ordering::Relaxed));
        let postgres = Self { name: "postgres".to_owned(), place: place.clone() };
        let superuser = postgres.connect_as(SUPERUSER).await?;
        superuser.batch_execute(&format!("CREATE DATABASE {name} OWNER {OWNER}")).await?;
        Ok(Self { name, place })
    }

    pub(super) async fn with_extension(place: Place) -> Result<Self, Error> {
        let database = Self::empty(place).await?;
        match is_sql_only() {
            true => database.install_sql_only().await?,
            false => database.connect().await?.batch_execute("CREATE EXTENSION pgbatch").await?,
        }
        Ok(database)
    }

    /// Installs the SQL without the library, as [`OWNER`].
    ///
    /// # Errors
    /// The server's.
    ///
    /// # Panics
    /// The SQL of the checkout cannot be assembled.
    pub async fn install_sql_only(&self) -> Result<(), Error> {
        let script = sql_only_script().expect("sql/assemble.sh works");
        let owner = self.connect().await?;
        owner.batch_execute(&format!("BEGIN; {script} COMMIT")).await
    }

    /// A connection as [`OWNER`].
    ///
    /// # Errors
    /// The server's.
    pub async fn connect(&self) -> Result<Client, Error> {
        self.connect_as(OWNER).await
    }

    /// A connection as any role.
    ///
    /// # Errors
    /// The server's.
    pub async fn connect_as(&self, role: &str) -> Result<Client, Error> {
        self.connect_with_messages(role).await.map(|(client, _)| client)
    }

    /// A connection whose notices and notifications are kept.
    ///
    /// # Errors
    /// The server's.
    pub async fn connect_with_messages(&self, role: &str) -> Result<(Client, Messages), Error> {
        let mut config = Config::new();
        config.host_path(&self.place.dir).port(self.place.port).user(role).dbname(&self.name);
        let (client, mut connection) = config.connect(NoTls).await?;
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
            while let Some(Ok(message)) = messages.next().await {
                // Most tests do not listen.
                let _ = sender.send(message);
            }
        });
        Ok((client, receiver))
    }

    /// Its URL over the Unix socket.
    #[must_use]
    pub fn url(&self, role: &str) -> String {
        let Place { dir, port, .. } = &self.place;
        format!("postgresql:///{}?host={}&port={port}&user={role}", self.name, dir.display())
    }

    /// Its URL over TCP; none where its server does not listen.
    #[must_use]
    pub fn tcp_url(&self, role: &str) -> Option<String> {
        let listen = self.place.listen.as_ref()?;
        let password = listen.password.as_ref().map_or_else(String::new, |password| format!(":{password}"));
        Some(format!("postgresql://{role}{password}@{}:{}/{}", listen.address, self.place.port, self.name))
    }

    /// Has its server let in whom these rules of `pg_hba.conf` let in, and nobody else, as soon as it has read them.
    ///
    /// # Errors
    /// The server's.
    pub async fn let_in(&self, rules: &[&str]) -> Result<(), Error> {
        let superuser = self.connect_as(SUPERUSER).await?;
        let file: String = superuser.query_one("SHOW hba_file", &[]).await?.get(0);
        let rows = rules.join("'), ('");
        superuser.batch_execute(&format!("COPY (VALUES ('{rows}')) TO '{file}'")).await?;
        superuser.batch_execute("SELECT pg_reload_conf()").await
    }

    /// The folder of the server's socket, and its port: what `psql -h -p` take.
    #[must_use]
    pub fn socket(&self) -> (&Path, u16) {
        (&self.place.dir, self.place.port)
    }
}
