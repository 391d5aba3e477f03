//! From an empty namespace to a batch, as somebody installs it who has no pgbatch yet: the blocks of the README's section Install.

use std::io;
use std::os::unix::fs::chown;

use e2e::cluster::Cluster;
use e2e::dispatcher::Dispatcher;
use e2e::repository;
use e2e::wait::until;
use serde_json::{Value, json};

use crate::on_cluster::OnCluster;
use crate::{SOON, Tested};

/// What the example takes from a registry, which the cluster of the tests does not have, and what stands for it.
const OFFICIAL: &str = "image: postgres:15-bookworm";
const PLAIN: &str = "image: pgbatch/postgres-plain:dev";

/// The user that the server is in its image.
const SERVER_UID: u32 = 999;

const KINDS: &str = "deployments,replicasets,statefulsets,jobs,pods,services,serviceaccounts,roles,rolebindings,secrets,configmaps,\
                     poddisruptionbudgets,networkpolicies";

/// The disk of the server: the cluster of the tests has nobody who makes one.
struct Disk<'a> {
    cluster: &'a Cluster,
    name: String,
}

impl<'a> Disk<'a> {
    fn for_postgres(on: &'a OnCluster) -> io::Result<Self> {
        let folder = on.world.dir.join("disk");
        std::fs::create_dir_all(&folder)?;
        chown(&folder, Some(SERVER_UID), Some(SERVER_UID))?;
        let name = format!("{}-data", on.namespace.name);
        on.cluster.apply(
            &json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": folder},
            "claimRef": {"namespace": on.namespace.name, "name": "data-postgres-0"}}}),
        )?;
        Ok(Self { cluster: &on.cluster, name })
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.cluster.kubectl(&["delete", "persistentvolume", &self.name, "--wait=false"])
        {
            eprintln!("{error}");
        }
    }
}

impl OnCluster {
    /// What psql prints in the server's pod.
    fn psql(&self, pod: &str, role: &str, database: &str, sql: &str) -> io::Result<String> {
        let psql =
            ["psql", "-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", "-U", role, "-d", database, "-c", sql];
        let said = self.kubectl(&[&["exec", pod, "--container", "postgres", "--"], &psql[..]].concat())?;
        Ok(said.trim().to_owned())
    }

    fn secret_of(&self, name: &str, key: &str, value: &str) -> io::Result<()> {
        self.kubectl(&["create", "secret", "generic", name, &format!("--from-literal={key}={value}")])
            .map(drop)
    }

    /// The StatefulSet of the examples, with two roles and a database.
    fn postgres(&self) -> Tested {
        self.secret_of("postgres", "password", "of the superuser")?;
        let example =
            std::fs::read_to_string(repository().join("deploy/examples/postgres/statefulset.yaml"))?;
        assert!(example.contains(OFFICIAL));
        let file = self.world.dir.join("statefulset.yaml");
        std::fs::write(&file, example.replace(OFFICIAL, PLAIN))?;
        self.kubectl(&["apply", "--filename", &file.to_string_lossy()])?;
        self.kubectl(&["rollout", "status", "statefulset/postgres", "--timeout=2m"])?;
        for sql in [
            "CREATE ROLE shop LOGIN PASSWORD 'of-the-shop'",
            "CREATE ROLE clerk LOGIN",
            "CREATE DATABASE shop OWNER shop",
        ] {
            self.psql("postgres-0", "postgres", "postgres", sql)?;
        }
        Ok(self.secret_of(
            "database",
            "database-url",
            "postgres://shop:of-the-shop@postgres/shop?sslmode=disable",
        )?)
    }

    fn chart(&self, replicas: u32) -> io::Result<String> {
        self.chart_with(&format!("replicas={replicas}"))
    }

    fn chart_with(&self, value: &str) -> io::Result<String> {
        let chart = repository().join("deploy/helm/pgbatch");
        let values = [
            "image.tag=dev",
            "image.pullPolicy=Never",
            "database.existingSecret=database",
            value,
            "migrate.enabled=true",
            "migrate.existingSecret=database",
        ]
        .join(",");
        let chart = chart.to_string_lossy();
        self.helm(&["upgrade", "--install", "batches", &chart, "--set", &values, "--wait", "--timeout", "3m"])
    }

