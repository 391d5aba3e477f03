//! All that one end-to-end test has: a database, a folder, and dispatchers on them.

use std::io;
use std::path::PathBuf;
use std::sync::OnceLock;

use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::cluster::Cluster;
use crate::dispatcher::{Dispatcher, Options};
use crate::network::Netns;
use crate::postgres::{self, Database, Listen, OWNER, SUPERUSER, Server};
use crate::repository;

/// The Secret of [`World::sql_secret`].
const SECRET: &str = "database";
/// Not much of a secret, but it must reach a pod by the way that secrets go.
const PASSWORD: &str = "p@ss word/1";

/// One test's world.
pub struct World {
    /// A connection as the owner of the database and of the extension.
    pub client: Client,
    /// Its database.
    pub database: Database,
    /// Its folder, with the logs of its dispatchers.
    pub dir: PathBuf,
    log: PathBuf,
}

impl World {
    /// A database on the shared server.
    ///
    /// # Errors
    /// The server's.
    pub async fn new(test: &str) -> Result<Self, Box<dyn std::error::Error>> {
        Self::on(test, Server::shared()?).await
    }

    /// A database on a server that lives in the cluster's network, so that pods reach it. It logs every statement.
    ///
    /// # Errors
    /// The server's.
    pub async fn on_cluster(test: &str, cluster: &Cluster) -> Result<Self, Box<dyn std::error::Error>> {
        static SHARED: OnceLock<Result<Server, String>> = OnceLock::new();
        let server = SHARED
            .get_or_init(|| start_in_cluster(cluster).map_err(|e| e.to_string()))
            .as_ref()
            .map_err(|e| io::Error::other(e.clone()))?;
        Self::on(test, server).await
    }

    /// A database on a server of the test's own.
    ///
    /// # Errors
    /// The server's.
    pub async fn on(test: &str, server: &Server) -> Result<Self, Box<dyn std::error::Error>> {
        Self::of(test, server, server.database().await?).await
    }

    /// A database on the shared server with the SQL alone, without the library.
    ///
    /// # Errors
    /// The server's.
    pub async fn sql_only(test: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let server = Server::shared()?;
        let database = server.empty_database().await?;
        database.install_sql_only().await?;
        Self::of(test, server, database).await
    }

    /// A database on the shared server with an earlier version of the extension.
    ///
    /// # Errors
    /// The server's.
    pub async fn of_version(test: &str, version: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let server = Server::shared()?;
        let database = server.empty_database().await?;
        let create = format!("CREATE EXTENSION pgbatch VERSION '{version}'");
        database.connect().await?.batch_execute(&create).await?;
        Self::of(test, server, database).await
    }

