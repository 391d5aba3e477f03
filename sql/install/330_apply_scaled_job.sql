-- pgbatch.apply_scaled_job: takes over a ScaledJob of KEDA as it is in the cluster now: as import_scaled_job(), but a changed
-- one changes its queue and makes its triggers again. What runs goes on. Called twice with the same, the second does nothing.
--
-- Its queries name tables as the dispatcher's role does, and run with the rights of the extension's owner.
--
-- Parameters:  epoch     of the dispatcher that asks
--              manifest  with metadata.namespace and metadata.name
-- Returns:     {"queue", "notes"} of read_scaled_job(), or {"error", "hint"} for one that cannot be taken over: then nothing
--              is changed
-- Errors:      55000 if another dispatcher leads
-- Locks:       as create_queue(), alter_queue(), watch_count(), watch_kafka() and schedule()
-- Writes:      as these; scaled_job
CREATE FUNCTION pgbatch.apply_scaled_job(epoch bigint, manifest jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    space   CONSTANT text := manifest #>> '{metadata,namespace}';
    title   CONSTANT text := manifest #>> '{metadata,name}';
    known   pgbatch.scaled_job;
    plan    jsonb;
    problem text;
    advice  text;
BEGIN
    PERFORM pgbatch.check_epoch(epoch);
    SELECT s.* INTO known FROM pgbatch.scaled_job s WHERE s.namespace = space AND s.name = title;
    plan := pgbatch.read_scaled_job(manifest::text);
    IF known.manifest IS DISTINCT FROM manifest
        OR known.triggers <> ARRAY(SELECT t.name FROM pgbatch.live_triggers t WHERE t.name = ANY (known.triggers) ORDER BY 1) THEN
        known.namespace := space;
        known.name := title;
        known.manifest := manifest;
        PERFORM pgbatch.drop_scaled_triggers(known.triggers);
        -- A queue of the same name that is somebody else's stays: create_queue() refuses.
        IF known.queue IS DISTINCT FROM plan #>> '{steps,0,name}'
            OR NOT EXISTS (SELECT FROM pgbatch.queue q WHERE q.name = known.queue) THEN
            known.queue := plan #>> '{steps,0,name}';
        ELSE
            plan := jsonb_set(plan, '{steps}', (plan -> 'alter') || coalesce((
                SELECT jsonb_agg(s.step) FROM jsonb_array_elements(plan -> 'steps') s (step) WHERE s.step ->> 'what' = 'trigger'), '[]'));
        END IF;
        known.triggers := ARRAY(SELECT s.step ->> 'name' FROM jsonb_array_elements(plan -> 'steps') s (step)
            WHERE s.step ->> 'what' = 'trigger' ORDER BY 1);
        PERFORM pgbatch.take_import_steps_as(plan -> 'steps',
            (SELECT s.reset_val FROM pg_settings s WHERE s.name = 'search_path'));
        INSERT INTO pgbatch.scaled_job VALUES (known.*)
        ON CONFLICT (namespace, name) DO UPDATE
        SET queue = excluded.queue, manifest = excluded.manifest, triggers = excluded.triggers;
        PERFORM pgbatch.ring();
    END IF;
    RETURN jsonb_build_object('queue', known.queue, 'notes', plan -> 'notes');
EXCEPTION WHEN OTHERS THEN
    -- A dispatcher that does not lead is told so; any other problem is the ScaledJob's.
    IF SQLSTATE = '55000' THEN
        RAISE;
    END IF;
    GET STACKED DIAGNOSTICS problem = MESSAGE_TEXT, advice = PG_EXCEPTION_HINT;
    RETURN jsonb_build_object('error', problem, 'hint', nullif(advice, ''));
END
$$;
COMMENT ON FUNCTION pgbatch.apply_scaled_job IS 'Dispatcher: takes over a ScaledJob of KEDA as it is in the cluster now';

-- pgbatch.take_import_steps_as: take_import_steps() with another search_path.
--
-- It has that search_path until the end of its caller, who sets one of his own; that is why every name here is qualified by
-- hand.
--
-- Parameters:  steps  as read_scaled_job() returns them
--              path   the search_path
-- Errors:      as take_import_steps()
CREATE FUNCTION pgbatch.take_import_steps_as(steps jsonb, path text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_catalog.set_config('search_path', path, true);
    PERFORM pgbatch.take_import_steps(steps);
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
END
$$;

-- pgbatch.drop_scaled_triggers: drops triggers that were made of a ScaledJob, those that are still there.
--
-- Parameters:  names  of the triggers; NULL = none
-- Locks:       their tables, for a moment
-- Writes:      as drop_trigger()
CREATE FUNCTION pgbatch.drop_scaled_triggers(names text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT t.name FROM pgbatch.live_triggers t WHERE t.name = ANY (names) ORDER BY 1 LOOP
        PERFORM pgbatch.drop_trigger(name);
    END LOOP;
END
$$;

-- pgbatch.keep_scaled_jobs: drops the triggers of the ScaledJobs that are gone from a namespace. Their queues stay, with what
-- is in them: open items go on, and ended ones can be looked at.
--
-- Parameters:  epoch      of the dispatcher that asks
--              namespace  of all ScaledJobs that there are
--              names      these
-- Errors:      55000 if another dispatcher leads
-- Locks:       as drop_trigger()
-- Writes:      as drop_trigger(); scaled_job
CREATE FUNCTION pgbatch.keep_scaled_jobs(epoch bigint, namespace text, names text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    gone pgbatch.scaled_job;
BEGIN
    PERFORM pgbatch.check_epoch(epoch);
    FOR gone IN
        SELECT s.* FROM pgbatch.scaled_job s
        WHERE s.namespace = keep_scaled_jobs.namespace AND s.name <> ALL (names) AND s.manifest IS NOT NULL
        ORDER BY s.name
    LOOP
        PERFORM pgbatch.drop_scaled_triggers(gone.triggers);
        UPDATE pgbatch.scaled_job s SET manifest = NULL, triggers = '{}'
        WHERE s.namespace = gone.namespace AND s.name = gone.name;
    END LOOP;
END
$$;
COMMENT ON FUNCTION pgbatch.keep_scaled_jobs IS 'Dispatcher: drops the triggers of ScaledJobs that are gone from a namespace';
