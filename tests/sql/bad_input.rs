//! Bad input: one ERROR with its SQLSTATE, what is wrong in the message, a HINT, and nothing stored.

use crate::support::{Tested, refused, value, with_queue};

/// Runs the statement in a database with queue `q`, and checks its ERROR.
async fn check(sql: &str, sqlstate: &str, says: &str) -> Tested {
    const STORED: &str = "SELECT (SELECT count(*) FROM pgbatch.queue) + (SELECT count(*) FROM pgbatch.batch)
        + (SELECT count(*) FROM pgbatch.item)";
    let (_database, client) = with_queue("").await?;
    let error = refused(client.batch_execute(sql).await)?;
    assert_eq!(error.code().code(), sqlstate, "{error}");
    assert!(error.message().contains(says), "{says:?} is not in {:?}", error.message());
    assert!(error.hint().is_some(), "no HINT: {error}");
    assert_eq!(value::<i64>(&client, STORED).await?, 1, "something was stored");
    Ok(())
}

macro_rules! bad_input {
    ($($name:ident: $sql:expr => $sqlstate:literal $says:literal;)+) => {
        $(#[tokio::test] async fn $name() -> Tested { check($sql, $sqlstate, $says).await })+
    };
}

const INVALID: &str = r#"SELECT pgbatch.create_queue('x', '{"spec": {"template": {"spec": {"containers": ["#;

fn container(text: &str) -> String {
    format!("{INVALID}{text}]}}}}}}}}')")
}

bad_input! {
    template_without_containers: &container("") => "22023"
        "job_template is invalid at spec.template.spec.containers: missing";
    template_with_unknown_field: &container(r#"{"name": "a", "imge": "b"}"#) => "22023"
        r#"job_template is invalid at spec.template.spec.containers[0].imge: unknown field, did you mean "image"?"#;
    template_with_wrong_type: &container(r#"{"name": "a", "image": "b", "command": "c"}"#) => "22023"
        "job_template is invalid at spec.template.spec.containers[0].command: invalid type";
    template_that_is_no_object: "SELECT pgbatch.create_queue('x', '7')" => "22023" "job_template is invalid at $: ";
    template_and_sql: "SELECT pgbatch.create_queue('x', '{}', 'SELECT 1')" => "22023" "exactly one of job_template and sql";
    neither_template_nor_sql: "SELECT pgbatch.create_queue('x')" => "22023" "exactly one of job_template and sql";
    empty_sql: "SELECT pgbatch.create_queue('x', sql => E' \n')" => "22023" "sql is empty";
    queue_name_in_capitals: "SELECT pgbatch.create_queue('Claps', sql => 'SELECT 1')" => "22023" "name is invalid: 'Claps'";
    queue_name_too_long: "SELECT pgbatch.create_queue(repeat('a', 41), sql => 'SELECT 1')" => "22023" "name is invalid";
    queue_name_with_last_dash: "SELECT pgbatch.create_queue('a-', sql => 'SELECT 1')" => "22023" "name is invalid";
    queue_name_with_line_break: r"SELECT pgbatch.create_queue(E'a\n', sql => 'SELECT 1')" => "22023" "name is invalid";
    queue_name_null: "SELECT pgbatch.create_queue(NULL, sql => 'SELECT 1')" => "22023" "name is invalid: NULL";
    queue_name_taken: "SELECT pgbatch.create_queue('q', sql => 'SELECT 1')" => "42710" "queue \"q\" exists already";
    bad_namespace: "SELECT pgbatch.create_queue('x', sql => 'SELECT 1', namespace => 'a.b')" => "22023" "namespace is invalid: 'a.b'";
    negative_limit: "SELECT pgbatch.create_queue('x', sql => 'SELECT 1', max_parallel => -3)" => "22023" "max_parallel must be at least 1, not -3";
    zero_limit: "SELECT pgbatch.create_queue('x', sql => 'SELECT 1', max_per_key => 0)" => "22023" "max_per_key must be at least 1, not 0";
    limit_null: "SELECT pgbatch.create_queue('x', sql => 'SELECT 1', items_per_run => NULL)" => "22023" "items_per_run must be at least 1, not NULL";
    negative_backoff: "SELECT pgbatch.create_queue('x', sql => 'SELECT 1', retry_backoff => '-1 s')" => "22023" "retry_backoff must be from 00:00:00 to 100 years, not -00:00:01";
    backoff_above_its_maximum: "SELECT pgbatch.create_queue('x', sql => 'SELECT 1', retry_backoff => '2 h')" => "22023" "retry_backoff_max must be from 02:00:00";
    timeout_zero: "SELECT pgbatch.create_queue('x', sql => 'SELECT 1', run_timeout => '0')" => "22023" "run_timeout must be from";
    alter_to_a_bad_limit: "SELECT pgbatch.alter_queue('q', max_starts => -1)" => "22023" "max_starts must be at least 1";
    alter_unknown_queue: "SELECT pgbatch.alter_queue('nope')" => "42704" "queue \"nope\" does not exist";
    pause_unknown_queue: "SELECT pgbatch.pause_queue('nope')" => "42704" "queue \"nope\" does not exist";
    drop_unknown_queue: "SELECT pgbatch.drop_queue('nope')" => "42704" "queue \"nope\" does not exist";
    enqueue_to_unknown_queue: "SELECT pgbatch.enqueue('nope')" => "42704" "queue \"nope\" does not exist";
    enqueue_batch_to_unknown_queue: "SELECT pgbatch.enqueue_batch('nope', '{}')" => "42704" "queue \"nope\" does not exist";
    enqueue_query_to_unknown_queue: "SELECT pgbatch.enqueue_query('nope', 'SELECT 1')" => "42704" "queue \"nope\" does not exist";
    enqueue_to_null: "SELECT pgbatch.enqueue(NULL)" => "42704" "queue NULL does not exist";
    item_is_an_array: "SELECT pgbatch.enqueue('q', '[1]')" => "22023" "item is invalid: array, expected a JSON object";
    item_is_null: "SELECT pgbatch.enqueue('q', NULL)" => "22023" "item is invalid: NULL, expected a JSON object";
    item_too_large: "SELECT pgbatch.enqueue('q', jsonb_build_object('x', repeat('x', 65528)))" => "22023" "item is too large: 65537 bytes as text, at most 65536 are allowed";
    third_item_is_a_number: "SELECT pgbatch.enqueue_batch('q', ARRAY['{}', '{}', '7', '8']::jsonb[])" => "22023" "items[3] is invalid: number";
    second_item_too_large: "SELECT pgbatch.enqueue_batch('q', ARRAY['{}', jsonb_build_object('x', repeat('x', 65528))])" => "22023" "items[2] is too large";
    items_null: "SELECT pgbatch.enqueue_batch('q', NULL)" => "22023" "items must not be NULL";
    row_too_large: "SELECT pgbatch.enqueue_query('q', 'SELECT repeat(''x'', n) AS x FROM unnest(ARRAY[1, 65536]) n')" => "22023" "items[2] is too large";
    query_null: "SELECT pgbatch.enqueue_query('q', NULL)" => "22023" "query must not be NULL";
    priority_null: "SELECT pgbatch.enqueue('q', priority => NULL)" => "22023" "priority must not be NULL";
    not_before_infinity: "SELECT pgbatch.enqueue('q', not_before => 'infinity')" => "22023" "not_before must be a point in time";
    label_too_long: "SELECT pgbatch.enqueue('q', label => repeat('x', 1025))" => "22023" "must be at most 1024 bytes";
    attempts_zero: "SELECT pgbatch.enqueue('q', max_attempts => 0)" => "22023" "max_attempts must be at least 1, not 0";
    after_null: "SELECT pgbatch.enqueue('q', after => ARRAY[NULL]::bigint[])" => "22023" "after must not contain NULL";
    after_unknown: "SELECT pgbatch.enqueue('q', after => ARRAY[77])" => "42704" "batch 77 does not exist";
    cancel_unknown_batch: "SELECT pgbatch.cancel_batch(77)" => "42704" "batch 77 does not exist";
    retry_unknown_batch: "SELECT pgbatch.retry_batch(77)" => "42704" "batch 77 does not exist";
    wait_for_unknown_batch: "SELECT pgbatch.wait_batch(77)" => "42704" "batch 77 does not exist";
    wait_for_null: "SELECT pgbatch.wait_batch(NULL)" => "42704" "batch NULL does not exist";
    wait_negative: "SELECT pgbatch.wait_batch(1, '-1 s')" => "22023" "timeout must not be negative";
    outcome_that_is_no_end: r#"SELECT pgbatch.finish_runs(0, '[{"run": 1, "state": "running"}]')"# => "22023" "state must be a final state";
}

#[tokio::test]
async fn several_problems_of_a_template_are_listed() -> Tested {
    let (_database, client) = with_queue("").await?;
    let template = r#"{"a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1}"#;
    let error =
        refused(client.batch_execute(&format!("SELECT pgbatch.create_queue('x', '{template}')")).await)?;
    let detail = error.detail().unwrap_or_default();
    assert_eq!(detail.lines().count(), 6, "{detail}");
    assert!(detail.starts_with("a: unknown field\n") && detail.ends_with("and 1 more"), "{detail}");
    Ok(())
}

#[tokio::test]
async fn the_largest_item_is_taken() -> Tested {
    let (_database, client) = with_queue("").await?;
    client.batch_execute("SELECT pgbatch.enqueue('q', jsonb_build_object('x', repeat('x', 65527)))").await?;
    Ok(())
}
