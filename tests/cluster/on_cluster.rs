//! All that a test on the cluster has, and short words for what it does with it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use e2e::cluster::{Cluster, Namespace};
use e2e::dispatcher::{Dispatcher, Options};
use e2e::network::{Link, Netns};
use e2e::postgres::{OWNER, Server};
use e2e::wait::until;
use e2e::world::World;
use serde_json::{Value, json};
use tokio_postgres::Row;

/// The name of a dispatcher's service account, and of its Role.
pub(crate) const ACCOUNT: &str = "dispatcher";

/// A database that pods reach, a namespace, and what a dispatcher needs to serve both.
pub(crate) struct OnCluster {
    pub(crate) world: World,
    pub(crate) cluster: Cluster,
    pub(crate) namespace: Namespace,
}

/// What a queue's template has beyond its one container with a command, and `create_queue` beyond its template.
#[derive(Default)]
pub(crate) struct Shape<'a> {
    /// Fields of the Job's `spec`.
    pub(crate) job: Value,
    /// Fields of the pod's `spec`.
    pub(crate) pod: Value,
    /// Fields of the container.
    pub(crate) container: Value,
    /// `, name => value` of `create_queue`.
    pub(crate) options: &'a str,
}

impl OnCluster {
    pub(crate) async fn new(test: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let cluster = Cluster::find()?;
        let world = World::on_cluster(&test.replace('-', "_"), &cluster).await?;
        Self::with(test, cluster, world)
    }

    /// As [`OnCluster::new`], with a database on a server of the test's own, which pods do not reach.
    pub(crate) async fn on_server(test: &str, server: &Server) -> Result<Self, Box<dyn std::error::Error>> {
        Self::with(test, Cluster::find()?, World::on(&test.replace('-', "_"), server).await?)
    }

    fn with(test: &str, cluster: Cluster, world: World) -> Result<Self, Box<dyn std::error::Error>> {
        std::fs::create_dir_all(world.dir.join("record"))?;
        Ok(Self { namespace: cluster.namespace(test)?, world, cluster })
    }

    /// A cable between the cluster and a host of a dispatcher's own: from there it reaches the API server.
    pub(crate) fn link<'a>(&self, hub: &'a Netns, host: &'a Netns) -> io::Result<Link<'a>> {
        let link = Link::between(hub, host)?;
        link.route_to(self.cluster.node_ip().parse().map_err(io::Error::other)?)?;
        Ok(link)
    }

    pub(crate) fn dispatcher(&self) -> io::Result<Dispatcher> {
        self.dispatcher_with(&[], None, self.cluster.kubeconfig())
    }

    /// A dispatcher with further flags, on another host, with another kubeconfig.
    pub(crate) fn dispatcher_with(
        &self,
        flags: &[String],
        host: Option<&Netns>,
        kubeconfig: &str,
    ) -> io::Result<Dispatcher> {
        self.dispatcher_as(OWNER, flags, host, kubeconfig)
    }

    /// The same, with another role.
    pub(crate) fn dispatcher_as(
        &self,
        role: &str,
        flags: &[String],
        host: Option<&Netns>,
        kubeconfig: &str,
    ) -> io::Result<Dispatcher> {
        let namespace = format!("--namespace={}", self.namespace.name);
        let fixed = ["--sql-image=pgbatch/dispatcher:dev", "--sql-secret=database", &namespace];
        Dispatcher::start(&Options {
            database_url: self.world.database.url(role),
            flags: fixed.iter().map(|&flag| flag.to_owned()).chain(flags.iter().cloned()).collect(),
            env: vec![("KUBECONFIG".to_owned(), kubeconfig.to_owned())],
            log_dir: self.world.dir.clone(),
            netns: host.map(|host| host.name().to_owned()),
        })
    }

