//! Who has done what, and why: the view of actions.

use e2e::postgres::{OWNER, SUPERUSER, Server};
use pgbatch_core::state::RunState::Failed;
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::dump::copy;
use crate::support::{Tested, claim_one, enqueue, finish, outcome, value, with_queue};

/// Each action since a number: its name, and what else there is of `columns`.
async fn since(client: &Client, id: i64, columns: &str) -> Tested<Value> {
    let sql = format!(
        "SELECT coalesce(jsonb_agg(jsonb_build_array(action, {columns}) ORDER BY id), '[]') FROM pgbatch.actions WHERE id > {id}"
    );
    value(client, &sql).await
}

async fn last(client: &Client) -> Tested<i64> {
    value(client, "SELECT coalesce(max(id), 0) FROM pgbatch.actions").await
}

/// Calls one after the other, and what is noted of each: the action, its queue, batch and trigger, and what else there is.
const CALLS: &[(&str, &str)] = &[
    ("create_queue('r', sql => 'SELECT 1')", "create_queue r - - -"),
    (
        "alter_queue('q', max_parallel => 3, sql => 'SELECT 2')",
        r#"alter_queue q - - {"sql": {}, "max_parallel": {"to": 3, "from": 10}}"#,
    ),
    ("reset_queue('q', 'max_parallel')", r#"alter_queue q - - {"max_parallel": {"to": 10, "from": 3}}"#),
    ("pause_queue('q')", "pause_queue q - - -"),
    ("resume_queue('q')", "resume_queue q - - -"),
    ("retry_batch(1)", r#"retry_batch q 1 - {"items": 2}"#),
    (
        "set_deadline(1, '2026-01-02 06:00:00+00')",
        r#"set_deadline q 1 - {"deadline": {"to": "2026-01-02T06:00:00+00:00", "from": null}}"#,
    ),
    // It has it already; and what a batch is enqueued with is no action.
    ("set_deadline(1, '2026-01-02 06:00:00+00')", ""),
    ("set_deadline(pgbatch.enqueue('q'), now())", ""),
    ("cancel_batch(1)", "cancel_batch q 1 - -"),
    // It has ended.
    ("cancel_batch(1)", ""),
    ("create_limit('l', 2)", r#"create_limit - - - {"limit": "l", "max_parallel": 2}"#),
    ("alter_limit('l', 3)", r#"alter_limit - - - {"limit": "l", "max_parallel": 3}"#),
    ("drop_limit('l')", r#"drop_limit - - - {"limit": "l"}"#),
    ("grant('q', 'postgres', 'read')", r#"grant q - - {"role": "postgres", "what": "read"}"#),
    ("revoke('q', 'postgres', 'read')", r#"revoke q - - {"role": "postgres", "what": ["read"]}"#),
    ("enqueue_on_insert('t', 'q')", r#"create_trigger q - t-q {"kind": "insert"}"#),
    ("drop_trigger('t-q')", r#"drop_trigger q - t-q {"kind": "insert"}"#),
    ("watch_rows('w', 'q', 'SELECT id FROM t')", r#"create_trigger q - w {"kind": "rows"}"#),
    ("drop_trigger('w')", r#"drop_trigger q - w {"kind": "rows"}"#),
    ("schedule('s', 'q', '0 2 * * *')", r#"create_trigger q - s {"kind": "schedule"}"#),
    (
        "alter_schedule('s', cron => '0 3 * * *')",
        r#"alter_schedule q - s {"cron": {"to": "0 3 * * *", "from": "0 2 * * *"}}"#,
    ),
    ("drop_trigger('s')", r#"drop_trigger q - s {"kind": "schedule"}"#),
    ("watch_kafka('k', 'q', 'localhost:9092', 'topic')", r#"create_trigger q - k {"kind": "kafka"}"#),
    ("seek_kafka('k', 1, 7)", r#"seek_kafka q - k {"partition": 1, "next_offset": 7}"#),
    ("drop_trigger('k')", r#"drop_trigger q - k {"kind": "kafka"}"#),
    ("drop_queue('r')", r#"drop_queue r - - {"open_batches": 0}"#),
];

#[tokio::test]
async fn each_call_that_changes_something_is_noted_with_what_it_was() -> Tested {
    let (_database, client) = with_queue(", max_attempts => 1").await?;
    client.batch_execute("CREATE TABLE t (id int PRIMARY KEY)").await?;
    let batch = enqueue(&client, 2, "").await?;
    let run = claim_one(&client, (batch, 1, 2, 1)).await?.run;
    finish(&client, &[outcome(run, Failed)]).await?;
    assert_eq!(batch, 1, "as the calls have it");
    for (call, noted) in CALLS {
        let before = last(&client).await?;
        client.execute(&format!("SELECT pgbatch.{call}"), &[]).await?;
        let words = format!(
            "SELECT coalesce(string_agg(concat_ws(' ', action, coalesce(queue, '-'), coalesce(batch_id::text, '-'),
                coalesce(trigger, '-'), coalesce(detail::text, '-')), '; '), '') FROM pgbatch.actions WHERE id > {before}"
        );
        assert_eq!(value::<String>(&client, &words).await?, *noted, "{call}");
    }
    Ok(())
}

/// And what is taken back, or refused, was not done.
#[tokio::test]
async fn it_is_told_who_it_was_and_why() -> Tested {
    let (database, client) = with_queue("").await?;
    let role = format!("manager_of_{}", database.name);
    database
        .connect_as(SUPERUSER)
        .await?
        .batch_execute(&format!("CREATE ROLE {role} NOLOGIN; GRANT {role} TO {OWNER}"))
        .await?;
    client.execute("SELECT pgbatch.grant('q', $1, 'manage')", &[&role]).await?;
    let before = last(&client).await?;
    client
        .batch_execute(&format!(
            "BEGIN; SET LOCAL ROLE {role}; SET LOCAL pgbatch.reason = 'the disk is full'; SET LOCAL pgbatch.on_behalf_of = 'ann@example.com';
             SELECT pgbatch.pause_queue('q'); COMMIT;
             BEGIN; SELECT pgbatch.resume_queue('q'); ROLLBACK; SELECT pgbatch.resume_queue('q')"
        ))
        .await?;
    assert!(client.batch_execute("SELECT pgbatch.pause_queue('none')").await.is_err());
    let noted = json!([
        ["pause_queue", role, OWNER, "ann@example.com", "the disk is full"],
        ["resume_queue", OWNER, OWNER, null, null]
    ]);
    assert_eq!(since(&client, before, "role, login, on_behalf_of, reason").await?, noted);
    Ok(())
}

#[tokio::test]
async fn one_sees_those_of_the_queues_that_one_may_read() -> Tested {
    let (database, client) = with_queue("").await?;
    let role = format!("reader_of_{}", database.name);
    database.connect_as(SUPERUSER).await?.batch_execute(&format!("CREATE ROLE {role} LOGIN")).await?;
    client
        .batch_execute(&format!(
            "SELECT pgbatch.create_queue('r', sql => 'SELECT 1'), pgbatch.grant('q', '{role}', 'read'), pgbatch.pause_queue('q'),
                 pgbatch.pause_queue('r'), pgbatch.create_limit('l', 1)"
        ))
        .await?;
    let reader = database.connect_as(&role).await?;
    assert_eq!(
        since(&reader, 0, "queue").await?,
        json!([["create_queue", "q"], ["grant", "q"], ["pause_queue", "q"]])
    );
    assert!(reader.batch_execute("DELETE FROM pgbatch.action").await.is_err());
    Ok(())
}

#[tokio::test]
async fn they_are_dumped_and_restored_as_they_were_and_kept_for_a_year() -> Tested {
    let (database, client) = with_queue("").await?;
    client
        .batch_execute(
            "CREATE TABLE t (id int); SELECT pgbatch.watch_rows('w', 'q', 'SELECT id FROM t'), pgbatch.pause_queue('q')",
        )
        .await?;
    let copied = Server::shared()?.empty_database().await?;
    copy(&database, &copied, OWNER)?;
    let restored = copied.connect().await?;
    let all = "SELECT jsonb_agg(a ORDER BY id) FROM pgbatch.actions a";
    assert_eq!(value::<Value>(&restored, all).await?, value::<Value>(&client, all).await?);
    restored
        .batch_execute(
            "UPDATE pgbatch.action SET at = at - interval '366 days' WHERE action = 'create_queue'; SELECT pgbatch.resume_queue('q')",
        )
        .await?;
    let names = "SELECT string_agg(action, ' ' ORDER BY id) FROM pgbatch.actions";
    assert_eq!(value::<String>(&restored, names).await?, "create_trigger pause_queue resume_queue");
    Ok(())
}
