-- Where there is no library, the dispatcher checks the Job templates: see sql/without_library/102_check_job_template.sql.

-- pgbatch.unchecked_templates: those that no dispatcher has checked yet.
--
-- Parameters:  epoch  of the dispatcher that asks
-- Returns:     queue, job_template
-- Errors:      55000 if another dispatcher leads
CREATE FUNCTION pgbatch.unchecked_templates(epoch bigint) RETURNS TABLE (queue text, job_template json)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Without a lock, as observe(): one that finds nothing writes nothing.
    IF NOT EXISTS (SELECT FROM pgbatch.installation i WHERE i.epoch = unchecked_templates.epoch) THEN
        PERFORM pgbatch.reject_epoch(epoch);
    END IF;
    RETURN QUERY SELECT q.name, q.job_template::json FROM pgbatch.queue q WHERE NOT q.template_checked ORDER BY q.name;
END
$$;
COMMENT ON FUNCTION pgbatch.unchecked_templates IS 'Dispatcher: the Job templates that it has to check';

-- pgbatch.note_template: notes what was found. A template that is another one by now, or that somebody is changing, is passed over: it
-- will be told of again.
--
-- Parameters:  epoch         of the dispatcher that says so
--              queue         whose
--              job_template  as unchecked_templates() told it
--              error         what is wrong with it, for people; NULL = nothing
-- Errors:      55000 if another dispatcher leads
-- Locks:       the queue's row
-- Writes:      queue
CREATE FUNCTION pgbatch.note_template(epoch bigint, queue text, job_template json, error text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pgbatch.check_epoch(epoch);
    UPDATE pgbatch.queue q SET template_checked = true, template_error = left(error, 4096)
    WHERE q.name = (
        SELECT l.name FROM pgbatch.queue l
        WHERE l.name = note_template.queue AND NOT l.template_checked AND l.job_template = note_template.job_template::jsonb
        FOR NO KEY UPDATE SKIP LOCKED);
END
$$;
COMMENT ON FUNCTION pgbatch.note_template IS 'Dispatcher: notes what is wrong with a Job template';
