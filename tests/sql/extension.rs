//! The extension as an object: its parts, and what DROP EXTENSION does.

use std::collections::BTreeSet;

use e2e::postgres::{SUPERUSER, Server};
use e2e::repository;
use tokio_postgres::Client;

use crate::support::{Tested, database, refused, value, with_queue};

#[tokio::test]
async fn it_consists_of_the_objects_in_the_list() -> Tested {
    let client = database().await?.connect().await?;
    let sql = "SELECT pg_describe_object(classid, objid, objsubid) FROM pg_depend
        WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
            -- From PostgreSQL 18 on the row types of the tables are members, too.
            AND classid <> 'pg_type'::regclass
            AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pgbatch')";
    let objects: BTreeSet<String> = client.query(sql, &[]).await?.iter().map(|row| row.get(0)).collect();
    let file = repository().join("tests/sql/objects.txt");
    let listed: BTreeSet<String> = std::fs::read_to_string(&file)?.lines().map(str::to_owned).collect();
    let added: Vec<_> = objects.difference(&listed).collect();
    let missing: Vec<_> = listed.difference(&objects).collect();
    assert!(
        added.is_empty() && missing.is_empty(),
        "not in {}: {added:#?}; only there: {missing:#?}",
        file.display()
    );
    Ok(())
}

#[tokio::test]
async fn it_is_dropped_without_cascade_when_there_is_no_queue() -> Tested {
    let (_database, client) = with_queue("").await?;
    client.batch_execute("SELECT pgbatch.drop_queue('q'); DROP EXTENSION pgbatch").await?;
    assert!(value::<bool>(&client, "SELECT to_regnamespace('pgbatch') IS NULL").await?);
    client.batch_execute("CREATE EXTENSION pgbatch").await?;
    Ok(())
}

#[tokio::test]
async fn it_is_not_dropped_without_cascade_while_there_is_a_queue() -> Tested {
    let (_database, client) = with_queue("").await?;
    client
        .batch_execute("SELECT pgbatch.create_queue('r', sql => 'SELECT 1'); SELECT pgbatch.drop_queue('q')")
        .await?;
    let error = refused(client.batch_execute("DROP EXTENSION pgbatch").await)?;
    assert_eq!(error.code().code(), "2BP01");
    assert!(error.detail().is_some_and(|d| d.contains("drop_extension_guard")), "{error:?}");
    client.batch_execute("DROP EXTENSION pgbatch CASCADE").await?;
    Ok(())
}

#[tokio::test]
async fn two_creators_at_once_make_one_guard() -> Tested {
    let database = database().await?;
    let (first, second) = (database.connect().await?, database.connect().await?);
    let watcher = database.connect().await?;
    // The row of the installation is there already, so that nothing but the guard is contended.
    watcher.batch_execute("SELECT pgbatch.try_lead()").await?;
    first.batch_execute("BEGIN; SELECT pgbatch.create_queue('a', sql => 'SELECT 1')").await?;
    let (created, ()) =
        tokio::join!(second.batch_execute("SELECT pgbatch.create_queue('b', sql => 'SELECT 1')"), async {
            crate::support::until_waiting(&watcher, "Lock").await;
            let _ = first.batch_execute("COMMIT").await;
        });
    created?;
    assert_eq!(value::<i64>(&watcher, "SELECT count(*) FROM pgbatch.queues").await?, 2);
    Ok(())
}

#[tokio::test]
async fn a_schema_of_its_name_that_is_not_its_own_stops_the_installation() -> Tested {
    let database = Server::shared()?.empty_database().await?;
    database.connect_as(SUPERUSER).await?.batch_execute("CREATE SCHEMA pgbatch").await?;
    let error = refused(database.connect().await?.batch_execute("CREATE EXTENSION pgbatch").await)?;
    assert_eq!(error.code().code(), "42P06", "{error}");
    Ok(())
}

/// Objects of `public` that a search path would find first, if anything of the extension used one.
#[tokio::test]
async fn objects_of_the_same_name_in_public_do_no_harm() -> Tested {
    const HOSTILE: &str = "
        CREATE TABLE public.queue (name text); CREATE TABLE public.batch (id bigint); CREATE TABLE public.run ();
        CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE sql AS $$ SELECT '-infinity'::timestamptz $$;
        CREATE FUNCTION public.format(text, text) RETURNS text LANGUAGE sql AS $$ SELECT 'hostile' $$;
        CREATE FUNCTION public.hostile(int, int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'hostile'; END $$;
        CREATE OPERATOR public.= (LEFTARG = int, RIGHTARG = int, FUNCTION = public.hostile);
        CREATE FUNCTION public.hostile_text(text, text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'hostile'; END $$;
        CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.hostile_text);
        CREATE FUNCTION public.hostile_sum(int, int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE 'hostile'; END $$;
        CREATE OPERATOR public.+ (LEFTARG = int, RIGHTARG = int, FUNCTION = public.hostile_sum);
        CREATE OPERATOR public.% (LEFTARG = int, RIGHTARG = int, FUNCTION = public.hostile_sum);
        CREATE FUNCTION public.cardinality(anyarray) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE 'hostile'; END $$;
        CREATE FUNCTION public.to_jsonb(record) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE 'hostile'; END $$;";
    let database = database().await?;
    database.connect_as(SUPERUSER).await?.batch_execute(HOSTILE).await?;
    let client = database.connect().await?;
    client.batch_execute("SET search_path = public, pg_catalog").await?;
    whole_life(&client).await
}

async fn whole_life(client: &Client) -> Tested {
    let calls = "
        SELECT pgbatch.create_queue('q', sql => 'SELECT 1', items_per_run => 2);
        SELECT pgbatch.alter_queue('q', max_parallel => 3); SELECT pgbatch.pause_queue('q'); SELECT pgbatch.resume_queue('q');
        SELECT pgbatch.enqueue('q', unique_key => 'u'), pgbatch.enqueue_batch('q', ARRAY['{}'::jsonb]),
            pgbatch.enqueue_query('q', 'SELECT 1 AS a'), pgbatch.try_lead(), pgbatch.contract_version();
        SELECT pgbatch.observe(1);
        SELECT pgbatch.claim(1, '[{\"batch\": 1, \"first_item\": 1, \"last_item\": 1, \"attempt\": 1}]');
        SELECT pgbatch.finish_runs(1, '[{\"run\": 1, \"state\": \"failed\", \"retry_in_ms\": 0}]');
        SELECT pgbatch.cancel_batch(1), pgbatch.retry_batch(2), pgbatch.wait_batch(1, '1 s');
        SELECT * FROM pgbatch.queues; SELECT * FROM pgbatch.batches; SELECT * FROM pgbatch.items; SELECT * FROM pgbatch.runs;
        SELECT pgbatch.drop_queue('q', force => true);";
    for call in calls.split_terminator(";\n") {
        client.batch_execute(call).await.map_err(|e| format!("{call}: {e:?}"))?;
    }
    let state: String =
        value(client, "SELECT state FROM pgbatch.batches WHERE id OPERATOR(pg_catalog.=) 1").await?;
    assert_eq!(state, "cancelled");
    Ok(())
}
