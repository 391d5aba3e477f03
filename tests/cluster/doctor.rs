//! `pgbatch doctor` on the real cluster: it names each verb that the account lacks, and each Job that is not taken.

use std::process::{Command, Stdio};

use e2e::dispatcher::Dispatcher;
use e2e::postgres::OWNER;
use e2e::wait::until;
use serde_json::{Value, json};

use crate::on_cluster::OnCluster;
use crate::{SOON, Tested, keda};

const VERBS: [(&str, &str, &[&str]); 5] = [
    ("batch", "jobs", &["create", "get", "list", "watch", "delete"]),
    ("", "pods", &["list", "watch"]),
    ("", "events", &["watch", "create"]),
    ("keda.sh", "scaledjobs", &["list", "watch"]),
    ("keda.sh", "scaledjobs/status", &["patch"]),
];

/// What doctor found: what, its verdict, and words.
type Found = Vec<(String, String, String)>;

impl OnCluster {
    /// What doctor says with a kubeconfig.
    fn doctor(&self, kubeconfig: &str, flags: &[&str]) -> Result<Found, Box<dyn std::error::Error>> {
        let mut command = Command::new(Dispatcher::binary());
        command.args(["doctor", "-o", "json", "--namespace", &self.namespace.name]).args(flags);
        command.env("PGBATCH_DATABASE_URL", self.world.database.url(OWNER));
        let output = command.env("KUBECONFIG", kubeconfig).stdin(Stdio::null()).output()?;
        let findings: Vec<Value> = serde_json::from_slice(&output.stdout)?;
        let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        let has_failed = findings.iter().any(|finding| finding["verdict"] == "failed");
        assert_eq!(output.status.code(), Some(i32::from(has_failed)), "{findings:?}");
        Ok(findings.iter().map(|f| (text(f, "what"), text(f, "verdict"), text(f, "words"))).collect())
    }

    /// The account's Role, but for one verb of one resource.
    pub(crate) fn role_without(&self, resource: &str, verb: &str) -> std::io::Result<()> {
        let rules = VERBS.iter().filter_map(|(group, of, verbs)| {
            let verbs: Vec<&&str> = verbs.iter().filter(|v| *of != resource || **v != verb).collect();
            // A rule needs one at least.
            (!verbs.is_empty()).then(|| json!({"apiGroups": [group], "resources": [of], "verbs": verbs}))
        });
        self.set_role(rules.collect())
    }

    /// The account's Role, and more: group, resource and verb of each.
    pub(crate) fn role_with(&self, more: &[(&str, &str, &str)]) -> std::io::Result<()> {
        let own = VERBS
            .iter()
            .map(|(group, of, verbs)| json!({"apiGroups": [group], "resources": [of], "verbs": verbs}));
        let more = more
            .iter()
            .map(|(group, of, verb)| json!({"apiGroups": [group], "resources": [of], "verbs": [verb]}));
        self.set_role(own.chain(more).collect())
    }

    fn set_role(&self, rules: Vec<Value>) -> std::io::Result<()> {
        self.cluster.apply(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": "examined", "namespace": self.namespace.name}, "rules": rules,
        }))
    }

    /// A kubeconfig of an account that has what the Role has.
    pub(crate) fn account(&self) -> Result<String, Box<dyn std::error::Error>> {
        let namespace = self.namespace.name.as_str();
        self.cluster.kubectl(&["--namespace", namespace, "create", "serviceaccount", "examined"])?;
        self.cluster.apply(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "examined", "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "examined"},
            "subjects": [{"kind": "ServiceAccount", "name": "examined", "namespace": namespace}],
        }))?;
        let token = self.cluster.kubectl(&["--namespace", namespace, "create", "token", "examined"])?;
        let file = self.world.dir.join("examined.kubeconfig");
        std::fs::copy(self.cluster.kubeconfig(), &file)?;
        let file = file.to_string_lossy().into_owned();
        let token = format!("--token={}", token.trim());
        self.cluster.kubectl(&["--kubeconfig", &file, "config", "set-credentials", "examined", &token])?;
        self.cluster.kubectl(&[
            "--kubeconfig",
            &file,
            "config",
            "set-context",
            "--current",
            "--user=examined",
        ])?;
        Ok(file)
    }
}

