//! A statement that somebody else than the extension's owner gave his queue.

use e2e::postgres::SUPERUSER;
use serde_json::json;

use crate::on_cluster::OnCluster;
use crate::{SOON, Tested};

const AUTHOR: &str = "statement_author";

/// What the only run of a batch said.
async fn error(on: &OnCluster, batch: i64) -> Result<String, Box<dyn std::error::Error>> {
    let runs = on.runs(batch, "coalesce(message, '')").await?;
    Ok(runs.first().ok_or("no run")?.get(0))
}

#[tokio::test]
async fn a_statement_runs_by_the_login_of_whoever_wrote_it_and_by_no_other() -> Tested {
    let on = OnCluster::new("statements").await?;
    on.world.sql_secret(&on.cluster, &on.namespace.name)?;
    on.world.login(&on.cluster, &on.namespace.name, AUTHOR, "author-login").await?;
    on.world
        .client
        .batch_execute(&format!(
            "CREATE TABLE seen (n int, login text); GRANT INSERT ON seen TO {AUTHOR}; CREATE TABLE closed (n int);
             SELECT pgbatch.create_queue('q', sql => 'SELECT 1', max_attempts => 1), pgbatch.grant('q', '{AUTHOR}', 'own')"
        ))
        .await?;
    let author = on.world.database.connect_as(AUTHOR).await?;
    let write = "SELECT pgbatch.alter_queue('q', sql => $q$INSERT INTO seen VALUES (($1 ->> 'n')::int, session_user)$q$)";
    author.batch_execute(write).await?;

    let with = |logins: &str| [format!("--sql-secrets={AUTHOR}={logins}")];
    let mut dispatcher = on.dispatcher_with(&with("author-login"), None, on.cluster.kubeconfig())?;
    let batch = on.enqueue("q", json!({"n": 1})).await?;
    on.until_state(batch, "succeeded", SOON).await;
    let sql = "SELECT string_agg(concat_ws(' ', n, login), ',') FROM seen";
    let seen: String = on.world.client.query_one(sql, &[]).await?.get(0);
    assert_eq!(seen, format!("1 {AUTHOR}"));

    // It may do what he may, and no more.
    author.batch_execute("SELECT pgbatch.alter_queue('q', sql => 'INSERT INTO closed VALUES (1)')").await?;
    let batch = on.enqueue("q", json!({"n": 2})).await?;
    on.until_state(batch, "failed", SOON).await;
    assert!(error(&on, batch).await?.contains("permission denied for table closed"));

    // A Secret with another login, and none at all.
    dispatcher.kill()?;
    dispatcher = on.dispatcher_with(&with("database"), None, on.cluster.kubeconfig())?;
    let batch = on.enqueue("q", json!({"n": 3})).await?;
    on.until_state(batch, "failed", SOON).await;
    let said = error(&on, batch).await?;
    assert!(
        said.contains(&format!("by role \"{AUTHOR}\", and this session logged in as \"owner\"")),
        "{said}"
    );
    dispatcher.kill()?;
    let _last = on.dispatcher()?;
    let batch = on.enqueue("q", json!({"n": 4})).await?;
    on.until_state(batch, "failed", SOON).await;
    let said = error(&on, batch).await?;
    assert!(said.contains(&format!("--sql-secrets {AUTHOR}=NAME")), "{said}");

    let none: i64 = on.world.client.query_one("SELECT count(*) FROM closed", &[]).await?.get(0);
    assert_eq!(none, 0);
    on.world.client.batch_execute(&format!("SELECT pgbatch.revoke('q', '{AUTHOR}', 'own')")).await?;
    let superuser = on.world.database.connect_as(SUPERUSER).await?;
    superuser.batch_execute(&format!("DROP OWNED BY {AUTHOR}; DROP ROLE {AUTHOR}")).await?;
    Ok(())
}