    /// What there is in the namespace, by name.
    fn everything(&self) -> Option<Vec<String>> {
        let found = self.kubectl(&["get", KINDS, "--output", "name"]).ok()?;
        Some(found.lines().map(str::to_owned).collect())
    }

    /// Three items, by the role that may do nothing but enqueue; all of them succeed.
    fn clerk_runs_a_batch(&self) -> Tested {
        let enqueue = "SELECT pgbatch.enqueue_batch('hello', array_fill('{}'::jsonb, ARRAY[3]))";
        let batch = self.psql("postgres-0", "clerk", "shop", enqueue)?;
        let wait = format!("SELECT pgbatch.wait_batch({batch}, '90 s')");
        assert_eq!(self.psql("postgres-0", "shop", "shop", &wait)?, "succeeded");
        Ok(())
    }
}

/// A queue whose pods an admission that is strict lets pass, and of whose Jobs none stays.
fn hello_queue() -> String {
    let restricted = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    let container = json!({"name": "hello", "image": "pgbatch/tool:dev", "imagePullPolicy": "Never", "command": ["true"],
        "securityContext": restricted});
    let pod = json!({"containers": [container], "securityContext": {"runAsNonRoot": true, "runAsUser": 65532,
        "seccompProfile": {"type": "RuntimeDefault"}}});
    let template = json!({"spec": {"template": {"spec": pod}}});
    format!("SELECT pgbatch.create_queue('hello', '{template}', keep_succeeded => 0)")
}

#[tokio::test]
async fn from_an_empty_namespace_to_a_batch_and_back() -> Tested {
    let on = OnCluster::new("install").await?;
    on.kubectl(&["label", "namespace", &on.namespace.name, "pod-security.kubernetes.io/enforce=restricted"])?;
    let _disk = Disk::for_postgres(&on)?;
    on.postgres()?;
    let before = on.everything();
    assert!(before.is_some());

    let notes = on.chart(1)?;
    assert!(notes.contains("by pgbatch migrate"), "{notes}");
    let version = "SELECT extversion = (SELECT default_version FROM pg_available_extensions WHERE name = 'pgbatch') \
                   FROM pg_extension WHERE extname = 'pgbatch'";
    assert_eq!(on.psql("postgres-0", "shop", "shop", version)?, "t");
    let found = on.helm(&["test", "batches", "--logs", "--timeout", "1m"])?;
    assert!(found.contains("a dispatcher leads") && found.contains("all that a dispatcher does"), "{found}");

    on.psql("postgres-0", "shop", "shop", &hello_queue())?;
    on.psql("postgres-0", "shop", "shop", "SELECT pgbatch.grant('hello', 'clerk', 'enqueue')")?;
    on.clerk_runs_a_batch()?;
    let refused = on.psql("postgres-0", "clerk", "shop", "SELECT pgbatch.pause_queue('hello')").unwrap_err();
    assert!(refused.to_string().contains("permission denied for function pause_queue"), "{refused}");

    on.chart(2)?;
    on.clerk_runs_a_batch()?;
    on.chart(1)?;
    on.clerk_runs_a_batch()?;
    let all_jobs_gone = async || Some(on.jobs()).filter(Vec::is_empty);
    until("the Jobs to be removed by keep_succeeded", SOON, all_jobs_gone).await;

    on.helm(&["uninstall", "batches", "--wait"])?;
    until("nothing to be left", SOON, async || Some(()).filter(|()| on.everything() == before)).await;
    let batches = "SELECT count(*) FROM pgbatch.batches WHERE state = 'succeeded' AND created_by = 'clerk'";
    assert_eq!(on.psql("postgres-0", "shop", "shop", batches)?, "3", "the data stays");
    Ok(())
}

/// A server in a pod of its own, as short as it gets.
fn server_pod(name: &str, image: &str) -> Value {
    let container = json!({"name": "postgres", "image": image, "imagePullPolicy": "Never",
        "env": [{"name": "POSTGRES_PASSWORD", "value": "not secret"}],
        "readinessProbe": {"exec": {"command": ["pg_isready", "--host=localhost"]}, "periodSeconds": 1}});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container]}})
}

