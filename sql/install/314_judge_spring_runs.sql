-- pgbatch.judge_spring_runs: says how runs of Spring Batch ended, by what their JobExecutions say, and frees the JobExecutions
-- that they left behind.
--
-- A process without SpringApplication.exit() ends with 0 although its job has failed; one that is killed after its job was
-- COMPLETED has done its work, and would be refused if it were tried again. So a run counts as succeeded if its job was
-- COMPLETED, whatever became of the process, unless it was cancelled; and as failed if its process succeeded and its job did not.
-- Which JobExecution is a run's, its parameter pgbatch.run_id says; where none has it, the process decides, and the message says so.
--
-- What goes wrong here must not keep a run from ending: it is told in the run's message, and the process decides. Only what
-- another session keeps locked is waited for, for a moment, and then left for the next time, as in lock_batches().
--
-- Parameters:  outcomes  as for finish_runs()
--              live      the runs of it that have not ended; the caller has locked them and their batches
-- Returns:     the outcomes, but for runs that stay live
-- Locks:       the rows of their JobExecutions and StepExecutions
-- Writes:      the tables of Spring Batch that the queue's options name
CREATE FUNCTION pgbatch.judge_spring_runs(outcomes jsonb, live bigint[]) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
DECLARE
    queue   record;
    ended   jsonb;
    problem text;
BEGIN
    FOR queue IN
        SELECT q.options -> 'spring_batch' AS spring, array_agg(r.id) AS runs
        FROM pgbatch.run r JOIN pgbatch.queue q ON q.name = r.queue
        WHERE r.id = ANY (live) AND q.options ? 'spring_batch'
        GROUP BY q.name ORDER BY q.name
    LOOP
        SELECT jsonb_agg(o) INTO ended FROM jsonb_array_elements(outcomes) o WHERE (o ->> 'run')::bigint = ANY (queue.runs);
        SELECT coalesce(jsonb_agg(o), '[]') INTO outcomes
        FROM jsonb_array_elements(outcomes) o WHERE (o ->> 'run')::bigint <> ALL (queue.runs);
        BEGIN
            PERFORM pgbatch.check_spring_tables(queue.spring);
            SELECT outcomes || coalesce(jsonb_agg(pgbatch.spring_outcome(o, (
                SELECT jsonb_agg(e) FROM jsonb_array_elements(j.executions) e WHERE e -> 'run' = o -> 'run'))), '[]')
            INTO outcomes
            FROM (SELECT pgbatch.free_spring_executions(queue.spring, ended) AS executions) j
            CROSS JOIN LATERAL jsonb_array_elements(ended) o;
        EXCEPTION
            WHEN lock_not_available OR deadlock_detected THEN
                CONTINUE;
            WHEN OTHERS THEN
                GET STACKED DIAGNOSTICS problem = MESSAGE_TEXT;
                SELECT outcomes || jsonb_agg(pgbatch.told(o, format('the tables of Spring Batch cannot be used: %s', problem)))
                INTO outcomes FROM jsonb_array_elements(ended) o;
        END;
    END LOOP;
    RETURN outcomes;
END
$$;

