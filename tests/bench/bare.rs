//! The floor: the rows that `enqueue()` writes, by one INSERT into a table with the same columns and a primary key.

use e2e::postgres::{Database, Server};
use tokio_postgres::Client;

use crate::rig::{Failed, QUEUE, connect, payload, with_queue};

/// Enqueues one item. Returns its batch, and which columns of its row enqueue() had set: those that have neither a
/// default nor NULL.
pub(crate) async fn sample(client: &Client, queue: &str) -> Result<(i64, String), Failed> {
    let enqueue = format!("SELECT pgbatch.enqueue('{queue}', {})", payload("1"));
    let id: i64 = client.query_one(&enqueue, &[]).await?.get(0);
    let elsewhere: i64 =
        client.query_one("SELECT count(*) FROM pgbatch.item WHERE batch_id = $1", &[&id]).await?.get(0);
    if elsewhere != 0 {
        return Err(
            "enqueue() writes other rows than one into pgbatch.batch: the floor is out of date".into()
        );
    }
    let sql = "
        SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum)
        FROM pgbatch.batch b CROSS JOIN LATERAL jsonb_each_text(to_jsonb(b)) c
        JOIN pg_attribute a ON a.attrelid = 'pgbatch.batch'::regclass AND a.attname = c.key
        WHERE b.id = $1 AND c.value IS NOT NULL AND NOT a.atthasdef AND a.attidentity = ''";
    Ok((id, client.query_one(sql, &[&id]).await?.get(0)))
}

/// The statement that inserts such a row, of the given item, into `bare.batch`.
async fn insert(client: &Client) -> Result<String, Failed> {
    let (id, columns) = sample(client, QUEUE).await?;
    let sql = "
        SELECT string_agg(CASE a.attname WHEN 'item' THEN $3 ELSE quote_literal(to_jsonb(b) ->> a.attname) END, ', '
            ORDER BY a.attnum)
        FROM pgbatch.batch b
        JOIN pg_attribute a ON a.attrelid = 'pgbatch.batch'::regclass AND quote_ident(a.attname) = ANY (string_to_array($2, ', '))
        WHERE b.id = $1";
    let values: String = client.query_one(sql, &[&id, &columns, &payload(":n::int")]).await?.get(0);
    Ok(format!("INSERT INTO bare.batch ({columns}) VALUES ({values})"))
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
    let statement = insert(&client).await?;
    Ok((database, statement))
}
