//! The floor: the rows that `enqueue()` writes, by one INSERT into a table with the same columns and a primary key.

use e2e::postgres::{Database, Server};
use tokio_postgres::Client;

use crate::rig::{Failed, QUEUE, connect, payload, with_queue};

/// The statement that inserts the row of one enqueued item into `schema.batch`.
///
/// It is read off a row that enqueue() wrote: what that left to defaults is left to them here too.
pub(crate) async fn insert(client: &Client, schema: &str) -> Result<String, Failed> {
    let enqueue = format!("SELECT pgbatch.enqueue('{QUEUE}', {})", payload("1"));
    let id: i64 = client.query_one(&enqueue, &[]).await?.get(0);
    let elsewhere: i64 =
        client.query_one("SELECT count(*) FROM pgbatch.item WHERE batch_id = $1", &[&id]).await?.get(0);
    if elsewhere != 0 {
        return Err(
            "enqueue() writes other rows than one into pgbatch.batch: the floor is out of date".into()
        );
    }
    let sql = "
        SELECT string_agg(quote_ident(c.key), ', '),
            string_agg(CASE c.key WHEN 'item' THEN $2 ELSE quote_literal(c.value) END, ', ')
        FROM pgbatch.batch b CROSS JOIN LATERAL jsonb_each_text(to_jsonb(b)) c
        WHERE b.id = $1 AND c.value IS NOT NULL AND NOT EXISTS (
            SELECT FROM pg_attribute a
            WHERE a.attrelid = 'pgbatch.batch'::regclass AND a.attname = c.key AND (a.atthasdef OR a.attidentity <> ''))";
    let row = client.query_one(sql, &[&id, &payload(":n::int")]).await?;
    let (columns, values): (String, String) = (row.get(0), row.get(1));
    Ok(format!("INSERT INTO {schema}.batch ({columns}) VALUES ({values})"))
}

/// A database with such a table; `notify` adds the usual doorbell to it, a trigger that calls pg_notify().
pub(crate) async fn database(server: &Server, notify: bool) -> Result<(Database, String), Failed> {
    let (database, _) = with_queue(server, "").await?;
    let client = connect(&database).await?;
    client
        .batch_execute(
            "CREATE SCHEMA bare;
             CREATE TABLE bare.batch (LIKE pgbatch.batch INCLUDING DEFAULTS INCLUDING IDENTITY);
             ALTER TABLE bare.batch ADD PRIMARY KEY (id)",
        )
        .await?;
    if notify {
        client
            .batch_execute(
                "CREATE FUNCTION bare.ring() RETURNS trigger LANGUAGE plpgsql AS
                     $$ BEGIN PERFORM pg_notify('bell', ''); RETURN NULL; END $$;
                 CREATE TRIGGER ring AFTER INSERT ON bare.batch FOR EACH STATEMENT EXECUTE FUNCTION bare.ring()",
            )
            .await?;
    }
    let statement = insert(&client, "bare").await?;
    Ok((database, statement))
}
