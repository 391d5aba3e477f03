//! A dashboard, served by a real dispatcher, of a database of its own.

use std::io;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use e2e::cluster::{Cluster, Namespace};
use e2e::dispatcher::{self, Dispatcher};
use e2e::http;
use e2e::network::free_port;
use e2e::postgres::{Listen, OWNER, Options, SUPERUSER, Server};
use e2e::wait::until;
use e2e::world::World;
use serde_json::json;
use tokio_postgres::Error;

/// On the cluster a night takes a while.
pub(crate) const SOON: Duration = Duration::from_secs(180);

/// Where the runs of a dashboard's dispatcher run: as processes of this host, which is fast, or on the real cluster.
pub(crate) struct Place {
    pub(crate) world: World,
    cluster: Option<(Cluster, Namespace)>,
}

impl Place {
    /// Of all tests of this process, as the variable says.
    async fn of(test: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let name = format!("dashboard_{test}");
        match std::env::var("PGBATCH_TEST_EXECUTOR").as_deref() {
            Ok("kubernetes") => {
                let cluster = Cluster::find()?;
                let world = World::on_cluster(&name, &cluster).await?;
                std::fs::create_dir_all(world.dir.join("record"))?;
                let namespace = cluster.namespace(&name.replace('_', "-"))?;
                Ok(Self { world, cluster: Some((cluster, namespace)) })
            }
            _ => Ok(Self { world: World::on(&name, server()?).await?, cluster: None }),
        }
    }

    /// Starts a dispatcher that serves the dashboard.
    pub(crate) fn dispatcher(&self, reader: &str, port: u16, flags: &[&str]) -> io::Result<Dispatcher> {
        let World { database, dir, .. } = &self.world;
        // By an address on this host, as people have it: pictures of pages show it.
        let url = match &self.cluster {
            None => format!("{}?sslmode=disable", database.tcp_url(reader).unwrap_or_default()),
            Some(_) => database.url(reader),
        };
        let own = [format!("--listen=127.0.0.1:{port}"), format!("--dashboard-database-url={url}")];
        let all: Vec<&str> = own.iter().map(String::as_str).chain(flags.iter().copied()).collect();
        let Some((cluster, namespace)) = &self.cluster else { return self.world.dispatcher(&all) };
        let namespace = format!("--namespace={}", namespace.name);
        Dispatcher::start(&dispatcher::Options {
            database_url: database.url(OWNER),
            flags: all.iter().map(|&flag| flag.to_owned()).chain([namespace]).collect(),
            env: vec![("KUBECONFIG".to_owned(), cluster.kubeconfig().to_owned())],
            log_dir: dir.clone(),
            netns: None,
        })
    }

    /// A queue whose runs are a line of shell. Pods share the folder `/record` with the test.
    async fn queue(&self, name: &str, line: &str, options: &str) -> Result<(), Error> {
        if self.cluster.is_none() {
            return self.world.shell_queue(name, line, options).await;
        }
        let folder = json!({"path": self.world.dir.join("record"), "type": "Directory"});
        let container = json!({"name": "main", "image": "pgbatch/tool:dev", "imagePullPolicy": "Never",
            "command": ["/bin/sh", "-c", line], "volumeMounts": [{"name": "record", "mountPath": "/record"}]});
        let pod = json!({"terminationGracePeriodSeconds": 1, "containers": [container],
            "volumes": [{"name": "record", "hostPath": folder}]});
        let sql = format!("SELECT pgbatch.create_queue($1, $2{options})");
        let template = json!({"spec": {"template": {"spec": pod}}});
        self.world.client.execute(&sql, &[&name, &template]).await.map(drop)
    }

    /// A file that runs can wait for: as we see it, and as they do.
    fn gate(&self) -> (PathBuf, String) {
        match &self.cluster {
            None => {
                let file = self.world.dir.join("go");
                (file.clone(), file.display().to_string())
            }
            Some(_) => (self.world.dir.join("record/go"), "/record/go".to_owned()),
        }
    }
}

/// A place, the dispatcher that serves, and where.
pub(crate) struct Board {
    pub(crate) place: Place,
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
        let place = Place::of(test).await?;
        let reader = reader(&place.world).await?;
        let port = free_port(None, [127, 0, 0, 1].into())?;
        let dispatcher = place.dispatcher(&reader, port, flags)?;
        let board = Self { place, dispatcher, port, reader };
        until("the dispatcher to lead", SOON, async || {
            http::get(port, "/readyz", &[]).ok().filter(|answer| answer.body.contains("leading"))
        })
        .await;
        Ok(board)
    }

    pub(crate) fn world(&self) -> &World {
        &self.place.world
    }

    /// A queue whose runs are a line of shell.
    pub(crate) async fn queue(&self, name: &str, line: &str, options: &str) -> Result<(), Error> {
        self.place.queue(name, line, options).await
    }

    /// A file that runs can wait for, as they see it.
    pub(crate) fn gate(&self) -> String {
        self.place.gate().1
    }

    /// Makes that file.
    pub(crate) fn let_go(&self) -> io::Result<()> {
        std::fs::write(self.place.gate().0, "")
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn get(&self, path: &str) -> io::Result<http::Answer> {
        http::get(self.port, path, &[])
    }

    pub(crate) async fn run(&self, sql: &str) -> Result<(), Error> {
        self.world().client.batch_execute(sql).await
    }

    pub(crate) async fn number(&self, sql: &str) -> Result<i64, Error> {
        Ok(self.world().client.query_one(sql, &[]).await?.get(0))
    }

    pub(crate) async fn until_state(&self, batch: i64, state: &str) {
        let sql = "SELECT true FROM pgbatch.batches WHERE id = $1 AND state = $2";
        until(&format!("batch {batch} to be {state}"), SOON, async || {
            self.world().client.query_opt(sql, &[&batch, &state]).await.ok().flatten()
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

/// A role that may read, and nothing more.
pub(crate) async fn reader(world: &World) -> Result<String, Error> {
    let reader = format!("reader_{}", world.database.name);
    let superuser = world.database.connect_as(SUPERUSER).await?;
    superuser.batch_execute(&format!("CREATE ROLE {reader} LOGIN")).await?;
    world.client.batch_execute(&format!("SELECT pgbatch.grant('*', '{reader}', 'read')")).await?;
    Ok(reader)
}
