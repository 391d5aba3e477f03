-- pgbatch.drop_trigger: drops a trigger. What it has enqueued stays.
--
-- It runs as the caller, who must own the table; one without a table must be his own, or its queue.
--
-- Parameters:  name  which trigger
-- Errors:      42704 for an unknown trigger, 42501 if the table or the trigger is not the caller's, or the queue not his to
--              manage
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
    PERFORM pgbatch.check_trigger_right(name);
    SELECT concat_ws('; ', t.drops, CASE WHEN t.source IS NULL THEN format('SELECT pgbatch.withdraw_trigger(%L)', t.name)
        WHEN t.kind <> 'insert' THEN 'DROP VIEW ' || t.source END) INTO statement
    FROM pgbatch.live_triggers t WHERE t.name = trigger_drop.name;
    IF NOT FOUND THEN
        PERFORM pgbatch.reject_unknown(format('trigger %s does not exist', coalesce('"' || name || '"', 'NULL')),
            'The view pgbatch.triggers lists them.');
    END IF;
    RETURN statement;
END
$$;

-- pgbatch.withdraw_trigger: drops a trigger that has no part of PostgreSQL's.
--
-- Parameters:  name  which trigger
-- Errors:      42501 if neither it nor its queue is the caller's
-- Writes:      trigger
CREATE FUNCTION pgbatch.withdraw_trigger(name text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    maker text;
BEGIN
    PERFORM pgbatch.check_trigger_right(name);
    SELECT t.created_by INTO maker FROM pgbatch.trigger t WHERE t.name = withdraw_trigger.name AND t.source IS NULL;
    IF FOUND THEN
        PERFORM pgbatch.check_trigger_maker(name, maker);
    END IF;
    DELETE FROM pgbatch.trigger t WHERE t.name = withdraw_trigger.name AND t.source IS NULL;
    PERFORM pgbatch.ring();
END
$$;

-- pgbatch.check_trigger_maker: refuses to change a trigger that is not the caller's.
--
-- Parameters:  name   of the trigger
--              maker  the role that made it
-- Errors:      42501 if neither it nor its queue is the caller's
CREATE FUNCTION pgbatch.check_trigger_maker(name text, maker text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- A role that is gone is nobody's.
    IF NOT (pgbatch.may((SELECT t.queue FROM pgbatch.trigger t WHERE t.name = check_trigger_maker.name), 'own')
        OR EXISTS (SELECT FROM pg_roles r WHERE r.rolname = maker AND pg_has_role(pgbatch.caller(), r.oid, 'USAGE'))) THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = format('trigger "%s" is not of %s', name, pgbatch.caller()),
            HINT = format('It was made by %s: a member of that role may change it, and the queue''s owner.', maker);
    END IF;
END
$$;

-- pgbatch.forget_trigger: deletes what is left of a trigger that is gone. Whoever could drop it may.
--
-- Parameters:  name  which trigger
-- Errors:      42501 if it is there
-- Writes:      trigger, watch_run, watch_mark, watched_key, schedule, occurrence, demand, scaling, kafka_trigger, kafka_cursor
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
    DELETE FROM pgbatch.schedule s WHERE s.trigger_name = forget_trigger.name;
    DELETE FROM pgbatch.occurrence o WHERE o.trigger_name = forget_trigger.name;
    DELETE FROM pgbatch.demand d WHERE d.trigger_name = forget_trigger.name;
    DELETE FROM pgbatch.scaling s WHERE NOT EXISTS (SELECT FROM pgbatch.demand d WHERE d.queue = s.queue);
    DELETE FROM pgbatch.kafka_trigger k WHERE k.trigger_name = forget_trigger.name;
    DELETE FROM pgbatch.kafka_cursor k WHERE k.trigger_name = forget_trigger.name;
END
$$;
