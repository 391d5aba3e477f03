//! create_queue, alter_queue, drop_queue, and the view of queues.

use pgbatch_core::state::RunState::{Failed, Succeeded};
use serde_json::Value;

use crate::support::{Tested, claim_one, enqueue, finish, observe, outcome, refused, value, with_queue};

const TEMPLATE: &str = r#"{"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "b"}]}}}}"#;

#[tokio::test]
async fn the_defaults_are_those_of_the_contract() -> Tested {
    let (_database, client) = with_queue("").await?;
    let row: Value = value(&client, "SELECT to_jsonb(q) - 'created_at' FROM pgbatch.queues q").await?;
    let expected = serde_json::json!({
        "name": "q", "sql": "SELECT 1", "sql_role": null, "job_template": null, "paused": false, "max_parallel": 10,
        "limit_name": null, "items_per_run": 1, "max_attempts": 3, "retry_backoff": "00:00:10", "retry_backoff_max": "01:00:00",
        "run_timeout": null, "namespace": null, "priority": 0, "max_per_key": null, "max_starts": null,
        "max_starts_per": "00:01:00", "keep_succeeded": 10, "keep_failed": 10, "retain": "7 days",
        "options": null, "created_by": "owner", "pending": 0, "running": 0, "retrying": 0, "failed": 0, "oldest_pending": null,
        "template_error": null
    });
    assert_eq!(row, expected);
    Ok(())
}

#[tokio::test]
async fn altering_changes_what_is_given_and_nothing_else() -> Tested {
    let (_database, client) = with_queue(", max_starts => 5").await?;
    client
        .batch_execute("SELECT pgbatch.alter_queue('q', max_parallel => 2, run_timeout => '1 min')")
        .await?;
    let sql = "SELECT concat_ws(' ', max_parallel, run_timeout, max_starts, retain, sql) FROM pgbatch.queues";
    assert_eq!(value::<String>(&client, sql).await?, "2 00:01:00 5 7 days SELECT 1");
    client.batch_execute(&format!("SELECT pgbatch.alter_queue('q', job_template => '{TEMPLATE}')")).await?;
    assert!(
        value::<bool>(&client, "SELECT sql IS NULL AND job_template IS NOT NULL FROM pgbatch.queues").await?
    );
    client.batch_execute("SELECT pgbatch.alter_queue('q', sql => 'SELECT 2')").await?;
    assert!(
        value::<bool>(&client, "SELECT sql = 'SELECT 2' AND job_template IS NULL FROM pgbatch.queues")
            .await?
    );
    Ok(())
}

#[tokio::test]
async fn the_view_counts_the_items_of_open_batches() -> Tested {
    let (_database, client) = with_queue("").await?;
    enqueue(&client, 3, ", not_before => now() + interval '1 h'").await?;
    let id = enqueue(&client, 5, "").await?;
    enqueue(&client, 7, "").await?;
    let first = claim_one(&client, (id, 1, 1, 1)).await?.run;
    claim_one(&client, (id, 2, 3, 1)).await?;
    finish(&client, &[outcome(first, Failed)]).await?;
    let done = enqueue(&client, 2, ", max_attempts => 1").await?;
    let run = claim_one(&client, (done, 1, 2, 1)).await?.run;
    finish(&client, &[outcome(run, Failed)]).await?;
    let sql = "SELECT concat_ws(' ', pending, running, retrying, failed) FROM pgbatch.queues";
    assert_eq!(value::<String>(&client, sql).await?, "12 2 1 2");
    let oldest = format!(
        "SELECT oldest_pending = (SELECT created_at FROM pgbatch.batches WHERE id = {id}) FROM pgbatch.queues"
    );
    assert!(value::<bool>(&client, &oldest).await?);
    Ok(())
}

