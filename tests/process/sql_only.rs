//! A server that has the SQL without the library: NOTIFY is the doorbell, and the dispatcher checks the Job templates.

use e2e::postgres::SUPERUSER;
use e2e::wait::until;
use e2e::world::World;
use serde_json::{Value, json};

use crate::metrics::{LISTEN, until_value};
use crate::{SOON, Tested, enqueue, until_state};

/// The dispatcher has looked at everything before each commit, and nothing but that commit wakes it.
#[tokio::test]
async fn a_commit_wakes_and_a_standby_takes_over() -> Tested {
    let world = World::sql_only("sql_only_wakes").await?;
    world.shell_queue("q", "exit 0", "").await?;
    let mut dispatcher = world.dispatcher(&[])?;
    let leads = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'pgbatch dispatch'
        AND state = 'idle' AND query_start < clock_timestamp() - interval '1 s'";
    for _ in 0..3 {
        until("the dispatcher to be idle", SOON, async || {
            world.client.query_opt(leads, &[]).await.ok().flatten()
        })
        .await;
        let batch = enqueue(&world, "q", json!({})).await?;
        until_state(&world, batch, "succeeded", SOON).await;
    }
    assert!(dispatcher.logged()?.contains("doorbell=\"NOTIFY\""), "{}", dispatcher.logged()?);

    let standby = world.dispatcher(&[])?;
    until("a standby", SOON, async || standby.logged().ok().filter(|log| log.contains("standing by"))).await;
    dispatcher.kill()?;
    let batch = enqueue(&world, "q", json!({})).await?;
    until_state(&world, batch, "succeeded", SOON).await;
    Ok(())
}

/// The words are those of the library's ERROR, and a right template is all that it takes.
#[tokio::test]
async fn a_wrong_template_is_told_and_a_right_one_starts() -> Tested {
    let world = World::sql_only("sql_only_template").await?;
    let template = |field: &str| {
        json!({"spec": {"template": {"spec": {"containers": [
            {"name": "main", "image": "none", field: ["/bin/true"]}]}}}})
    };
    let dispatcher = world.dispatcher(&[LISTEN])?;
    let (wrong, right) = (template("comand"), template("command"));
    world.client.execute("SELECT pgbatch.create_queue('q', $1)", &[&wrong]).await?;
    let batch = enqueue(&world, "q", json!({})).await?;
    let error = until("the template to be checked", SOON, async || {
        let sql =
            "SELECT template_error FROM pgbatch.queues WHERE template_error NOT LIKE 'it has not been%'";
        world.client.query_opt(sql, &[]).await.ok().flatten().map(|row| row.get::<_, String>(0))
    })
    .await;
    until_value(&dispatcher, r#"pgbatch_items{queue="q",state="pending"}"#, "1").await;
    let library = World::new("sql_only_library").await?;
    let refused = library.client.execute("SELECT pgbatch.create_queue('q', $1)", &[&wrong]).await;
    let refused = refused.err().ok_or("the library took it")?;
    assert_eq!(error, refused.as_db_error().ok_or("no ERROR")?.message());
    assert!(
        error.starts_with("job_template is invalid at spec.template.spec.containers[0].comand: "),
        "{error}"
    );
    let words: String = world
        .client
        .query_one("SELECT words FROM pgbatch.explain_item($1, 1) WHERE NOT open", &[&batch])
        .await?
        .get(0);
    assert_eq!(words, format!("{error}; pgbatch.alter_queue('q', job_template => ...) corrects it"));
    let runs: i64 = world.client.query_one("SELECT count(*) FROM pgbatch.runs", &[]).await?.get(0);
    assert_eq!(runs, 0, "it burned an attempt");

    world.client.execute("SELECT pgbatch.alter_queue('q', job_template => $1)", &[&right]).await?;
    until_state(&world, batch, "succeeded", SOON).await;
    Ok(())
}

/// A role that only dispatches may do what it takes.
#[tokio::test]
async fn a_dispatcher_that_owns_nothing_serves_it() -> Tested {
    let world = World::sql_only("sql_only_rights").await?;
    world.shell_queue("q", "exit 0", "").await?;
    let role = format!("dispatcher_of_{}", world.database.name);
    world.database.connect_as(SUPERUSER).await?.batch_execute(&format!("CREATE ROLE {role} LOGIN")).await?;
    world.client.execute("SELECT pgbatch.grant_dispatcher($1)", &[&role]).await?;
    let _dispatcher = world.dispatcher_of(world.database.url(&role), &[])?;
    let batch = enqueue(&world, "q", Value::Null).await;
    assert!(batch.is_err(), "an item is an object");
    let batch = enqueue(&world, "q", json!({})).await?;
    until_state(&world, batch, "succeeded", SOON).await;
    Ok(())
}
