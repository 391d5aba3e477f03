//! `import_scaled_job`: a ScaledJob of KEDA becomes a queue and its triggers, or nothing.

use e2e::postgres::SUPERUSER;
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::support::{Tested, database, observe, refused, value};

/// The manifest of the scenario that this project was born from, as it is.
const CLAPS: &str = include_str!("../../deploy/examples/keda/scaled-job.yaml");
const TABLES: &str = include_str!("../../deploy/examples/claps/tables.sql");

/// A ScaledJob `claps` with these triggers.
fn manifest(triggers: &Value) -> String {
    json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob", "metadata": {"name": "claps"},
        "spec": {"maxReplicaCount": 7, "triggers": triggers, "jobTargetRef": {"template": {"spec": {"containers": [
            {"name": "clap", "image": "clap"}]}}}}})
    .to_string()
}

fn counting(query: &str) -> Value {
    json!({"type": "postgresql", "metadata": {"query": query, "targetQueryValue": "1"}})
}

async fn import(client: &Client, manifest: &str, dry_run: bool) -> Result<Vec<Value>, tokio_postgres::Error> {
    let sql = "SELECT to_jsonb(i) FROM pgbatch.import_scaled_job($1, $2) i";
    Ok(client.query(sql, &[&manifest, &dry_run]).await?.iter().map(|row| row.get(0)).collect())
}

/// Queues, triggers and views that there are.
async fn stored(client: &Client) -> Tested<i64> {
    let sql = "SELECT (SELECT count(*) FROM pgbatch.queues) + (SELECT count(*) FROM pgbatch.triggers)
        + (SELECT count(*) FROM pg_class WHERE relnamespace = 'pgbatch'::regnamespace AND relkind = 'v' AND relname LIKE 'watched_%')
        + (SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'pgbatch%' AND tgrelid::regclass::text !~ '^pgbatch')";
    value(client, sql).await
}

#[tokio::test]
async fn the_manifest_of_the_claps_works_unchanged() -> Tested {
    let database = database().await?;
    let mut client = database.connect().await?;
    client.batch_execute(TABLES).await?;
    let rows = import(&client, CLAPS, false).await?;
    assert_eq!((&rows[0]["what"], &rows[0]["name"]), (&json!("queue"), &json!("claps")));
    assert_eq!((&rows[1]["what"], &rows[1]["name"]), (&json!("trigger"), &json!("claps")));
    assert!(
        rows.iter().any(|row| row["what"] == "ignored" && row["path"] == "spec.pollingInterval"),
        "{rows:#?}"
    );
    let queue: Value = value(&client, "SELECT to_jsonb(q) FROM pgbatch.queue q").await?;
    for (key, expected) in [
        ("max_parallel", json!(30)),
        ("max_attempts", json!(5)),
        ("keep_succeeded", json!(10)),
        ("keep_failed", json!(5)),
        ("run_timeout", json!("00:10:00")),
    ] {
        assert_eq!(queue[key], expected, "{key}");
    }
    observe(&client).await?;
    assert_eq!(value::<i64>(&client, "SELECT count(*) FROM pgbatch.items").await?, 0);

    let transaction = client.transaction().await?;
    transaction
        .execute("INSERT INTO make_it_clap (duration_seconds) SELECT 0 FROM generate_series(1, 40)", &[])
        .await?;
    transaction.commit().await?;
    observe(&client).await?;
    assert_eq!(value::<i64>(&client, "SELECT count(*) FROM pgbatch.items").await?, 30, "maxReplicaCount");

    let twice = refused(import(&client, CLAPS, false).await)?;
    assert_eq!(twice.message(), "spec.jobTargetRef: queue \"claps\" exists already");
    Ok(())
}

#[tokio::test]
async fn the_suggested_form_binds_rows() -> Tested {
    let database = database().await?;
    let client = database.connect().await?;
    client.batch_execute(TABLES).await?;
    let rows = import(&client, CLAPS, false).await?;
    let suggestion = rows.iter().find(|row| row["what"] == "suggestion").ok_or("no suggestion")?;
    let statement = suggestion["statement"].as_str().ok_or("no statement")?;
    client.batch_execute(&statement.replace("<key of make_it_clap>", "make_it_clap.id")).await?;
    client.batch_execute("INSERT INTO make_it_clap (id, duration_seconds) VALUES (7, 0), (9, 0)").await?;
    observe(&client).await?;
    let items: Value = value(&client, "SELECT jsonb_agg(item ORDER BY item) FROM pgbatch.items").await?;
    assert_eq!(items, json!([{"id": 7}, {"id": 9}]));
    Ok(())
}

