//! Who may do what: nobody but the owner anything, and nothing as a superuser.

use e2e::postgres::{OWNER, SUPERUSER};
use tokio_postgres::Client;

use crate::support::{Tested, database, refused, value, with_queue};

/// The answers of a query with one text column, for messages.
async fn names(client: &Client, sql: &str) -> Tested<Vec<String>> {
    Ok(client.query(sql, &[]).await?.iter().map(|row| row.get(0)).collect())
}

#[tokio::test]
async fn an_ordinary_owner_creates_it_and_owns_all_of_it() -> Tested {
    let client = database().await?.connect().await?;
    assert!(!value::<bool>(&client, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user").await?);
    let foreign = names(
        &client,
        &format!(
            "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'pgbatch'::regnamespace
                 AND proowner <> '{OWNER}'::regrole
             UNION ALL SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'pgbatch'::regnamespace
                 AND relowner <> '{OWNER}'::regrole
             UNION ALL SELECT nspname FROM pg_namespace WHERE nspname = 'pgbatch' AND nspowner <> '{OWNER}'::regrole"
        ),
    )
    .await?;
    assert!(foreign.is_empty(), "not of the owner: {foreign:?}");
    Ok(())
}

#[tokio::test]
async fn every_function_pins_its_search_path() -> Tested {
    let client = database().await?.connect().await?;
    let loose = names(
        &client,
        "SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
         WHERE p.pronamespace = 'pgbatch'::regnamespace AND l.lanname <> 'c'
             AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false)",
    )
    .await?;
    // They qualify each name by hand: as their queries have the names of the caller; caller() and the like, to be inlined.
    let mut of_a_query: Vec<_> = loose.iter().filter_map(|name| name.split('(').next()).collect();
    of_a_query.sort_unstable();
    assert_eq!(
        of_a_query,
        [
            "pgbatch.caller",
            "pgbatch.claiming_queue",
            "pgbatch.create_query_view",
            "pgbatch.enqueue_query",
            "pgbatch.error_kind",
            "pgbatch.heads_of",
            "pgbatch.import_scaled_job",
            "pgbatch.is_started",
            "pgbatch.ms",
            "pgbatch.schedule",
            "pgbatch.take_import_steps",
            "pgbatch.take_import_steps_as",
            "pgbatch.watch_count",
            "pgbatch.watch_rows"
        ]
    );
    let definer = names(
        &client,
        "SELECT p.oid::regprocedure::text FROM pg_proc p
         WHERE p.pronamespace = 'pgbatch'::regnamespace AND p.prosecdef AND p.proname = 'enqueue_query'",
    )
    .await?;
    assert!(definer.is_empty());
    Ok(())
}

#[tokio::test]
async fn the_public_has_no_access() -> Tested {
    let (database, client) = with_queue("").await?;
    let superuser = database.connect_as(SUPERUSER).await?;
    let role = format!("stranger_{}", database.name);
    superuser.batch_execute(&format!("CREATE ROLE {role} LOGIN")).await?;
    let allowed = names(
        &client,
        &format!(
            "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'pgbatch'::regnamespace
                 AND has_function_privilege('{role}', oid, 'EXECUTE')
             UNION ALL SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'pgbatch'::regnamespace
                 AND relkind IN ('r', 'v') AND has_table_privilege('{role}', oid, 'SELECT, INSERT, UPDATE, DELETE')
             UNION ALL SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'pgbatch'::regnamespace
                 AND CASE relkind WHEN 'S' THEN has_sequence_privilege('{role}', oid, 'USAGE, SELECT, UPDATE') END
             UNION ALL SELECT 'the schema' WHERE has_schema_privilege('{role}', 'pgbatch', 'USAGE, CREATE')"
        ),
    )
    .await?;
    assert!(allowed.is_empty(), "{allowed:?}");
    let stranger = database.connect_as(&role).await?;
    let error = refused(stranger.batch_execute("SELECT pgbatch.enqueue('q')").await)?;
    assert_eq!(error.code().code(), "42501");
    Ok(())
}

/// A function granted alone opens no queue.
#[tokio::test]
async fn execute_alone_opens_no_queue() -> Tested {
    let (database, client) = with_queue("").await?;
    let superuser = database.connect_as(SUPERUSER).await?;
    let role = format!("enqueuer_{}", database.name);
    superuser.batch_execute(&format!("CREATE ROLE {role} LOGIN")).await?;
    client
        .batch_execute(&format!(
            "GRANT USAGE ON SCHEMA pgbatch TO {role}; GRANT EXECUTE ON FUNCTION pgbatch.enqueue TO {role}"
        ))
        .await?;
    let enqueuer = database.connect_as(&role).await?;
    let enqueue = "SELECT pgbatch.enqueue('q')";
    assert_eq!(refused(enqueuer.batch_execute(enqueue).await)?.code().code(), "42501");
    client.batch_execute(&format!("SELECT pgbatch.grant('q', '{role}', 'enqueue')")).await?;
    enqueuer.batch_execute(enqueue).await?;
    for forbidden in
        ["SELECT * FROM pgbatch.batches", "TABLE pgbatch.batch", "SELECT pgbatch.cancel_batch(1)"]
    {
        assert_eq!(refused(enqueuer.batch_execute(forbidden).await)?.code().code(), "42501", "{forbidden}");
    }
    Ok(())
}
