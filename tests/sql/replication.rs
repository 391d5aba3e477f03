//! The doorbell where rows come by replication: a promoted standby, and a subscriber whose apply worker enqueues.

use e2e::postgres::{Options, SUPERUSER, Server};
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::support::{Bell, LIMIT, Tested, sleep, until_waiting, value};

const SEQ: &str = "SELECT pgbatch.doorbell_seq()";

/// Who waits on a standby sleeps on through the promotion, and hears the first commit after it.
#[tokio::test]
async fn a_promoted_standby_rings() -> Tested {
    let primary = Server::start(&Options::default())?;
    let database = primary.database().await?;
    let client = database.connect().await?;
    client.batch_execute("SELECT pgbatch.create_queue('q', sql => 'SELECT 1')").await?;
    let standby = primary.standby(&Options::default())?;
    let copy = standby.existing_database(&database.name);
    let (client, sleeper) = (copy.connect().await?, copy.connect().await?);
    let now = value(&client, SEQ).await?;
    let sleeping = sleep(sleeper, now);
    until_waiting(&client, "Extension").await;
    standby.promote()?;
    assert!(!sleeping.is_finished(), "a promotion is no work");
    client.batch_execute("SELECT pgbatch.enqueue('q')").await?;
    tokio::time::timeout(LIMIT, sleeping).await??.0?;
    Ok(())
}

/// A publisher and its subscriber: two databases of one server.
async fn subscriber() -> Tested<(Server, Client, Client, Bell)> {
    let server = Server::start(&Options {
        settings: vec![("wal_level".into(), "logical".into())],
        ..Options::default()
    })?;
    let publisher = server.empty_database().await?;
    let database = server.database().await?;
    let source = publisher.connect_as(SUPERUSER).await?;
    source
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY, amount int); CREATE PUBLICATION p FOR TABLE t")
        .await?;
    // It cannot be made for a subscription in the same server, nor in a transaction that has written.
    source.batch_execute("SELECT pg_create_logical_replication_slot('s', 'pgoutput')").await?;
    let client = database.connect().await?;
    client
        .batch_execute(
            "SELECT pgbatch.create_queue('q', sql => 'SELECT 1'); CREATE TABLE t (id int PRIMARY KEY, amount int);
             SELECT pgbatch.enqueue_on_insert('t', 'q')",
        )
        .await?;
    let (socket, port) = publisher.socket();
    let connection =
        format!("host={} port={port} dbname={} user={SUPERUSER}", socket.display(), publisher.name);
    let superuser = database.connect_as(SUPERUSER).await?;
    // From 16 on the triggers of others run as the table's owner unless told otherwise, where pgbatch cannot tell whose call it is.
    let as_owner: &str =
        match value::<bool>(&superuser, "SELECT current_setting('server_version_num')::int >= 160000").await?
        {
            true => ", run_as_owner = true",
            false => "",
        };
    superuser
        .batch_execute(&format!(
            "CREATE SUBSCRIPTION s CONNECTION '{connection}' PUBLICATION p
             WITH (create_slot = false, copy_data = false{as_owner})"
        ))
        .await?;
    Ok((server, source, client, Bell::of(&database).await?))
}

/// PostgreSQL's apply worker passes row triggers that are enabled for replicas, and no triggers of statements: so one of
/// the table's own enqueues, and its commit rings.
#[tokio::test]
async fn rows_that_are_applied_by_logical_replication_ring_by_a_row_trigger() -> Tested {
    let (_server, source, client, mut bell) = subscriber().await?;
    client
        .batch_execute(
            "CREATE FUNCTION enqueue_row() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pgbatch.enqueue('q', to_jsonb(new)); RETURN NULL; END $$;
             CREATE TRIGGER enqueue_row AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION enqueue_row();
             ALTER TABLE t ENABLE REPLICA TRIGGER enqueue_row",
        )
        .await?;
    let mut seen: Vec<Value> = vec![];
    for id in [1, 2] {
        let items = "SELECT coalesce(jsonb_agg(item ORDER BY batch_id), '[]') FROM pgbatch.items";
        let rings = bell.rings().await?;
        source.execute("INSERT INTO t VALUES ($1, 10)", &[&id]).await?;
        tokio::time::timeout(LIMIT, bell.rung_since(rings)).await??;
        seen.push(json!({"id": id, "amount": 10}));
        assert_eq!(value::<Value>(&client, items).await?, json!(seen), "each row once, as the README says");
    }
    // Those of one's own pass the other one.
    client.batch_execute("INSERT INTO t VALUES (3, 30)").await?;
    let label = "SELECT string_agg(coalesce(label, '-'), ' ' ORDER BY id) FROM pgbatch.batches";
    assert_eq!(value::<String>(&client, label).await?, "- - t-q");
    Ok(())
}

/// Tools that copy databases work so; what they commit is work, too.
#[tokio::test]
async fn a_session_that_is_a_replica_rings() -> Tested {
    let server = Server::start(&Options::default())?;
    let database = server.database().await?;
    let client = database.connect_as(SUPERUSER).await?;
    client
        .batch_execute(
            "SELECT pgbatch.create_queue('q', sql => 'SELECT 1'); SET session_replication_role = replica",
        )
        .await?;
    let mut bell = Bell::of(&database).await?;
    let before = bell.rings().await?;
    client.batch_execute("SELECT pgbatch.enqueue('q')").await?;
    assert_eq!(bell.rings().await?, before + 1);
    Ok(())
}
