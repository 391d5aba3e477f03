-- pgbatch.import_scaled_job: makes a queue and its triggers of a ScaledJob of KEDA: a trigger of type postgresql becomes one of
-- watch_count(), kafka one of watch_kafka() with a consumer group, cron a schedule() of its begin. All of it or nothing.
--
-- Every field of the manifest is used, or a row tells what became of it.
--
-- It runs with the caller's search_path, as the queries in it must; that is why every name here is qualified by hand.
--
-- Parameters:  manifest  one ScaledJob (keda.sh/v1alpha1), YAML or JSON
--              dry_run   true: all is made and checked, and undone again
-- Returns:     what       'queue', 'trigger': what was made; 'todo': somebody has to do something, or a part does not work;
--                         'changed': it means something else here; 'ignored': it has no effect here, and needs none;
--                         'suggestion': there is a better way
--              name       of the queue or the trigger
--              path       where in the manifest, several with commas
--              message    what it is, or what is different and why
--              hint       what to do about it
--              statement  the call that makes it, or that the hint is about
-- Errors:      22023 for a bad manifest, with its path; those of create_queue(), watch_count(), watch_kafka() and schedule(),
--              with the path of what was to be made
-- Locks:       as these
-- Writes:      as these
CREATE FUNCTION pgbatch.import_scaled_job(manifest text, dry_run boolean DEFAULT false)
RETURNS TABLE (what text, name text, path text, message text, hint text, statement text)
LANGUAGE plpgsql AS $$
DECLARE
    plan CONSTANT pg_catalog.jsonb := pgbatch.read_scaled_job(manifest);
BEGIN
    IF manifest IS NULL OR dry_run IS NULL THEN
        PERFORM pgbatch.reject(CASE WHEN manifest IS NULL THEN 'manifest must not be NULL' ELSE 'dry_run must not be NULL' END,
            'For example pgbatch.import_scaled_job(pg_read_file(''scaled-job.yaml'')); or pgbatch import FILE.');
    END IF;
    BEGIN
        PERFORM pgbatch.take_import_steps(pg_catalog.jsonb_extract_path(plan, 'steps'));
        IF dry_run THEN
            -- Caught below: what the block has done is undone.
            RAISE SQLSTATE 'PGB01';
        END IF;
    EXCEPTION WHEN SQLSTATE 'PGB01' THEN
        NULL;
    END;
    RETURN QUERY
    SELECT r.* FROM (
        VALUES (pg_catalog.jsonb_extract_path(plan, 'steps')), (pg_catalog.jsonb_extract_path(plan, 'notes'))) p (rows)
    CROSS JOIN LATERAL pg_catalog.jsonb_to_recordset(p.rows) r (what pg_catalog.text, name pg_catalog.text,
        path pg_catalog.text, message pg_catalog.text, hint pg_catalog.text, statement pg_catalog.text);
END
$$;
COMMENT ON FUNCTION pgbatch.import_scaled_job IS
    'Makes a queue and its triggers of a ScaledJob of KEDA, and tells of every field what became of it';

-- pgbatch.take_import_steps: makes what a manifest says, by the public functions.
--
-- Parameters:  steps  as read_scaled_job() returns them
-- Errors:      those of the functions, with the path in the manifest before them
-- Locks:       as these
-- Writes:      as these
CREATE FUNCTION pgbatch.take_import_steps(steps jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    step    pg_catalog.record;
    code    pg_catalog.text;
    problem pg_catalog.text;
    advice  pg_catalog.text;
BEGIN
    FOR step IN
        SELECT s.path, s.statement
        FROM pg_catalog.jsonb_to_recordset(steps) s (path pg_catalog.text, statement pg_catalog.text)
    LOOP
        BEGIN
            EXECUTE step.statement;
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, problem = MESSAGE_TEXT, advice = PG_EXCEPTION_HINT;
            RAISE EXCEPTION USING ERRCODE = code, MESSAGE = pg_catalog.format('%s: %s', step.path, problem),
                HINT = COALESCE(NULLIF(advice, ''), 'Nothing was made.');
        END;
    END LOOP;
END
$$;
