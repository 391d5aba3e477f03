-- pgbatch.drop_trigger: drops a trigger. What it has enqueued stays.
--
-- It runs as the caller, who must own the table.
--
-- Parameters:  name  which trigger
-- Errors:      42704 for an unknown trigger, 42501 if the table is not the caller's
-- Locks:       the table, for a moment
-- Writes:      trigger; the trigger on the table
CREATE FUNCTION pgbatch.drop_trigger(name text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    statement text := pgbatch.trigger_drop(name);
BEGIN
    EXECUTE statement;
    PERFORM pgbatch.forget_trigger(name);
END
$$;
COMMENT ON FUNCTION pgbatch.drop_trigger IS 'Drops a trigger; what it has enqueued stays';

-- pgbatch.trigger_drop: how to drop PostgreSQL's part of a trigger.
--
-- Parameters:  name  which trigger
-- Returns:     statements
-- Errors:      42704 for an unknown trigger
CREATE FUNCTION pgbatch.trigger_drop(name text) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    statement text;
BEGIN
    SELECT concat_ws('; ', t.drops, CASE t.kind WHEN 'rows' THEN 'DROP VIEW ' || t.source END) INTO statement
    FROM pgbatch.live_triggers t WHERE t.name = trigger_drop.name;
    IF NOT FOUND THEN
        PERFORM pgbatch.reject_unknown(format('trigger %s does not exist', coalesce('"' || name || '"', 'NULL')),
            'The view pgbatch.triggers lists them.');
    END IF;
    RETURN statement;
END
$$;

-- pgbatch.forget_trigger: deletes what is left of a trigger that is gone. Whoever could drop it may.
--
-- Parameters:  name  which trigger
-- Errors:      42501 if it is there
-- Writes:      trigger, watch_run, watch_mark, watched_key
CREATE FUNCTION pgbatch.forget_trigger(name text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM pgbatch.live_triggers t WHERE t.name = forget_trigger.name) THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege', MESSAGE = format('trigger "%s" is still there', name),
            HINT = 'Call pgbatch.drop_trigger(), which drops it.';
    END IF;
    DELETE FROM pgbatch.trigger t WHERE t.name = forget_trigger.name;
    DELETE FROM pgbatch.watch_run r WHERE r.trigger_name = forget_trigger.name;
    DELETE FROM pgbatch.watch_mark m WHERE m.trigger_name = forget_trigger.name;
    DELETE FROM pgbatch.watched_key k WHERE k.trigger_name = forget_trigger.name;
END
$$;
