//! What the dispatcher calls for ScaledJobs that it serves: taken over, changed, gone, and back again.

use e2e::postgres::{Database, SUPERUSER};
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::support::{EPOCH, Tested, database, observe, refused, value};

fn scaled_job(name: &str, spec: &Value) -> Value {
    let mut manifest = json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob",
        "metadata": {"name": name, "namespace": "shop", "labels": null},
        "spec": {"maxReplicaCount": 5, "triggers": [{"type": "postgresql", "metadata":
            {"query": "SELECT count(*) FROM work", "targetQueryValue": "1"}}],
            "jobTargetRef": {"template": {"spec": {"containers": [{"name": "clap", "image": "clap"}]}}}}});
    for (key, value) in spec.as_object().into_iter().flatten() {
        manifest["spec"][key] = value.clone();
    }
    manifest
}

async fn with_work() -> Tested<(Database, Client)> {
    let database = database().await?;
    let client = database.connect().await?;
    client
        .batch_execute("INSERT INTO pgbatch.installation DEFAULT VALUES; CREATE TABLE work (id int)")
        .await?;
    Ok((database, client))
}

async fn apply(client: &Client, manifest: &Value) -> Tested<Value> {
    // The dispatcher's own session looks names up in pg_catalog only.
    client.batch_execute("SET search_path = pg_catalog, pg_temp").await?;
    let sql = format!("SELECT pgbatch.apply_scaled_job({EPOCH}, $1)");
    let applied = client.query_one(&sql, &[manifest]).await?.get(0);
    client.batch_execute("RESET search_path").await?;
    Ok(applied)
}

async fn keep(client: &Client, names: &[&str]) -> Tested {
    let sql = format!("SELECT pgbatch.keep_scaled_jobs({EPOCH}, 'shop', $1)");
    client.execute(&sql, &[&names]).await?;
    Ok(())
}

async fn triggers(client: &Client) -> Tested<Vec<String>> {
    value(client, "SELECT coalesce(array_agg(name ORDER BY name), '{}') FROM pgbatch.triggers").await
}

async fn queue(client: &Client) -> Tested<Value> {
    value(client, "SELECT to_jsonb(q) FROM pgbatch.queue q WHERE name = 'claps'").await
}

#[tokio::test]
async fn one_is_taken_over_and_its_rows_are_work() -> Tested {
    let (_database, client) = with_work().await?;
    client.batch_execute("INSERT INTO work VALUES (1), (2)").await?;
    let applied = apply(&client, &scaled_job("claps", &json!({"pollingInterval": 9}))).await?;
    assert_eq!(
        (&applied["queue"], &applied["notes"][0]["what"]),
        (&json!("claps"), &json!("suggestion")),
        "{applied:#}"
    );
    observe(&client).await?;
    assert_eq!(value::<i64>(&client, "SELECT count(*) FROM pgbatch.items").await?, 2);
    assert_eq!(queue(&client).await?["namespace"], "shop");
    Ok(())
}

#[tokio::test]
async fn a_change_changes_the_queue_and_makes_the_triggers_again() -> Tested {
    let (_database, client) = with_work().await?;
    let mut manifest = scaled_job("claps", &json!({}));
    manifest["spec"]["jobTargetRef"]["activeDeadlineSeconds"] = json!(60);
    apply(&client, &manifest).await?;
    let made = "SELECT string_agg(xmin::text, ' ') FROM pgbatch.trigger";
    let first: String = value(&client, made).await?;
    apply(&client, &manifest).await?;
    assert_eq!(value::<String>(&client, made).await?, first, "the same again does nothing");
    assert_eq!(queue(&client).await?["run_timeout"], "00:01:00");
    for conditions in [json!(["Ready"]), json!(["Ready", "PodScheduled"])] {
        manifest["spec"]["scalingStrategy"] = json!({"pendingPodConditions": conditions});
        apply(&client, &manifest).await?;
        assert_eq!(queue(&client).await?["options"], json!({"pending_pod_conditions": conditions}));
    }
    manifest["spec"]["scalingStrategy"] = json!(null);
    apply(&client, &manifest).await?;
    assert_eq!(queue(&client).await?["options"], json!(null));

    let trigger = manifest["spec"]["triggers"][0].clone();
    let changed = scaled_job(
        "claps",
        &json!({"maxReplicaCount": 7, "triggers": [trigger, {"type": "cron", "name": "night",
        "metadata": {"timezone": "UTC", "start": "0 2 * * *", "desiredReplicas": "1"}}]}),
    );
    apply(&client, &changed).await?;
    assert_eq!(triggers(&client).await?, ["claps-1", "claps-night"]);
    let queue = queue(&client).await?;
    assert_eq!((&queue["max_parallel"], &queue["run_timeout"]), (&json!(7), &Value::Null));
    Ok(())
}

#[tokio::test]
async fn paused_and_resumed_as_its_annotation_says() -> Tested {
    let (_database, client) = with_work().await?;
    let mut manifest = scaled_job("claps", &json!({}));
    for paused in [true, false, true] {
        manifest["metadata"]["annotations"] = json!({"autoscaling.keda.sh/paused": paused.to_string()});
        apply(&client, &manifest).await?;
        assert_eq!(queue(&client).await?["paused"], paused);
    }
    Ok(())
}

