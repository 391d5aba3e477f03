-- pgbatch.spring_steps: what the steps of a batch's runs have read and written, as Spring Batch counts it: up to the last chunk
-- that was committed, also while they run. For queues with options.spring_batch.
--
-- Parameters:  batch_id  which batch
-- Returns:     a row per step; of a run without a JobExecution none. skip_count is of reads, processes and writes
-- Errors:      42704 for an unknown batch; 22023 for one whose queue has no options.spring_batch, or whose tables are not what they
--              were; 42501 for a queue that the caller may not read, and for tables that are not the extension's owner's any more
CREATE FUNCTION pgbatch.spring_steps(batch_id bigint) RETURNS TABLE (
    run_id bigint, attempt int, run_state text, job_execution_id bigint, job_name text, job_status text,
    step_name text, step_status text, read_count bigint, write_count bigint, filter_count bigint, skip_count bigint,
    commit_count bigint, rollback_count bigint, exit_code text, exit_message text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    spring jsonb;
BEGIN
    PERFORM pgbatch.check_batch_right(batch_id, 'read');
    SELECT q.options -> 'spring_batch' INTO spring
    FROM pgbatch.batch b LEFT JOIN pgbatch.queue q ON q.name = b.queue WHERE b.id = spring_steps.batch_id;
    IF NOT FOUND THEN
        PERFORM pgbatch.reject_unknown(format('batch %s does not exist', coalesce(batch_id::text, 'NULL')),
            'The view pgbatch.batches lists them.');
    END IF;
    IF spring IS NULL THEN
        PERFORM pgbatch.reject(format('batch_id is invalid: the queue of batch %s has no options.spring_batch', batch_id),
            'pgbatch.alter_queue(..., options => ''{"spring_batch": true}'').');
    END IF;
    PERFORM pgbatch.check_spring_tables(spring);
    RETURN QUERY EXECUTE format($statement$
        SELECT r.id, r.attempt, r.state::text, e.job_execution_id::bigint, i.job_name::text, e.status::text,
            s.step_name::text, s.status::text, s.read_count::bigint, s.write_count::bigint, s.filter_count::bigint,
            (s.read_skip_count + s.process_skip_count + s.write_skip_count)::bigint,
            s.commit_count::bigint, s.rollback_count::bigint, s.exit_code::text, s.exit_message::text
        FROM pgbatch.run r
        JOIN %3$s p ON p.parameter_name = 'pgbatch.run_id' AND p.parameter_value = r.id::text
        JOIN %2$s e ON e.job_execution_id = p.job_execution_id
        JOIN %1$s i ON i.job_instance_id = e.job_instance_id
        JOIN %4$s s ON s.job_execution_id = e.job_execution_id
        WHERE r.batch_id = $1
        ORDER BY r.id, s.step_execution_id
        $statement$,
        pgbatch.spring_table(spring, 'job_instance'), pgbatch.spring_table(spring, 'job_execution'),
        pgbatch.spring_table(spring, 'job_execution_params'), pgbatch.spring_table(spring, 'step_execution')) USING batch_id;
END
$$;
COMMENT ON FUNCTION pgbatch.spring_steps IS 'What the steps of a batch''s runs have read and written, as Spring Batch counts it';