    /// Credentials of a service account that may do what a dispatcher does.
    pub(crate) fn service_account(&self) -> Result<String, Box<dyn std::error::Error>> {
        let metadata = json!({"name": ACCOUNT, "namespace": self.namespace.name});
        let subject = json!({"kind": "ServiceAccount", "name": ACCOUNT});
        let api = "rbac.authorization.k8s.io/v1";
        self.cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
            {"apiVersion": api, "kind": "Role", "metadata": metadata, "rules": [
                {"apiGroups": ["batch"], "resources": ["jobs"],
                 "verbs": ["create", "get", "list", "watch", "delete"]},
                {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
                {"apiGroups": [""], "resources": ["events"], "verbs": ["watch"]}]},
            {"apiVersion": api, "kind": "RoleBinding", "metadata": metadata, "subjects": [subject],
             "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": ACCOUNT}}]}))?;
        let token =
            self.cluster.kubectl(&["create", "token", ACCOUNT, "--namespace", &self.namespace.name])?;
        let text = self.cluster.kubectl(&["config", "view", "--raw", "--output", "json"])?;
        let mut kubeconfig: Value = serde_json::from_str(&text)?;
        kubeconfig["users"][0]["user"] = json!({"token": token.trim()});
        let path = self.world.dir.join("kubeconfig");
        std::fs::write(&path, kubeconfig.to_string())?;
        Ok(path.display().to_string())
    }

    pub(crate) async fn state(&self, batch: i64) -> Option<String> {
        let row =
            self.world.client.query_opt("SELECT state FROM pgbatch.batches WHERE id = $1", &[&batch]).await;
        row.ok().flatten().map(|r| r.get(0))
    }

    pub(crate) async fn until_state(&self, batch: i64, wanted: &str, limit: Duration) {
        until(&format!("batch {batch} to be {wanted}"), limit, async || {
            self.state(batch).await.filter(|s| s == wanted)
        })
        .await;
    }

    pub(crate) async fn count(&self, sql: &str, batch: i64) -> i64 {
        self.world.client.query_one(sql, &[&batch]).await.map_or(-1, |row| row.get(0))
    }

    pub(crate) async fn until_count(
        &self,
        what: &str,
        sql: &str,
        batch: i64,
        at_least: i64,
        limit: Duration,
    ) {
        until(what, limit, async || Some(self.count(sql, batch).await).filter(|n| *n >= at_least)).await;
    }

    /// The runs of a batch, in their order: these columns of the view.
    pub(crate) async fn runs(&self, batch: i64, columns: &str) -> Result<Vec<Row>, tokio_postgres::Error> {
        let sql = format!("SELECT {columns} FROM pgbatch.runs WHERE batch_id = $1 ORDER BY id");
        self.world.client.query(&sql, &[&batch]).await
    }

    pub(crate) fn jobs(&self) -> Vec<Value> {
        self.cluster.list(&self.namespace.name, "jobs").unwrap_or_default()
    }

    /// The names of the pods in which something runs.
    pub(crate) fn running_pods(&self) -> Vec<String> {
        let pods = self.cluster.list(&self.namespace.name, "pods").unwrap_or_default();
        let running = pods.iter().filter(|pod| {
            pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null()
        });
        running.filter_map(|pod| pod["metadata"]["name"].as_str()).map(str::to_owned).collect()
    }

    /// A queue whose container runs a shell line in the tool image.
    pub(crate) async fn shell_queue(
        &self,
        name: &str,
        line: &str,
        options: &str,
    ) -> Result<(), tokio_postgres::Error> {
        self.queue(name, line, Shape { options, ..Shape::default() }).await
    }

    /// A queue whose container runs a shell line in the tool image; its pods share the folder `/record` with the test.
    pub(crate) async fn queue(
        &self,
        name: &str,
        line: &str,
        shape: Shape<'_>,
    ) -> Result<(), tokio_postgres::Error> {
        let mut main = json!({"name": "main", "image": "pgbatch/tool:dev", "imagePullPolicy": "Never",
                              "command": ["/bin/sh", "-c", line],
                              "volumeMounts": [{"name": "record", "mountPath": "/record"}]});
        let record = json!({"path": self.record(""), "type": "Directory"});
        let mut pod = json!({"terminationGracePeriodSeconds": 1,
                             "volumes": [{"name": "record", "hostPath": record}]});
        let mut job = json!({});
        add(&mut main, &shape.container);
        pod["containers"] = json!([main]);
        add(&mut pod, &shape.pod);
        job["template"] = json!({"spec": pod});
        add(&mut job, &shape.job);
        let sql = format!("SELECT pgbatch.create_queue($1, $2{})", shape.options);
        self.world.client.execute(&sql, &[&name, &json!({"spec": job})]).await.map(drop)
    }

    /// A file of the folder that pods see as `/record`.
    pub(crate) fn record(&self, file: &str) -> PathBuf {
        self.world.dir.join("record").join(file)
    }

    /// Lets pods that wait for the file `/record/go` go on.
    pub(crate) fn let_go(&self) -> io::Result<()> {
        std::fs::write(self.record("go"), "")
    }

    pub(crate) async fn enqueue(&self, queue: &str, item: Value) -> Result<i64, tokio_postgres::Error> {
        Ok(self.world.client.query_one("SELECT pgbatch.enqueue($1, $2)", &[&queue, &item]).await?.get(0))
    }
}

fn add(object: &mut Value, fields: &Value) {
    for (field, value) in fields.as_object().into_iter().flatten() {
        object[field] = value.clone();
    }
}

/// A kind of somebody else, for whoever names it: its fields are not checked. `names`: kind and plural.
pub(crate) fn kind_without_schema(group: &str, version: &str, names: (&str, &str), scope: &str) -> Value {
    let (kind, plural) = names;
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": scope,
            "names": {"kind": kind, "listKind": format!("{kind}List"), "plural": plural, "singular": kind.to_lowercase()},
            "versions": [{"name": version, "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}})
}
