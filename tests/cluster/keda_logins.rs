//! Triggers of ScaledJobs log in to a real broker by what a TriggerAuthentication names.

use e2e::dispatcher::Dispatcher;
use e2e::kafka::{Broker, KafkaClient};
use e2e::repository;
use e2e::wait::until;
use serde_json::{Value, json};

use crate::keda::{define, until_ready};
use crate::on_cluster::OnCluster;
use crate::{SOON, Tested};

/// The account that the chart gives its rights to.
const ACCOUNT: &str = "batches-pgbatch";

impl OnCluster {
    /// The Role of the chart and who has it, with these values.
    fn grant(&self, values: &[&str]) -> Tested {
        let chart = repository().join("deploy/helm/pgbatch").to_string_lossy().into_owned();
        let mut arguments = vec!["template", "batches", &chart, "--show-only", "templates/rbac.yaml"];
        for value in ["database.existingSecret=x", "scaledJobs.enabled=true"].iter().chain(values) {
            arguments.extend(["--set", value]);
        }
        let file = self.world.dir.join("rbac.yaml");
        std::fs::write(&file, self.helm(&arguments)?)?;
        self.cluster.kubectl(&["apply", "--filename", &file.to_string_lossy()])?;
        Ok(())
    }

    /// A kubeconfig of an account that has these rights.
    fn account_of_the_chart(&self) -> Result<String, Box<dyn std::error::Error>> {
        let namespace = self.namespace.name.as_str();
        self.cluster.kubectl(&["--namespace", namespace, "create", "serviceaccount", ACCOUNT])?;
        let token = self.cluster.kubectl(&["--namespace", namespace, "create", "token", ACCOUNT])?;
        let file = self.world.dir.join("account.kubeconfig");
        std::fs::copy(self.cluster.kubeconfig(), &file)?;
        let file = file.to_string_lossy().into_owned();
        let config = |arguments: &[&str]| {
            self.cluster.kubectl(&[&["--kubeconfig", &file, "config"], arguments].concat())
        };
        config(&["set-credentials", ACCOUNT, &format!("--token={}", token.trim())])?;
        config(&["set-context", "--current", &format!("--user={ACCOUNT}")])?;
        Ok(file)
    }

    fn of_keda(&self, kind: &str, name: &str, spec: &Value) -> Tested {
        let metadata = json!({"name": name, "namespace": self.namespace.name});
        Ok(self.cluster.apply(
            &json!({"apiVersion": "keda.sh/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}),
        )?)
    }

    fn secret(&self, name: &str, data: &Value) -> Tested {
        let metadata = json!({"name": name, "namespace": self.namespace.name});
        Ok(self.cluster.apply(
            &json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}),
        )?)
    }

    /// A ScaledJob with the lag of a group, at the listener with TLS and SASL.
    fn lagging(&self, broker: &Broker, topic: &str, login: &Value) -> Tested {
        let spec = json!({"jobTargetRef": {"template": {"spec": {"containers": [{"name": "main", "image": "none"}]}}},
            "triggers": [{"type": "kafka", "authenticationRef": login, "metadata":
                {"bootstrapServers": broker.sasl_tls(), "consumerGroup": "g", "topic": topic}}]});
        self.of_keda("ScaledJob", "lagging", &spec)
    }

    /// Lets the account read the ClusterTriggerAuthentications, as a person does for whom the chart's Role is too little.
    fn grant_on_the_cluster(&self, name: &str) -> Tested {
        let namespace = self.namespace.name.as_str();
        let resource = "--resource=clustertriggerauthentications.keda.sh";
        self.cluster.kubectl(&["create", "clusterrole", name, "--verb=get", resource])?;
        let (role, account) =
            (format!("--clusterrole={name}"), format!("--serviceaccount={namespace}:{ACCOUNT}"));
        self.cluster.kubectl(&["create", "clusterrolebinding", name, &role, &account])?;
        Ok(())
    }