-- pgbatch.free_spring_executions: sets what runs that are over have left STARTED, STARTING, STOPPING or UNKNOWN to FAILED, so
-- that Spring Batch does not refuse the next attempt, and it goes on behind the last chunk that was committed.
--
-- The version is counted up, as Spring does it: if a process that was given up still lives, its next chunk is not committed.
-- A job of which the end is UNKNOWN may be run again as long as its data and its progress commit together, in this database.
--
-- Parameters:  spring  {"schema", "table_prefix"}, checked
--              ended   the outcomes of the runs
-- Returns:     an array of {"run", "status", "exit_code", "exit_message"} as they were before; the message is its first line
-- Errors:      55P03 if something stays locked, and whatever the tables' triggers raise
CREATE FUNCTION pgbatch.free_spring_executions(spring jsonb, ended jsonb) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    executions jsonb;
BEGIN
    EXECUTE format($statement$
        WITH execution AS MATERIALIZED (
            SELECT o.run, o.state, e.job_execution_id, e.status::text, e.exit_code::text,
                split_part(nullif(e.exit_message::text, ''), E'\n', 1) AS exit_message
            FROM jsonb_to_recordset($1) o (run bigint, state text)
            JOIN %2$s p ON p.parameter_name = 'pgbatch.run_id' AND p.parameter_value = o.run::text
            JOIN %1$s e ON e.job_execution_id = p.job_execution_id
            FOR UPDATE OF e
        ), step AS MATERIALIZED (
            SELECT e.run, e.state, s.job_execution_id, s.step_execution_id, s.status::text,
                split_part(nullif(s.exit_message::text, ''), E'\n', 1) AS exit_message
            FROM execution e JOIN %3$s s ON s.job_execution_id = e.job_execution_id
            FOR UPDATE OF s
        ), freed AS (
            UPDATE %1$s f SET status = 'FAILED', exit_code = 'FAILED', version = f.version + 1,
                exit_message = format('freed by pgbatch: run %%s is over, %%s, and left it %%s', e.run, e.state, e.status),
                -- Without a time zone, by the clock of its process: in containers that is UTC.
                end_time = greatest(f.start_time, now() AT TIME ZONE 'UTC'),
                last_updated = greatest(f.last_updated, now() AT TIME ZONE 'UTC')
            FROM execution e
            WHERE f.job_execution_id = e.job_execution_id AND e.status IN ('STARTING', 'STARTED', 'STOPPING', 'UNKNOWN')
        ), freed_step AS (
            UPDATE %3$s f SET status = 'FAILED', exit_code = 'FAILED', version = f.version + 1,
                exit_message = format('freed by pgbatch: run %%s is over, %%s, and left it %%s', s.run, s.state, s.status),
                end_time = greatest(f.start_time, now() AT TIME ZONE 'UTC'),
                last_updated = greatest(f.last_updated, now() AT TIME ZONE 'UTC')
            FROM step s
            WHERE f.step_execution_id = s.step_execution_id AND s.status IN ('STARTING', 'STARTED', 'STOPPING', 'UNKNOWN')
        )
        SELECT coalesce(jsonb_agg(jsonb_build_object('run', e.run, 'status', e.status, 'exit_code', e.exit_code,
            -- The JobExecution of a flow has no message of its own.
            'exit_message', coalesce(e.exit_message, (
                SELECT min(s.exit_message) FROM step s
                WHERE s.job_execution_id = e.job_execution_id AND s.status = 'FAILED')))), '[]')
        FROM execution e
        $statement$,
        pgbatch.spring_table(spring, 'job_execution'), pgbatch.spring_table(spring, 'job_execution_params'),
        pgbatch.spring_table(spring, 'step_execution')) INTO executions USING ended;
    RETURN executions;
END
$$;

-- pgbatch.spring_outcome: how a run of Spring Batch ended.
--
-- Parameters:  outcome     how its process ended: an Outcome, see dispatcher/core/src/run.rs
--              executions  its JobExecutions: an array of {"status", "exit_code", "exit_message"}; NULL = none
-- Returns:     the Outcome
CREATE FUNCTION pgbatch.spring_outcome(outcome jsonb, executions jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    unfinished CONSTANT jsonb := jsonb_path_query_first(executions, '$[*] ? (@.status != "COMPLETED")');
    -- The exit code of a job that has not ended is UNKNOWN, which says less than its status.
    words      CONSTANT text := concat_ws(': ', coalesce(nullif(unfinished ->> 'exit_code', 'UNKNOWN'), unfinished ->> 'status'),
        unfinished ->> 'exit_message');
BEGIN
    CASE
        WHEN executions IS NULL AND outcome ->> 'state' = 'succeeded' THEN
            RETURN pgbatch.told(outcome, 'no JobExecution of Spring Batch is known to be of this run: give its job the parameter '
                'pgbatch.run_id=$(PGBATCH_RUN_ID),java.lang.Long,false');
        WHEN executions IS NULL OR outcome ->> 'state' = 'cancelled' THEN
            RETURN outcome;
        WHEN unfinished IS NULL AND outcome ->> 'state' = 'succeeded' THEN
            RETURN outcome;
        WHEN unfinished IS NULL THEN
            RETURN pgbatch.told(outcome, format('the job of Spring Batch was COMPLETED, then the process: %s',
                concat_ws(', ', outcome ->> 'state', outcome ->> 'reason')))
                || '{"state": "succeeded", "reason": "COMPLETED", "disrupted": false}';
        WHEN outcome ->> 'state' = 'succeeded' THEN
            RETURN outcome || jsonb_build_object('state', 'failed', 'reason', unfinished -> 'status', 'result', NULL,
                'message', words);
        WHEN unfinished ->> 'status' = 'FAILED' THEN
            RETURN pgbatch.told(outcome, words);
        ELSE
            RETURN outcome;
    END CASE;
END
$$;

-- pgbatch.told: an Outcome with words in front of its message.
CREATE FUNCTION pgbatch.told(outcome jsonb, words text) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT outcome || jsonb_build_object('message', concat_ws(E'\n', words, outcome ->> 'message'))
$$;