#[tokio::test]
async fn every_kind_of_trigger_is_made() -> Tested {
    let database = database().await?;
    let client = database.connect().await?;
    client.batch_execute("CREATE TABLE t (n int)").await?;
    let triggers = json!([
        counting("SELECT n FROM t"),
        {"type": "kafka", "name": "lag", "metadata": {"bootstrapServers": "kafka:9092", "consumerGroup": "it's",
            "topic": "t", "lagThreshold": "5", "partitionLimitation": "1,2-3", "sasl": "plaintext", "tls": "enable"}},
        {"type": "cron", "metadata": {"timezone": "Europe/Paris", "start": "0 2 * * *", "end": "0 4 * * *",
            "desiredReplicas": "3"}},
    ]);
    import(&client, &manifest(&triggers), false).await?;
    let made: Value = value(&client, "SELECT jsonb_object_agg(name, kind) FROM pgbatch.triggers").await?;
    assert_eq!(made, json!({"claps-1": "count", "claps-lag": "kafka", "claps-3": "schedule"}));
    let kafka: Value = value(&client, "SELECT to_jsonb(k) FROM pgbatch.kafka_trigger k").await?;
    assert_eq!((&kafka["consumer_group"], &kafka["lag_threshold"]), (&json!("it's"), &json!(5)));
    assert_eq!(kafka["options"]["sasl"]["password_file"], "claps-lag/password");
    let items: Value = value(&client, "SELECT to_jsonb(items) FROM pgbatch.schedule").await?;
    assert_eq!(items, json!([{"trigger": "claps-3"}, {"trigger": "claps-3"}, {"trigger": "claps-3"}]));
    let scaling: Value = value(&client, "SELECT to_jsonb(s) FROM pgbatch.scaling s").await?;
    assert_eq!((&scaling["max_runs"], &scaling["strategy"]), (&json!(7), &json!("default")));
    Ok(())
}

#[tokio::test]
async fn a_dry_run_checks_everything_and_stores_nothing() -> Tested {
    let database = database().await?;
    let client = database.connect().await?;
    client.batch_execute(TABLES).await?;
    let dry = import(&client, CLAPS, true).await?;
    assert_eq!(stored(&client).await?, 0);
    let unwatched =
        refused(import(&client, &manifest(&json!([counting("SELECT nope FROM clap")])), true).await)?;
    assert_eq!(unwatched.message(), "spec.triggers[0]: query is invalid: column \"nope\" does not exist");
    // What it prints, by hand, is what it does.
    for row in dry.iter().filter(|row| row["what"] == "queue" || row["what"] == "trigger") {
        client.batch_execute(row["statement"].as_str().ok_or("no statement")?).await?;
    }
    let by_hand = stored(&client).await?;
    client.batch_execute("SELECT pgbatch.drop_trigger('claps'), pgbatch.drop_queue('claps')").await?;
    assert_eq!(import(&client, CLAPS, false).await?, dry);
    assert_eq!(stored(&client).await?, by_hand);
    Ok(())
}

#[tokio::test]
async fn a_manifest_that_cannot_be_imported_stores_nothing() -> Tested {
    let database = database().await?;
    let client = database.connect().await?;
    client.batch_execute("CREATE TABLE t (n int)").await?;
    let good = counting("SELECT n FROM t");
    let cases = [
        ("nope: [", "22023", "manifest is invalid at $: no YAML that is read here"),
        ("kind: Pod", "22023", "manifest is invalid at kind: \"Pod\" of \"\" is no ScaledJob"),
        (&manifest(&json!([])), "22023", "manifest is invalid at spec.triggers: missing"),
        (
            &manifest(&json!([good, counting("SELECT count(*) FROM t WHERE now() > now()")])),
            "22023",
            "spec.triggers[1]: query is invalid: the result of now() changes by itself",
        ),
        (
            &manifest(&json!([good, {"type": "kafka", "metadata":
                {"bootstrapServers": "nowhere", "consumerGroup": "g"}}])),
            "22023",
            "spec.triggers[1]: bootstrap_servers is invalid: \"nowhere\"",
        ),
    ];
    for (text, code, message) in cases {
        let error = refused(import(&client, text, false).await)?;
        assert_eq!(error.code().code(), code, "{error}");
        assert!(error.message().starts_with(message) && error.hint().is_some(), "{error:?}");
    }
    let null = "SELECT pgbatch.import_scaled_job(NULL)";
    assert_eq!(refused(client.batch_execute(null).await)?.message(), "manifest must not be NULL");
    assert_eq!(stored(&client).await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_query_is_the_owners_only_and_names_tables_as_the_caller_does() -> Tested {
    let database = database().await?;
    let client = database.connect().await?;
    client.batch_execute("CREATE SCHEMA shop; CREATE TABLE shop.t (n int)").await?;
    let text = manifest(&json!([counting("SELECT n FROM t")]));
    let nowhere = refused(import(&client, &text, false).await)?;
    assert_eq!(nowhere.message(), "spec.triggers[0]: query is invalid: relation \"t\" does not exist");

    let superuser = database.connect_as(SUPERUSER).await?;
    let role = format!("importer_{}", database.name);
    superuser
        .batch_execute(&format!(
            "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA pgbatch TO {role};
             GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA pgbatch TO {role}"
        ))
        .await?;
    let stranger = database.connect_as(&role).await?;
    let error = refused(import(&stranger, &text, false).await)?;
    assert_eq!(error.code().code(), "42501");
    assert!(error.message().starts_with("spec.triggers[0]: watch_count() may be called by"), "{error:?}");

    client.batch_execute("SET search_path = shop").await?;
    import(&client, &text, false).await?;
    Ok(())
}

#[tokio::test]
async fn what_is_paused_under_keda_is_paused_here() -> Tested {
    let database = database().await?;
    let client = database.connect().await?;
    client.batch_execute("CREATE TABLE t (n int)").await?;
    let mut whole: Value = serde_json::from_str(&manifest(&json!([counting("SELECT n FROM t")])))?;
    whole["metadata"]["annotations"] = json!({"autoscaling.keda.sh/paused": "true"});
    import(&client, &whole.to_string(), false).await?;
    assert!(value::<bool>(&client, "SELECT paused FROM pgbatch.queues").await?);
    Ok(())
}