    /// A ClusterTriggerAuthentication; its Secret is in the dispatcher's namespace.
    async fn log_in_for_the_whole_cluster(&self, broker: &Broker, topic: &str, spec: &Value) -> Tested {
        let name = self.login_of_the_cluster();
        self.lagging(broker, topic, &json!({"name": name, "kind": "ClusterTriggerAuthentication"}))?;
        self.until_refused("needed is get on clustertriggerauthentications.keda.sh").await;
        self.grant_on_the_cluster(&name)?;
        self.until_refused(&format!("ClusterTriggerAuthentication \"{name}\" does not exist")).await;
        self.cluster
            .apply(&json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ClusterTriggerAuthentication",
            "metadata": {"name": name}, "spec": spec}))?;
        until_ready(self, "lagging", "True").await;
        Ok(())
    }

    /// No other test's: it is in no namespace.
    fn login_of_the_cluster(&self) -> String {
        format!("{}-login", self.namespace.name)
    }

    fn forget_the_login_of_the_cluster(&self) -> Tested {
        for kind in ["clustertriggerauthentications.keda.sh", "clusterrolebinding", "clusterrole"] {
            self.cluster.kubectl(&["delete", kind, &self.login_of_the_cluster()])?;
        }
        Ok(())
    }

    /// Waits until the condition Ready says this.
    async fn until_refused(&self, words: &str) -> String {
        until(&format!("the status to say {words:?}"), SOON, async || {
            let ready = until_ready(self, "lagging", "False").await;
            ready["message"].as_str().filter(|message| message.contains(words)).map(str::to_owned)
        })
        .await
    }

    /// Waits until `triggers` says this of its trigger.
    async fn until_trigger(&self, what: &str, condition: &str) {
        let sql = format!("SELECT count(*) FROM pgbatch.triggers WHERE name = 'lagging' AND {condition}");
        until(what, SOON, async || {
            let row = self.world.client.query_one(&sql, &[]).await.ok()?;
            (row.get::<_, i64>(0) == 1).then_some(())
        })
        .await;
    }

    /// All that PostgreSQL has of ScaledJobs and their triggers, and what the cluster shows.
    async fn what_is_to_be_seen(&self) -> Result<String, Box<dyn std::error::Error>> {
        let sql = "SELECT concat((SELECT jsonb_agg(s) FROM pgbatch.scaled_job s), (SELECT jsonb_agg(t) FROM pgbatch.triggers t),
            (SELECT jsonb_agg(k) FROM pgbatch.kafka_trigger k), (SELECT jsonb_agg(q) FROM pgbatch.queue q))";
        let mut seen: String = self.world.client.query_one(sql, &[]).await?.get(0);
        seen += &json!(self.cluster.list(&self.namespace.name, "scaledjobs.keda.sh")?).to_string();
        Ok(seen)
    }

    fn serving(&self, flags: &[String], kubeconfig: &str) -> std::io::Result<Dispatcher> {
        let flags = [&["--scaled-jobs".to_owned(), "--log=trace".to_owned()], flags].concat();
        self.dispatcher_with(&flags, None, kubeconfig)
    }

    /// They are for the servers of the ScaledJob, whoever names them.
    async fn until_a_thief_is_refused(&self, broker: &Broker, topic: &str) -> Tested {
        let stolen = "SELECT pgbatch.watch_kafka('thief', 'lagging', $1, $2, options => jsonb_build_object('sasl', o.options -> 'sasl'))
            FROM pgbatch.kafka_trigger o WHERE o.trigger_name = 'lagging'";
        self.world.client.execute(stolen, &[&broker.sasl(), &topic]).await?;
        let error = "SELECT error FROM pgbatch.triggers WHERE name = 'thief'";
        let error: String = until("the thief to be refused", SOON, async || {
            self.world.client.query_one(error, &[]).await.ok()?.get(0)
        })
        .await;
        assert!(error.contains(&format!("not for {}", broker.sasl())), "{error}");
        Ok(())
    }
}

/// A group lags by three records, a ScaledJob is there for it, and the dispatcher has the chart's rights. Returns its account too.
async fn lagging_by_three(
    broker: &Broker,
    kafka: &mut KafkaClient,
    topic: &str,
) -> Result<(OnCluster, String), Box<dyn std::error::Error>> {
    let on = OnCluster::new(topic).await?;
    kafka.create_topic(topic, 1, &[]).await?;
    kafka.commit("g", topic, 0, 0).await?;
    kafka.produce(topic, 0, 3).await?;
    define(&on).await?;
    on.grant(&[])?;
    let account = on.account_of_the_chart()?;
    on.lagging(broker, topic, &json!({"name": "login"}))?;
    Ok((on, account))
}