    async fn of(test: &str, server: &Server, database: Database) -> Result<Self, Box<dyn std::error::Error>> {
        let dir = repository().join("target/tests").join(format!("{test}-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        let client = database.connect().await?;
        Ok(Self { client, database, dir, log: server.log() })
    }

    /// Where the database is, for a local process: a container's `env`.
    #[must_use]
    pub fn database_env(&self) -> Value {
        let (socket, port) = self.database.socket();
        json!([
            {"name": "PGHOST", "value": socket},
            {"name": "PGPORT", "value": port.to_string()},
            {"name": "PGDATABASE", "value": self.database.name},
            {"name": "PGUSER", "value": OWNER},
        ])
    }

    /// Where the database is, for a pod; the password comes from the Secret of [`World::sql_secret`].
    #[must_use]
    pub fn pod_database_env(&self, cluster: &Cluster) -> Value {
        json!([
            {"name": "PGHOST", "value": cluster.node_ip()},
            {"name": "PGPORT", "value": self.database.socket().1.to_string()},
            {"name": "PGDATABASE", "value": self.database.name},
            {"name": "PGUSER", "value": OWNER},
            {"name": "PGPASSWORD", "valueFrom": {"secretKeyRef": {"name": SECRET, "key": "password"}}},
        ])
    }

    /// Makes the Secret that pods connect with.
    ///
    /// # Errors
    /// kubectl failed.
    pub fn sql_secret(&self, cluster: &Cluster, namespace: &str) -> io::Result<()> {
        self.secret(cluster, namespace, SECRET, OWNER)
    }

    /// Makes a role that can log in, and a Secret that pods connect with as that role.
    ///
    /// # Errors
    /// The server's, or kubectl failed.
    pub async fn login(
        &self,
        cluster: &Cluster,
        namespace: &str,
        role: &str,
        secret: &str,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let superuser = self.database.connect_as(SUPERUSER).await?;
        superuser.batch_execute(&format!("CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")).await?;
        Ok(self.secret(cluster, namespace, secret, role)?)
    }

    fn secret(&self, cluster: &Cluster, namespace: &str, name: &str, role: &str) -> io::Result<()> {
        let url = self.database.tcp_url(role).unwrap_or_default().replace(PASSWORD, "p%40ss%20word%2F1");
        let manifest = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace},
            "stringData": {"database-url": format!("{url}?sslmode=disable"), "password": PASSWORD}});
        cluster.apply(&manifest)
    }

    /// A queue whose runs are this line of shell. `options` are further arguments of create_queue(), each after a comma.
    ///
    /// # Errors
    /// The server's.
    pub async fn shell_queue(
        &self,
        name: &str,
        line: &str,
        options: &str,
    ) -> Result<(), tokio_postgres::Error> {
        let template = json!({"spec": {"template": {"spec": {"containers": [
            {"name": "main", "image": "none", "command": ["/bin/sh", "-c", line]}]}}}});
        let sql = format!("SELECT pgbatch.create_queue($1, $2{options})");
        self.client.execute(&sql, &[&name, &template]).await.map(drop)
    }

    /// A batch of items `{"n": 1}` and so on.
    ///
    /// # Errors
    /// The server's.
    pub async fn enqueue_numbers(&self, queue: &str, items: i32) -> Result<i64, tokio_postgres::Error> {
        let sql =
            "SELECT pgbatch.enqueue_query($1, format('SELECT n FROM generate_series(1, %s) n', $2::int))";
        Ok(self.client.query_one(sql, &[&queue, &items]).await?.get(0))
    }

    /// Starts a dispatcher with local processes.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn dispatcher(&self, flags: &[&str]) -> io::Result<Dispatcher> {
        self.dispatcher_of(self.database.url(OWNER), flags)
    }

    /// The same, with another URL of the database.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn dispatcher_of(&self, database_url: String, flags: &[&str]) -> io::Result<Dispatcher> {
        Dispatcher::start(&Options {
            database_url,
            flags: self.process_flags(flags),
            env: vec![],
            log_dir: self.dir.clone(),
            netns: None,
        })
    }

    /// Starts a dispatcher with local processes on another host, from where it reaches the server over TCP.
    ///
    /// # Errors
    /// The server does not listen on TCP, or the dispatcher cannot be started.
    pub fn dispatcher_on(&self, host: &Netns, flags: &[&str]) -> io::Result<Dispatcher> {
        let url = self.database.tcp_url(OWNER);
        Dispatcher::start(&Options {
            database_url: url.ok_or_else(|| io::Error::other("the server does not listen on TCP"))?,
            flags: self.process_flags(flags),
            env: vec![],
            log_dir: self.dir.clone(),
            netns: Some(host.name().to_owned()),
        })
    }

    fn process_flags(&self, flags: &[&str]) -> Vec<String> {
        let processes = format!("--process-dir={}", self.dir.join("processes").display());
        let fixed = ["--executor=process", &processes];
        fixed.iter().chain(flags).map(|&flag| flag.to_owned()).collect()
    }

    /// Starts a dispatcher with Jobs.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn kubernetes_dispatcher(&self, cluster: &Cluster, flags: &[&str]) -> io::Result<Dispatcher> {
        let fixed = ["--executor=kubernetes", "--sql-image=pgbatch/dispatcher:dev", "--sql-secret=database"];
        Dispatcher::start(&Options {
            database_url: self.database.url(OWNER),
            flags: fixed.iter().chain(flags).map(|&flag| flag.to_owned()).collect(),
            env: vec![("KUBECONFIG".to_owned(), cluster.kubeconfig().to_owned())],
            log_dir: self.dir.clone(),
            netns: None,
        })
    }

    /// How many statements of an application the server has logged for this database.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn statements_of(&self, application: &str) -> io::Result<usize> {
        let prefix = format!("{application}|{}|LOG:  ", self.database.name);
        Ok(std::fs::read_to_string(&self.log)?.lines().filter(|l| l.starts_with(&prefix)).count())
    }
}

fn start_in_cluster(cluster: &Cluster) -> io::Result<Server> {
    let address = cluster.node_ip().parse().map_err(io::Error::other)?;
    Server::start(&postgres::Options {
        listen: Some(Listen { address, port: None, password: Some(PASSWORD.to_owned()) }),
        netns: Some(cluster.netns().to_owned()),
        settings: vec![
            ("log_statement".to_owned(), "all".to_owned()),
            ("log_line_prefix".to_owned(), "%a|%d|".to_owned()),
        ],
        ..postgres::Options::default()
    })
}