#[tokio::test]
async fn a_queue_with_open_batches_is_dropped_by_force_only() -> Tested {
    let (_database, client) = with_queue("").await?;
    let ended = enqueue(&client, 1, "").await?;
    let run = claim_one(&client, (ended, 1, 1, 1)).await?.run;
    finish(&client, &[outcome(run, Succeeded)]).await?;
    let open = enqueue(&client, 2, "").await?;
    let run = claim_one(&client, (open, 1, 1, 1)).await?;
    client.query("SELECT pgbatch.complete_item($1, $2, 1)", &[&run.run, &run.token]).await?;
    let error = refused(client.batch_execute("SELECT pgbatch.drop_queue('q')").await)?;
    assert_eq!((error.code().code(), error.hint().is_some()), ("55006", true));
    let error = refused(client.batch_execute("SELECT pgbatch.drop_queue('q', force => true)").await)?;
    assert_eq!(error.message(), "queue \"q\" has live runs");
    finish(&client, &[outcome(run.run, Failed)]).await?;
    client.batch_execute("SELECT pgbatch.drop_queue('q', force => true)").await?;
    let left = "SELECT concat_ws(' ', (SELECT count(*) FROM pgbatch.queue), (SELECT min(id) FROM pgbatch.batch),
        (SELECT count(*) FROM pgbatch.batch), (SELECT count(*) FROM pgbatch.stored_item), (SELECT count(*) FROM pgbatch.run),
        (SELECT count(*) FROM pgbatch.report), (SELECT count(*) FROM pgbatch.retry))";
    assert_eq!(value::<String>(&client, left).await?, format!("0 {ended} 1 1 1 0 0"), "what ended stays");
    Ok(())
}

#[tokio::test]
async fn a_queue_without_work_is_observed_when_asked_for() -> Tested {
    let (_database, client) = with_queue("").await?;
    assert_eq!(observe(&client).await?.queues.len(), 0);
    let view: Value = value(&client, "SELECT pgbatch.observe(0, ARRAY['q', 'nope'])").await?;
    let view: pgbatch_core::snapshot::StoreView = serde_json::from_value(view)?;
    assert_eq!(view.queues.iter().map(|q| q.name.as_str()).collect::<Vec<_>>(), ["q"]);
    Ok(())
}

/// Every setting there is: a new one is forgotten here no more than in the list of the HINT.
#[tokio::test]
async fn each_setting_can_be_reset_to_its_default() -> Tested {
    let (_database, client) = with_queue(
        ", max_parallel => 77, items_per_run => 7, max_attempts => 7, retry_backoff => '7 s', retry_backoff_max => '7 h',
         run_timeout => '7 s', namespace => 'seven', priority => 7, max_per_key => 7, max_starts => 7,
         max_starts_per => '7 s', keep_succeeded => 7, keep_failed => 7, retain => '77 days'",
    )
    .await?;
    client
        .batch_execute(
            "SELECT pgbatch.create_limit('l', 7), pgbatch.alter_queue('q', limit_name => 'l'),
                 pgbatch.create_queue('fresh', sql => 'SELECT 1');
             UPDATE pgbatch.queue SET options = '{}' WHERE name = 'q'",
        )
        .await?;
    let differing = "SELECT key FROM pgbatch.queue q, jsonb_each(to_jsonb(q)) e
        WHERE name = 'q' AND value <> (SELECT to_jsonb(f) -> key FROM pgbatch.queue f WHERE f.name = 'fresh')
            AND key NOT IN ('name', 'created_at') ORDER BY key";
    let settings: Vec<String> = client.query(differing, &[]).await?.iter().map(|row| row.get(0)).collect();
    let error = refused(client.batch_execute("SELECT pgbatch.reset_queue('q', 'sql')").await)?;
    assert_eq!((error.code().code(), error.message()), ("22023", "setting is invalid: 'sql'"));
    let hint = error.hint().unwrap_or_default().trim_start_matches("One of ").trim_end_matches('.');
    let mut listed: Vec<_> = hint.split(", ").map(str::to_owned).collect();
    listed.sort_unstable();
    assert_eq!(listed, settings);
    for (n, setting) in settings.iter().enumerate() {
        client.execute("SELECT pgbatch.reset_queue('q', $1)", &[setting]).await?;
        assert_eq!(client.query(differing, &[]).await?.len(), settings.len() - n - 1, "{setting}");
    }
    client.batch_execute("SELECT pgbatch.drop_limit('l')").await?;
    Ok(())
}

#[tokio::test]
async fn a_default_that_does_not_fit_the_other_settings_is_refused() -> Tested {
    let (_database, client) = with_queue(", retry_backoff => '2 h', retry_backoff_max => '3 h'").await?;
    let error = refused(client.batch_execute("SELECT pgbatch.reset_queue('q', 'retry_backoff_max')").await)?;
    assert_eq!(error.message(), "retry_backoff_max must be from 02:00:00 to 100 years, not 01:00:00");
    Ok(())
}
