//! A call of each public function, for the matrix of roles.

use e2e::postgres::is_sql_only;

use crate::sql_only::LIBRARY_ONLY;

/// What a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// The queue that is filled in: the right must be one on it.
    Queue,
    /// No queue, or what has its own proof of a right, as a run's token: EXECUTE is all that it needs.
    Nothing,
}

#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) function: &'static str,
    /// Each of these rights is enough; without any, only the extension's owner may.
    pub(crate) rights: &'static str,
    pub(crate) of: Of,
    /// With `<queue>`, `<batch>` of it, `<run>` of that with its token, and `<stranger>`, a role.
    pub(crate) sql: &'static str,
    /// The SQLSTATE with which it ends for who may: none, or `*` for any that is not about rights.
    pub(crate) code: &'static str,
}

/// Those that are there: the library alone has some, and what it reads is refused without it.
pub(crate) fn calls() -> impl Iterator<Item = &'static Call> {
    let needs_library = |function| LIBRARY_ONLY.contains(&function) || function == "import_scaled_job";
    CALLS.iter().filter(move |call| !(is_sql_only() && needs_library(call.function)))
}

const fn queue(function: &'static str, rights: &'static str, sql: &'static str, code: &'static str) -> Call {
    Call { function, rights, of: Of::Queue, sql, code }
}

const fn nothing(
    function: &'static str,
    rights: &'static str,
    sql: &'static str,
    code: &'static str,
) -> Call {
    Call { function, rights, of: Of::Nothing, sql, code }
}