#[tokio::test]
async fn one_that_is_gone_has_no_triggers_and_its_queue_is_taken_over_when_it_is_back() -> Tested {
    let (_database, client) = with_work().await?;
    client.batch_execute("INSERT INTO work VALUES (1)").await?;
    let manifest = scaled_job("claps", &json!({}));
    apply(&client, &manifest).await?;
    observe(&client).await?;
    keep(&client, &["claps", "other"]).await?;
    assert_eq!(triggers(&client).await?, ["claps"]);
    keep(&client, &["other"]).await?;
    assert_eq!(triggers(&client).await?, [""; 0]);
    assert_eq!(value::<i64>(&client, "SELECT count(*) FROM pgbatch.items").await?, 1, "what was made stays");
    apply(&client, &manifest).await?;
    assert_eq!(triggers(&client).await?, ["claps"]);
    keep(&client, &[]).await?;
    client.batch_execute("SELECT pgbatch.drop_queue('claps', force => true)").await?;
    apply(&client, &manifest).await?;
    assert_eq!(triggers(&client).await?, ["claps"], "and where the queue was dropped, it is made");
    Ok(())
}

#[tokio::test]
async fn one_that_cannot_be_taken_over_changes_nothing_and_says_why() -> Tested {
    let (_database, client) = with_work().await?;
    apply(&client, &scaled_job("claps", &json!({}))).await?;
    let nowhere = json!([{"type": "postgresql", "metadata": {"query": "SELECT n FROM nowhere", "targetQueryValue": "1"}}]);
    let refused_one =
        apply(&client, &scaled_job("claps", &json!({"triggers": nowhere, "maxReplicaCount": 9}))).await?;
    assert_eq!(
        refused_one["error"],
        "spec.triggers[0]: query is invalid: relation \"nowhere\" does not exist"
    );
    assert!(refused_one["hint"].is_string(), "{refused_one}");
    assert_eq!(triggers(&client).await?, ["claps"]);
    assert_eq!(queue(&client).await?["max_parallel"], 5);

    client.batch_execute("SELECT pgbatch.create_queue('mine', sql => 'SELECT 1')").await?;
    let taken = apply(&client, &scaled_job("mine", &json!({}))).await?;
    assert_eq!(taken["error"], "spec.jobTargetRef: queue \"mine\" exists already");
    let bad = apply(&client, &scaled_job("bad", &json!({"maxReplicaCount": 0}))).await?;
    assert!(
        bad["error"].as_str().is_some_and(|e| e.starts_with("manifest is invalid at spec.maxReplicaCount")),
        "{bad}"
    );
    Ok(())
}

#[tokio::test]
async fn a_dispatcher_that_does_not_lead_is_refused() -> Tested {
    let (_database, client) = with_work().await?;
    apply(&client, &scaled_job("claps", &json!({}))).await?;
    let manifest = scaled_job("claps", &json!({"maxReplicaCount": 9}));
    let late = client.query("SELECT pgbatch.apply_scaled_job(-1, $1)", &[&manifest]).await;
    assert_eq!(refused(late)?.code().code(), "55000");
    let late = client.query("SELECT pgbatch.keep_scaled_jobs(-1, 'shop', '{}')", &[]).await;
    assert_eq!(refused(late)?.code().code(), "55000");
    assert_eq!(triggers(&client).await?, ["claps"]);
    Ok(())
}

/// One with the rights of a dispatcher serves them, and what it makes does not become its own.
#[tokio::test]
async fn a_dispatcher_that_owns_nothing_serves_them() -> Tested {
    let (database, owner) = with_work().await?;
    let role = format!("server_{}", database.name);
    let superuser = database.connect_as(SUPERUSER).await?;
    superuser.batch_execute(&format!("CREATE ROLE {role} LOGIN")).await?;
    owner.batch_execute(&format!("SELECT pgbatch.grant_dispatcher('{role}', scaled_jobs => true)")).await?;
    let dispatcher = database.connect_as(&role).await?;
    for replicas in [3, 4] {
        let declared = json!([
            {"type": "postgresql", "metadata": {"query": "SELECT count(*) FROM work", "targetQueryValue": "1"}},
            {"type": "cron", "metadata": {"timezone": "UTC", "start": "0 1 * * *", "end": "0 2 * * *", "desiredReplicas": "1"}}]);
        let manifest = scaled_job("claps", &json!({"maxReplicaCount": replicas, "triggers": declared}));
        let applied: Value =
            dispatcher.query_one("SELECT pgbatch.apply_scaled_job(0, $1)", &[&manifest]).await?.get(0);
        assert_eq!(applied["queue"], "claps", "{applied:#}");
        assert_eq!(queue(&owner).await?["max_parallel"], replicas);
        assert_eq!(triggers(&owner).await?.len(), 2);
    }
    dispatcher.batch_execute("SELECT pgbatch.keep_scaled_jobs(0, 'shop', '{}')").await?;
    assert!(triggers(&owner).await?.is_empty());
    let rights = "SELECT string_agg(what, ' ' ORDER BY what) FROM pgbatch.rights";
    assert_eq!(value::<String>(&owner, rights).await?, "dispatch scaled_jobs");
    for call in ["pause_queue('claps')", "enqueue('claps')"] {
        assert_eq!(
            refused(dispatcher.batch_execute(&format!("SELECT pgbatch.{call}")).await)?.code().code(),
            "42501"
        );
    }
    owner.batch_execute(&format!("SELECT pgbatch.revoke_dispatcher('{role}')")).await?;
    superuser.batch_execute(&format!("DROP ROLE {role}")).await?;
    Ok(())
}