#[tokio::test]
async fn doctor_names_the_one_verb_that_is_missing() -> Tested {
    let on = OnCluster::new("doctor").await?;
    keda::define(&on).await?;
    on.shell_queue("claps", "exit 0", "").await?;
    on.role_without("", "")?;
    let account = on.account()?;
    let of_the_cluster = async |wanted: &[(&str, &str, String)]| {
        until(&format!("doctor to say {wanted:?}"), SOON, async || {
            let found = on.doctor(&account, &["--scaled-jobs"]).ok()?;
            let found: Vec<_> = found.iter().skip_while(|f| f.0 != "cluster").skip(1).collect();
            let is_wanted = found.len() == wanted.len()
                && found.iter().zip(wanted).all(|(f, w)| f.0 == w.0 && f.1 == w.1 && f.2.starts_with(&w.2));
            is_wanted.then_some(())
        })
        .await;
    };
    let namespace = &on.namespace.name;
    let takes = ("queue", "fine", format!("claps: namespace {namespace} takes its Jobs"));
    let all = ("account", "fine", "it may do all".to_owned());
    let served = ("ScaledJobs", "fine", format!("those of namespace {namespace}"));
    of_the_cluster(&[all.clone(), served.clone(), takes.clone()]).await;
    for (_, resource, verbs) in VERBS {
        for verb in verbs {
            on.role_without(resource, verb)?;
            let missing =
                ("account", "failed", format!("it may not {verb} {resource} in namespace {namespace}"));
            if (resource, *verb) == ("events", "create") {
                let dispensable = ("account", "warning", missing.2);
                of_the_cluster(&[all.clone(), dispensable, served.clone(), takes.clone()]).await;
                continue;
            }
            let queue = match (resource, *verb) {
                ("jobs", "create") => {
                    ("queue", "failed", format!("claps: namespace {namespace} does not take its Jobs: "))
                }
                _ => takes.clone(),
            };
            match resource.starts_with("scaledjobs") {
                true => of_the_cluster(&[all.clone(), missing, queue]).await,
                false => of_the_cluster(&[missing, served.clone(), queue]).await,
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn doctor_tries_the_job_of_each_queue() -> Tested {
    let on = OnCluster::new("doctor-jobs").await?;
    on.shell_queue("fits", "exit 0", "").await?;
    on.shell_queue("elsewhere", "exit 0", ", namespace => 'not-there'").await?;
    // The API server's own word: our check of a template does not know all of its rules.
    on.world
        .client
        .batch_execute(
            r#"SELECT pgbatch.create_queue('refused', '{"spec": {"template": {"spec": {"containers": [
                {"name": "x", "image": "x", "volumeMounts": [{"name": "nowhere", "mountPath": "/x"}]}]}}}}')"#,
        )
        .await?;
    let found = on.doctor(on.cluster.kubeconfig(), &[])?;
    let queues: Vec<(&str, bool)> =
        found.iter().filter(|f| f.0 == "queue").map(|f| (f.2.as_str(), f.1 == "fine")).collect();
    let said = |queue: &str| queues.iter().find(|q| q.0.starts_with(queue)).copied().unwrap_or(("", false));
    assert_eq!(queues.len(), 3, "{queues:?}");
    assert!(said("fits").1, "{queues:?}");
    assert!(!said("elsewhere").1 && said("elsewhere").0.contains("not-there"), "{queues:?}");
    assert!(!said("refused").1 && said("refused").0.contains("nowhere"), "{queues:?}");
    assert_eq!(on.jobs().len(), 0, "nothing was created");
    assert!(found.iter().all(|f| f.0 != "ScaledJobs"), "nobody asked about them: {found:?}");
    Ok(())
}

#[tokio::test]
async fn doctor_says_that_the_kind_scaled_job_is_missing() -> Tested {
    let on = OnCluster::new("doctor-keda").await?;
    keda::define(&on).await?;
    on.cluster.kubectl(&["delete", "crd", "scaledjobs.keda.sh"])?;
    until("doctor to miss the kind", SOON, async || {
        let found = on.doctor(on.cluster.kubeconfig(), &["--scaled-jobs=here"]).ok()?;
        let said = found.into_iter().find(|f| f.0 == "ScaledJobs")?;
        (said.1 == "failed" && said.2.contains("no kind ScaledJob")).then_some(())
    })
    .await;
    Ok(())
}