#[tokio::test]
async fn the_image_with_the_extension_has_it_and_migrate_says_where_a_server_has_not() -> Tested {
    let on = OnCluster::new("install-images").await?;
    for (name, image) in [("with", "pgbatch/postgres:dev"), ("without", "pgbatch/postgres-plain:dev")] {
        let file = on.world.dir.join("pod.json");
        std::fs::write(&file, server_pod(name, image).to_string())?;
        on.kubectl(&["apply", "--filename", &file.to_string_lossy()])?;
    }
    on.kubectl(&["wait", "--for=condition=Ready", "pod/with", "pod/without", "--timeout=2m"])?;
    let migrate = |pod: &str| -> io::Result<(Option<i32>, String)> {
        let address = on.kubectl(&["get", "pod", pod, "--output=jsonpath={.status.podIP}"])?;
        let output = std::process::Command::new(Dispatcher::binary())
            .args(["migrate", "--wait", "10"])
            .env("PGBATCH_DATABASE_URL", format!("postgres://postgres@{address}/postgres?sslmode=disable"))
            .env("PGPASSWORD", "not secret")
            .output()?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8_lossy(&said).into_owned()))
    };
    let (status, said) = migrate("with")?;
    assert!(status == Some(0) && said.contains(" was created\n"), "{said}");
    assert_eq!(on.psql("with", "postgres", "postgres", "SELECT count(*) FROM pgbatch.queues")?, "0");
    let (status, said) = migrate("without")?;
    let words =
        "pgbatch: the server has no files of pgbatch (hint: put the extension for PostgreSQL 15 there: ";
    assert!(status == Some(2) && said.starts_with(words), "{said}");
    Ok(())
}

/// As in a managed PostgreSQL: nothing is put into the server, and all else is as with the library.
#[tokio::test]
async fn where_a_server_can_have_no_library_the_chart_installs_the_sql() -> Tested {
    let on = OnCluster::new("install-sql-only").await?;
    let file = on.world.dir.join("pod.json");
    std::fs::write(&file, server_pod("managed", "pgbatch/postgres-plain:dev").to_string())?;
    on.kubectl(&["apply", "--filename", &file.to_string_lossy()])?;
    on.kubectl(&["wait", "--for=condition=Ready", "pod/managed", "--timeout=2m"])?;
    let psql = |database: &str, sql: &str| on.psql("managed", "postgres", database, sql);
    psql("postgres", "CREATE ROLE shop LOGIN PASSWORD 'of-the-shop'")?;
    psql("postgres", "CREATE DATABASE shop OWNER shop")?;
    let address = on.kubectl(&["get", "pod", "managed", "--output=jsonpath={.status.podIP}"])?;
    let url = format!("postgres://shop:of-the-shop@{address}/shop?sslmode=disable");
    on.secret_of("database", "database-url", &url)?;

    on.chart_with("migrate.sqlOnly=true")?;
    let found = on.helm(&["test", "batches", "--logs", "--timeout", "1m"])?;
    assert!(found.contains(", without the library, in database shop") && found.contains("NOTIFY"), "{found}");
    assert_eq!(psql("shop", "SELECT count(*) FROM pg_extension WHERE extname = 'pgbatch'")?, "0");
    let wrong = hello_queue().replace("containers", "container");
    psql("shop", &wrong)?;
    let batch = psql("shop", "SELECT pgbatch.enqueue_batch('hello', array_fill('{}'::jsonb, ARRAY[3]))")?;
    let error = async || {
        let said = psql("shop", "SELECT template_error FROM pgbatch.queues").ok()?;
        Some(said)
            .filter(|said| said.starts_with("job_template is invalid at spec.template.spec.container: "))
    };
    until("the dispatcher to say what is wrong", SOON, error).await;
    psql("shop", &hello_queue().replace("create_queue", "alter_queue"))?;
    assert_eq!(psql("shop", &format!("SELECT pgbatch.wait_batch({batch}, '90 s')"))?, "succeeded");
    // Again, as with each helm upgrade.
    on.chart_with("migrate.sqlOnly=true")?;
    assert_eq!(psql("shop", "SELECT state FROM pgbatch.batches")?, "succeeded");
    Ok(())
}
