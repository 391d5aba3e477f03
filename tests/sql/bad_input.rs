//! Bad input: one ERROR with its SQLSTATE, what is wrong in the message, a HINT, and nothing stored.

use crate::support::{Tested, refused, value, with_queue};

/// Runs the statements, of which the last one is bad, in a database with queue `q`, and checks the ERROR.
async fn check(sql: &str, sqlstate: &str, says: &str) -> Tested {
    const STORED: &str = "SELECT (SELECT count(*) FROM pgbatch.queue) + (SELECT count(*) FROM pgbatch.batch)
        + (SELECT count(*) FROM pgbatch.stored_item)";
    let (_database, client) = with_queue("").await?;
    // Several statements in one message are one transaction; a case may also begin one itself.
    let error = refused(client.batch_execute(sql).await)?;
    client.batch_execute("ROLLBACK").await?;
    assert_eq!(error.code().code(), sqlstate, "{error}");
    assert!(error.message().contains(says), "{says:?} is not in {:?}", error.message());
    assert!(error.hint().is_some(), "no HINT: {error}");
    assert_eq!(value::<i64>(&client, STORED).await?, 1, "something was stored");
    Ok(())
}

macro_rules! bad_input {
    ($($name:ident: $sql:expr => $sqlstate:literal $says:literal;)+) => {
        $(#[tokio::test] async fn $name() -> Tested { check($sql, $sqlstate, $says).await })+

        /// Every case: its name, and its statements.
        pub(crate) fn cases() -> Vec<(&'static str, String)> {
            vec![$((stringify!($name), $sql.to_owned())),+]
        }
    };
}

/// Batch 1 of two items, the first of which run 1 has.
const LIVE: &str = r#"SELECT pgbatch.enqueue_batch('q', '{"{}", "{}"}', unique_key => 'u', max_attempts => 1);
    SELECT pgbatch.claim(0, '[{"batch": 1, "first_item": 1, "last_item": 1, "attempt": 1}]'); "#;

/// The same, after which run 1 says this.
fn says(call: &str) -> String {
    format!("{LIVE} SELECT pgbatch.{call} FROM pgbatch.run r")
}

/// Batch 1, the first item of which failed, and this.
fn failed(sql: &str) -> String {
    let claim =
        r#"SELECT pgbatch.claim(0, '[{"batch": 1, "first_item": 2, "last_item": 2, "attempt": 1}]');"#;
    let ends = r#"[{"run": 1, "state": "failed"}, {"run": 2, "state": "succeeded"}]"#;
    format!("{LIVE} {claim} SELECT pgbatch.finish_runs(0, '{ends}'); {sql}")
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
    item_with_a_long_number: "SELECT pgbatch.enqueue('q', '{\"x\": 1e100000}')" => "22023" "item is too large: 100008 bytes as text, at most 65536 are allowed";
    second_item_too_large: "SELECT pgbatch.enqueue_batch('q', ARRAY['{}', jsonb_build_object('x', repeat('x', 65528))])" => "22023" "items[2] is too large";
    items_null: "SELECT pgbatch.enqueue_batch('q', NULL)" => "22023" "items must not be NULL";
    row_too_large: "SELECT pgbatch.enqueue_query('q', 'SELECT repeat(''x'', n) AS x FROM unnest(ARRAY[1, 65536]) n')" => "22023" "items[2] is too large";
    query_null: "SELECT pgbatch.enqueue_query('q', NULL)" => "22023" "query must not be NULL";
    priority_null: "SELECT pgbatch.enqueue('q', priority => NULL)" => "22023" "priority must not be NULL";
    not_before_infinity: "SELECT pgbatch.enqueue('q', not_before => 'infinity')" => "22023" "not_before must be a point in time";
    not_before_beyond_clocks: "SELECT pgbatch.enqueue('q', not_before => '9999-01-01 00:00:00+00')" => "22023" "not_before must be a point in time before the year 9999, not";
    after_of_two_dimensions: "SELECT pgbatch.enqueue('q', after => ARRAY[[1, 2], [3, 4]])" => "22023" "after must be a list";
    label_too_long: "SELECT pgbatch.enqueue('q', label => repeat('x', 1025))" => "22023" "must be at most 1024 bytes";
    attempts_zero: "SELECT pgbatch.enqueue('q', max_attempts => 0)" => "22023" "max_attempts must be at least 1, not 0";
    after_null: "SELECT pgbatch.enqueue('q', after => ARRAY[NULL]::bigint[])" => "22023" "after must not contain NULL";
    after_unknown: "SELECT pgbatch.enqueue('q', after => ARRAY[77])" => "42704" "batch 77 does not exist";
    cancel_unknown_batch: "SELECT pgbatch.cancel_batch(77)" => "42704" "batch 77 does not exist";
    retry_unknown_batch: "SELECT pgbatch.retry_batch(77)" => "42704" "batch 77 does not exist";
    wait_for_unknown_batch: "SELECT pgbatch.wait_batch(77)" => "42704" "batch 77 does not exist";
    wait_for_null: "SELECT pgbatch.wait_batch(NULL)" => "42704" "batch NULL does not exist";
    wait_negative: "SELECT pgbatch.wait_batch(1, '-1 s')" => "22023" "timeout must not be negative";
    unique_key_too_long: "SELECT pgbatch.enqueue('q', unique_key => repeat('x', 1025))" => "22023" "must be at most 1024 bytes";
    key_too_long: "SELECT pgbatch.enqueue('q', key => repeat('ä', 513))" => "22023" "must be at most 1024 bytes";
    keep_negative: "SELECT pgbatch.create_queue('x', sql => 'SELECT 1', keep_failed => -1)" => "22023" "keep_failed must be at least 0, not -1";
    retain_negative: "SELECT pgbatch.create_queue('x', sql => 'SELECT 1', retain => '-1 s')" => "22023" "retain must be from 00:00:00 to 100 years, not -00:00:01";
    retain_null: "SELECT pgbatch.create_queue('x', sql => 'SELECT 1', retain => NULL)" => "22023" "retain must be from 00:00:00 to 100 years, not NULL";
    timeout_too_long: "SELECT pgbatch.alter_queue('q', run_timeout => '101 years')" => "22023" "run_timeout must be from 00:00:00.001 to 100 years, not 101 years";
    starts_in_no_time: "SELECT pgbatch.alter_queue('q', max_starts_per => '0 s')" => "22023" "max_starts_per must be from 00:00:00.001";
    reset_unknown_setting: "SELECT pgbatch.reset_queue('q', 'max_paralel')" => "22023" "setting is invalid: 'max_paralel'";
    reset_null: "SELECT pgbatch.reset_queue('q', NULL)" => "22023" "setting is invalid: NULL";
    reset_unknown_queue: "SELECT pgbatch.reset_queue('nope', 'retain')" => "42704" "queue \"nope\" does not exist";
    resume_unknown_queue: "SELECT pgbatch.resume_queue('nope')" => "42704" "queue \"nope\" does not exist";
    queue_of_unknown_limit: "SELECT pgbatch.create_queue('x', sql => 'SELECT 1', limit_name => 'nope')" => "42704" "limit \"nope\" does not exist";
    alter_to_unknown_limit: "SELECT pgbatch.alter_queue('q', limit_name => 'nope')" => "42704" "limit \"nope\" does not exist";
    limit_name_invalid: "SELECT pgbatch.create_limit('No', 1)" => "22023" "name is invalid: 'No'";
    limit_of_nothing: "SELECT pgbatch.create_limit('l', 0)" => "22023" "max_parallel must be at least 1, not 0";
    limit_taken: "SELECT pgbatch.create_limit('l', 1); SELECT pgbatch.create_limit('l', 1)" => "42710" "limit \"l\" exists already";
    alter_limit_to_null: "SELECT pgbatch.create_limit('l', 1); SELECT pgbatch.alter_limit('l', NULL)" => "22023" "max_parallel must be at least 1, not NULL";
    alter_unknown_limit: "SELECT pgbatch.alter_limit('nope', 1)" => "42704" "limit \"nope\" does not exist";
    drop_unknown_limit: "SELECT pgbatch.drop_limit(NULL)" => "42704" "limit NULL does not exist";
    drop_used_limit: "SELECT pgbatch.create_limit('l', 1); SELECT pgbatch.alter_queue('q', limit_name => 'l'); SELECT pgbatch.drop_limit('l')" => "55006" "limit \"l\" is used by \"q\"";
    drop_queue_with_open_batches: "SELECT pgbatch.enqueue('q'); SELECT pgbatch.drop_queue('q')" => "55006" "queue \"q\" has 1 open batches";
    drop_queue_with_live_runs: &format!("{LIVE} SELECT pgbatch.drop_queue('q', force => true)") => "55006" "queue \"q\" has live runs";
    items_for_the_batch_of_another: "SELECT pgbatch.add_query_items(1, 1, '{}')" => "42501" "batch 1 was not made by this transaction";
    retry_of_a_cancelled_batch: "SELECT pgbatch.enqueue('q'); SELECT pgbatch.cancel_batch(1); SELECT pgbatch.retry_batch(1)" => "55000" "batch 1 was cancelled";
    retry_with_a_key_that_is_taken: &failed("SELECT pgbatch.enqueue('q', unique_key => 'u'); SELECT pgbatch.retry_batch(1)") => "55000" "batch 1 cannot be retried: another open batch has its unique key 'u'";
    wait_for_an_own_batch: "SELECT pgbatch.enqueue('q'); SELECT pgbatch.wait_batch(1)" => "55000" "batch 1 was made by this transaction and starts when it commits";
    wait_in_the_past: "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pgbatch.wait_batch(1)" => "25000" "wait_batch() cannot see the end of a batch in a repeatable read transaction";
    deadline_of_unknown_batch: "SELECT pgbatch.set_deadline(77, now())" => "42704" "batch 77 does not exist";
    deadline_that_is_endless: "SELECT pgbatch.enqueue('q'); SELECT pgbatch.set_deadline(1, 'infinity')" => "22023" "deadline must be a point in time before the year 9999, not infinity";
    deadline_beyond_clocks: "SELECT pgbatch.set_deadline(pgbatch.enqueue('q'), '9999-01-01 00:00:00+00')" => "22023" "deadline must be a point in time before the year 9999, not";
    deadline_of_an_ended_batch: "SELECT pgbatch.enqueue('q'); SELECT pgbatch.cancel_batch(1); SELECT pgbatch.set_deadline(1, now())" => "55000" "batch 1 has ended, and needs no deadline: cancelled";
    explain_unknown_batch: "SELECT pgbatch.explain_item(77, 1)" => "42704" "batch 77 does not exist";
    explain_item_that_is_not_there: "SELECT pgbatch.enqueue('q'); SELECT pgbatch.explain_item(1, 2)" => "22023" "item_no 2 is not an item of batch 1";
    report_of_no_run: "SELECT pgbatch.complete_item(NULL, 'x', 1)" => "55000" "run NULL is over or the token is wrong";
    report_with_a_wrong_token: &says("fail_item(r.id, 'x', 1, 'y')") => "55000" "run 1 is over or the token is wrong";
    report_of_another_item: &says("complete_item(r.id, r.token::text, 2)") => "22023" "item_no 2 is not an item of run 1";
    report_otherwise: &says("complete_item(r.id, r.token::text, 1), pgbatch.fail_item(r.id, r.token::text, 1, 'x')") => "55000" "item 1 of run 1 was already reported as succeeded";
    reports_of_no_items: &says("complete_items(r.id, r.token::text, NULL)") => "22023" "item_nos must not be NULL";
    reports_of_another_item: &says("complete_items(r.id, r.token::text, '{1,2}')") => "22023" "item_no 2 is not an item of run 1";
    reports_of_an_unknown_item: &says("complete_items(r.id, r.token::text, '{1,NULL}')") => "22023" "item_no NULL is not an item of run 1";
    reports_with_too_few_results: &says("complete_items(r.id, r.token::text, '{1,1}', '{NULL}')") => "22023" "results has 1 elements, item_nos 2";
    next_items_none_at_a_time: &says("next_item(r.id, r.token::text, at_most => 0)") => "22023" "at_most must be at least 1, not 0";
    next_items_after_nothing: &says("next_item(r.id, r.token::text, after_item => NULL)") => "22023" "after_item must be at least 0, not NULL";
    batch_ended_by_hand: "SELECT pgbatch.enqueue('q'); UPDATE pgbatch.batch SET finished_at = now()" => "23514" "batch 1: finished_at and expires_at are of an ended batch, and only of that";
    batch_counted_by_hand: "SELECT pgbatch.enqueue('q'); UPDATE pgbatch.batch SET succeeded = 1" => "23514" "batch 1: an ended batch says of each item how it ended";
    batch_cancelled_by_hand: "SELECT pgbatch.enqueue('q');
        UPDATE pgbatch.batch SET state = 'cancelled', finished_at = now(), expires_at = now(), succeeded = 0, failed = 0, cancelled = 1" => "23514" "batch 1: nobody has cancelled it";
    run_ended_by_hand: "INSERT INTO pgbatch.run (queue, batch_id, first_item, last_item, attempt, max_attempt, state)
        VALUES ('q', 1, 1, 1, 1, 1, 'running'); UPDATE pgbatch.run SET succeeded = 1" => "23514" "run 1: finished_at, succeeded and failed are of an ended run, and only of that";
    state_changed_by_hand: "SELECT pgbatch.enqueue('q'); UPDATE pgbatch.batch SET state = 'waiting'" => "23514" "batch 1 is pending and cannot become waiting";
    dispatcher_that_does_not_lead: "SELECT pgbatch.observe(7)" => "55000" "the dispatcher of epoch 7 does not lead, that of epoch 0 does";
    ranges_with_nulls: "CREATE TABLE t (k int); CREATE INDEX ON t (k); INSERT INTO t VALUES (NULL); SELECT pgbatch.enqueue_ranges('q', 't', 'k', 1)" => "22023" "key is invalid: column k of public.t has NULLs, and such rows would be in no range";
    ranges_of_null: "SELECT pgbatch.enqueue_ranges('q', NULL, 'k', 1)" => "22023" "source must not be NULL";
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