#[tokio::test]
async fn a_trigger_logs_in_by_its_trigger_authentication_once_its_secrets_may_be_read() -> Tested {
    let topic = "keda-logins";
    let broker = Broker::shared()?;
    let mut kafka = broker.client().await?;
    let (on, account) = lagging_by_three(broker, &mut kafka, topic).await?;
    let mut dispatcher = on.serving(&[], &account)?;

    // What is missing is said, one thing after the other.
    let namespace = on.namespace.name.clone();
    let needed = format!("needed is get on triggerauthentications.keda.sh in namespace {namespace}\n");
    let said = on.until_refused(&needed).await;
    assert!(said.contains("--kafka-credentials") && said.contains("scaledJobs.readSecrets"), "{said}");
    on.grant(&["scaledJobs.readSecrets=true", "scaledJobs.secretNames={other}"])?;
    on.until_refused("TriggerAuthentication \"login\" does not exist").await;
    let place = |parameter: &str, secret: &str, key: &str| json!({"parameter": parameter, "name": secret, "key": key});
    let mut places = vec![
        place("sasl", "kafka", "mechanism"),
        place("username", "kafka", "user"),
        place("password", "kafka", "pass"),
    ];
    on.of_keda("TriggerAuthentication", "login", &json!({"secretTargetRef": places}))?;
    let needed =
        format!("Secret \"kafka\" cannot be read: needed is get on secrets in namespace {namespace}\n");
    on.until_refused(&needed).await;
    on.grant(&["scaledJobs.readSecrets=true", "scaledJobs.secretNames={kafka}"])?;
    on.until_refused("Secret \"kafka\" does not exist").await;
    on.secret("kafka", &json!({"mechanism": "hunter0", "user": "admin", "pass": "hunter1"}))?;
    let said = on.until_refused("its parameter sasl is none of").await;
    assert!(!said.contains("hunter"), "{said}");
    on.secret("kafka", &json!({"mechanism": "scram_sha512", "user": "admin", "pass": "hunter2"}))?;
    until_ready(&on, "lagging", "True").await;
    on.until_trigger("the listener's TLS to be missed", "error LIKE 'no bootstrap server can be used%'")
        .await;

    // The TriggerAuthentication is changed: TLS, by the broker's CA. And then the password, in its Secret.
    places.extend([place("tls", "kafka", "tls"), place("ca", "kafka", "ca")]);
    let ca = std::fs::read_to_string(broker.certificates().join("ca.crt"))?;
    let secret = |password: &str| json!({"mechanism": "scram_sha512", "user": "admin", "pass": password, "tls": "enable", "ca": ca});
    on.secret("kafka", &secret("hunter3"))?;
    on.of_keda("TriggerAuthentication", "login", &json!({"secretTargetRef": places}))?;
    on.until_trigger("the login to be refused", "error LIKE '%refused the login%'").await;
    on.secret("kafka", &secret("admin-secret"))?;
    on.until_trigger("the lag to be seen", "error IS NULL AND last_value = 3").await;
    until_ready(&on, "lagging", "True").await;

    // The next dispatcher has to read it all again.
    let mut logs = dispatcher.logged()?;
    dispatcher.kill()?;
    let next = on.serving(&[], &account)?;
    kafka.produce(topic, 0, 4).await?;
    on.until_trigger("the lag to be seen again", "error IS NULL AND last_value = 7").await;
    logs += &next.logged()?;
    let seen = on.what_is_to_be_seen().await?;
    for secret in ["hunter", "admin-secret", ca.lines().nth(2).ok_or("no CA")?] {
        assert!(!seen.contains(secret) && !logs.contains(secret), "{secret} is to be seen");
    }

    on.until_a_thief_is_refused(broker, topic).await?;
    on.log_in_for_the_whole_cluster(broker, topic, &json!({"secretTargetRef": places})).await?;
    kafka.produce(topic, 0, 2).await?;
    on.until_trigger("the lag to be seen by it", "error IS NULL AND last_value = 9").await;
    on.forget_the_login_of_the_cluster()
}

#[tokio::test]
async fn without_a_right_to_secrets_it_logs_in_by_what_is_mounted() -> Tested {
    let topic = "keda-mounted";
    let broker = Broker::shared()?;
    let mut kafka = broker.client().await?;
    let (on, account) = lagging_by_three(broker, &mut kafka, topic).await?;
    let mounted = on.world.dir.join("mounted");
    std::fs::create_dir_all(mounted.join("login"))?;
    for (name, text) in
        [("sasl", "plaintext"), ("tls", "enable"), ("username", "admin"), ("password", "admin-secret")]
    {
        std::fs::write(mounted.join("login").join(name), text)?;
    }
    std::fs::copy(broker.certificates().join("ca.crt"), mounted.join("login/ca"))?;
    let dispatcher = on.serving(&[format!("--kafka-credentials={}", mounted.display())], &account)?;
    let ready = until_ready(&on, "lagging", "True").await;
    assert!(!ready["message"].as_str().is_some_and(|m| m.contains("todo")), "{ready}");
    on.until_trigger("the lag to be seen", "error IS NULL AND last_value = 3").await;
    assert!(!dispatcher.logged()?.contains("admin-secret"));
    Ok(())
}