#[rustfmt::skip]
pub(crate) const CALLS: &[Call] = &[
    queue("enqueue", "enqueue", "SELECT pgbatch.enqueue('<queue>')", ""),
    queue("enqueue", "enqueue", "SELECT pgbatch.enqueue('<queue>', label => 'l', unique_key => 'u')", ""),
    queue("enqueue_batch", "enqueue", "SELECT pgbatch.enqueue_batch('<queue>', '{}')", ""),
    queue("enqueue_query", "enqueue", "SELECT pgbatch.enqueue_query('<queue>', 'SELECT 1 AS a')", ""),
    queue("enqueue_ranges", "enqueue", "SELECT pgbatch.enqueue_ranges('<queue>', 't', 'id', 10)", ""),
    queue("open_query_batch", "enqueue", "SELECT pgbatch.open_query_batch('<queue>', NULL, 0, NULL, NULL, NULL, NULL, NULL)", ""),
    nothing("add_query_items", "enqueue", "SELECT pgbatch.add_query_items(<batch>, 9, '{}')", "42501"),
    nothing("close_query_batch", "enqueue", "SELECT pgbatch.close_query_batch(<batch>, 9)", "42501"),
    nothing("check_ranges", "enqueue", "SELECT pgbatch.check_ranges('t', 'id', 10)", ""),
    nothing("check_number", "enqueue", "SELECT pgbatch.check_number('n', 1, 1)", ""),
    nothing("key_order", "enqueue", "SELECT pgbatch.key_order('t', 'id')", ""),
    nothing("sample_percent", "enqueue", "SELECT pgbatch.sample_percent('t', 10)", ""),
    nothing("reject", "enqueue", "SELECT pgbatch.reject('m', 'h')", "22023"),

    queue("alter_queue", "manage", "SELECT pgbatch.alter_queue('<queue>', max_parallel => 3)", ""),
    queue("reset_queue", "manage", "SELECT pgbatch.reset_queue('<queue>', 'max_parallel')", ""),
    queue("pause_queue", "manage", "SELECT pgbatch.pause_queue('<queue>')", ""),
    queue("resume_queue", "manage", "SELECT pgbatch.resume_queue('<queue>')", ""),
    queue("cancel_batch", "manage", "SELECT pgbatch.cancel_batch(<batch>)", ""),
    queue("retry_batch", "manage", "SELECT pgbatch.retry_batch(<batch>)", ""),
    queue("set_deadline", "enqueue manage", "SELECT pgbatch.set_deadline(<batch>, now())", ""),
    queue("enqueue_on_insert", "manage", "SELECT pgbatch.enqueue_on_insert('t', '<queue>')", ""),
    queue("prepare_insert_trigger", "manage", "SELECT pgbatch.prepare_insert_trigger('t', '<queue>', 'n')", ""),
    queue("register_insert_trigger", "manage", "SELECT pgbatch.register_insert_trigger('t', '<queue>', 'n', NULL)", "42501"),
    nothing("enqueue_inserted", "manage", "SELECT pgbatch.enqueue_inserted()", "0A000"),
    queue("watch_kafka", "manage", "SELECT pgbatch.watch_kafka('n', '<queue>', 'k:1', 't')", ""),
    queue("schedule", "manage", "SELECT pgbatch.schedule('n', '<queue>', '@daily')", ""),
    queue("register_schedule", "manage",
        "SELECT pgbatch.register_schedule('n', '<queue>', '@daily', 'UTC', NULL, 'skip', '1 h', 'allow', false, '1 h')", ""),
    queue("trigger_drop", "manage", "SELECT pgbatch.trigger_drop('s-<queue>')", ""),
    nothing("forget_trigger", "manage", "SELECT pgbatch.forget_trigger('no')", ""),
    // Others have made these.
    queue("drop_trigger", "own", "SELECT pgbatch.drop_trigger('s-<queue>')", ""),
    queue("withdraw_trigger", "own", "SELECT pgbatch.withdraw_trigger('k-<queue>')", ""),
    queue("alter_schedule", "own", "SELECT pgbatch.alter_schedule('s-<queue>', enabled => false)", ""),
    queue("backfill", "own", "SELECT pgbatch.backfill('s-<queue>', now() - interval '1 h', now())", ""),
    queue("seek_kafka", "own", "SELECT pgbatch.seek_kafka('k-<queue>', 0, 1)", ""),

    queue("explain_item", "read", "SELECT pgbatch.explain_item(<batch>, 1)", ""),
    queue("wait_batch", "read", "SELECT pgbatch.wait_batch(<batch>, '0 s')", ""),
    queue("spring_steps", "read", "SELECT pgbatch.spring_steps(<batch>)", "22023"),
    // Row security leaves them the rows of the role's queues.
    nothing("peek_batches", "read", "SELECT pgbatch.peek_batches('{<batch>}')", ""),
    nothing("peek_queues", "read", "SELECT pgbatch.peek_queues()", ""),
    nothing("peek_progress", "read", "SELECT pgbatch.peek_progress(<batch>, 10)", ""),
    nothing("find_batches", "read", "SELECT pgbatch.find_batches()", ""),
    nothing("error_kind", "read", "SELECT pgbatch.error_kind('7 times')", ""),
    nothing("find_deadlines", "read", "SELECT pgbatch.find_deadlines()", ""),
    nothing("batch_errors", "read", "SELECT pgbatch.batch_errors(<batch>)", ""),
    nothing("batch_map", "read", "SELECT pgbatch.batch_map(<batch>)", ""),
    nothing("explain_dispatcher", "read dispatch", "SELECT pgbatch.explain_dispatcher()", ""),
    nothing("leader_key", "read dispatch", "SELECT pgbatch.leader_key()", ""),

    queue("grant", "own", "SELECT pgbatch.grant('<queue>', '<stranger>', 'manage')", ""),
    queue("revoke", "own", "SELECT pgbatch.revoke('<queue>', '<stranger>', 'manage')", ""),
    // A trigger feeds it.
    queue("drop_queue", "own", "SELECT pgbatch.drop_queue('<queue>', force => true)", "55006"),

    nothing("next_item", "any", "SELECT pgbatch.next_item(<run>)", ""),
    nothing("complete_item", "any", "SELECT pgbatch.complete_item(<run>, 1)", ""),
    nothing("complete_items", "any", "SELECT pgbatch.complete_items(<run>, '{1}')", ""),
    nothing("fail_item", "any", "SELECT pgbatch.fail_item(<run>, 1, 'no')", ""),
    nothing("heartbeat", "any", "SELECT pgbatch.heartbeat(<run>)", ""),
    nothing("run_statement", "any", "SELECT pgbatch.run_statement(<run>)", ""),
    nothing("contract_version", "any", "SELECT pgbatch.contract_version()", ""),
    nothing("version", "any", "SELECT pgbatch.version()", ""),
    nothing("transitions", "any", "SELECT pgbatch.transitions()", ""),

    // It waits for the test's leader, but in the leader's own session.
    nothing("await_lead", "dispatch", "SET LOCAL lock_timeout = '1ms'; CALL pgbatch.await_lead()", "*"),
    nothing("wait", "dispatch", "CALL pgbatch.wait(0, 1)", ""),
    nothing("claim", "dispatch", "SELECT pgbatch.claim(1, '[]')", ""),
    nothing("claim_next", "dispatch", "SELECT pgbatch.claim_next(1, '[]')", ""),
    nothing("doorbell_seq", "dispatch", "SELECT pgbatch.doorbell_seq()", ""),
    nothing("finish_runs", "dispatch", "SELECT pgbatch.finish_runs(1, '[]')", ""),
    nothing("kafka_items", "dispatch", "SELECT pgbatch.kafka_items(1, 'k-<queue>')", ""),
    nothing("kafka_triggers", "dispatch", "SELECT pgbatch.kafka_triggers(1)", ""),
    nothing("next_attempts", "dispatch", "SELECT pgbatch.next_attempts('{}')", ""),
    nothing("note_kafka", "dispatch", "SELECT pgbatch.note_kafka(1, 'k-<queue>', NULL)", ""),
    nothing("note_runs", "dispatch", "SELECT pgbatch.note_runs(1, '[]')", ""),
    nothing("note_template", "dispatch", "SELECT pgbatch.note_template(1, '<queue>', '{}', NULL)", ""),
    nothing("observe", "dispatch", "SELECT pgbatch.observe(1)", ""),
    nothing("observe_counts", "dispatch", "SELECT pgbatch.observe_counts()", ""),
    nothing("over_runs", "dispatch", "SELECT pgbatch.over_runs(1, '{}')", ""),
    nothing("prune", "dispatch", "SELECT pgbatch.prune(1)", ""),
    nothing("ready_runs", "dispatch", "SELECT pgbatch.ready_runs(1, '[]')", ""),
    nothing("run_specs", "dispatch", "SELECT pgbatch.run_specs('{}')", ""),
    nothing("run_traces", "dispatch", "SELECT pgbatch.run_traces('{}')", ""),
    nothing("start_runs", "dispatch", "SELECT pgbatch.start_runs(1, '[]')", ""),
    // With as many arguments as it has.
    nothing("take_lag", "dispatch", "DO $$ BEGIN EXECUTE (SELECT 'SELECT pgbatch.take_lag(' || array_to_string(
        array_fill('NULL'::text, ARRAY[p.pronargs::int]), ', ') || ')' FROM pg_proc p WHERE p.oid = 'pgbatch.take_lag'::regproc); END $$", "*"),
    nothing("take_records", "dispatch", "SELECT pgbatch.take_records(1, 'k-<queue>', NULL, '[]', true, false, false, NULL)", "*"),
    nothing("try_lead", "dispatch", "SELECT pgbatch.try_lead()", ""),
    nothing("unchecked_templates", "dispatch", "SELECT pgbatch.unchecked_templates(1)", ""),
    nothing("ring", "dispatch", "SELECT pgbatch.ring()", ""),
    nothing("apply_scaled_job", "scaled_jobs", "SELECT pgbatch.apply_scaled_job(1, '{}')", ""),
    nothing("keep_scaled_jobs", "scaled_jobs", "SELECT pgbatch.keep_scaled_jobs(1, 'n', '{}')", ""),

    queue("watch_rows", "", "SELECT pgbatch.watch_rows('n', '<queue>', 'SELECT id FROM t')", ""),
    queue("watch_count", "", "SELECT pgbatch.watch_count('n', '<queue>', 'SELECT count(*) FROM t')", ""),
    queue("create_limit", "", "SELECT pgbatch.create_limit('<queue>', 1)", ""),
    queue("alter_limit", "", "SELECT pgbatch.alter_limit('shared', 1)", ""),
    queue("drop_limit", "", "SELECT pgbatch.drop_limit('shared')", "55006"),
    queue("grant_dispatcher", "", "SELECT pgbatch.grant_dispatcher('<stranger>')", ""),
    queue("revoke_dispatcher", "", "SELECT pgbatch.revoke_dispatcher('<stranger>')", ""),
    // Who may call these owns what he makes.
    nothing("create_queue", "", "SELECT pgbatch.create_queue('c', sql => 'SELECT 1')", ""),
    nothing("import_scaled_job", "", "SELECT pgbatch.import_scaled_job('{}')", "22023"),
    nothing("scheduled_for", "", "SELECT pgbatch.scheduled_for()", ""),
    nothing("mark_watched", "", "SELECT pgbatch.mark_watched()", "0A000"),
];
