-- pgbatch.check_run: checks that a run may write.
--
-- Parameters:  run_id, token  what the run found in its environment
-- Errors:      55000 if it has ended or the token is not its own
-- Locks:       the run's row, to the transaction's end, against lock_runs() only: what the run does with it commits before
--              the dispatcher writes the run's end, or is refused; that it has started, and its heartbeat, can be written
CREATE FUNCTION pgbatch.check_run(run_id bigint, token text) RETURNS pgbatch.run
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    r pgbatch.run;
BEGIN
    SELECT found.* INTO r FROM pgbatch.run found
    WHERE found.id = check_run.run_id AND found.token::text = check_run.token AND found.finished_at IS NULL
    FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('run %s is over or the token is wrong', coalesce(run_id::text, 'NULL')),
            HINT = 'Only a live run may report; its number and token are in PGBATCH_RUN_ID and PGBATCH_RUN_TOKEN.';
    END IF;
    RETURN r;
END
$$;

-- pgbatch.run_statement: what a run of a queue of SQL executes: the items that it has not reported yet.
--
-- Parameters:  run_id, token  what the run found in its environment
-- Returns:     the items and the queue's statement
-- Errors:      55000 if the run has ended or the token is not its own; 42501 if the statement is by another role than this session
--              has logged in as
-- Locks:       as check_run()
CREATE FUNCTION pgbatch.run_statement(run_id bigint, token text)
RETURNS TABLE (item_no int, item jsonb, statement text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    r pgbatch.run := pgbatch.check_run(run_statement.run_id, run_statement.token);
BEGIN
    PERFORM pgbatch.check_sql_login(q) FROM pgbatch.queue q WHERE q.name = r.queue;
    RETURN QUERY
        SELECT i.item_no, i.item, q.sql
        FROM pgbatch.queue q
        JOIN pgbatch.stored_item i ON i.batch_id = r.batch_id AND i.item_no BETWEEN r.first_item AND r.last_item
        WHERE q.name = r.queue
            AND NOT pgbatch.is_reported(r.id, i.item_no)
        ORDER BY i.item_no;
END
$$;
COMMENT ON FUNCTION pgbatch.run_statement IS 'For pgbatch run-sql: the statement and items of a run';
