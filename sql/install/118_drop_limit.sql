-- pgbatch.drop_limit: drops a limit that no queue names.
--
-- Parameters:  name  which limit
-- Errors:      42501 as create_limit(); 42704 for an unknown limit, 55006 for one that queues name
-- Locks:       queue, against creators and changes, not against enqueuers
-- Writes:      parallel_limit
CREATE FUNCTION pgbatch.drop_limit(name text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    users text;
BEGIN
    PERFORM pgbatch.check_right('*', 'own');
    LOCK TABLE pgbatch.queue IN SHARE ROW EXCLUSIVE MODE;
    SELECT string_agg('"' || q.name || '"', ', ' ORDER BY q.name) INTO users
    FROM pgbatch.queue q WHERE q.limit_name = drop_limit.name;
    IF users IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'object_in_use', MESSAGE = format('limit "%s" is used by %s', name, users),
            HINT = 'Take it off those queues with pgbatch.reset_queue(..., ''limit_name''), or drop them.';
    END IF;
    PERFORM pgbatch.note_action('drop_limit', NULL, jsonb_build_object('limit', name));
    DELETE FROM pgbatch.parallel_limit l WHERE l.name = drop_limit.name;
    IF NOT FOUND THEN
        PERFORM pgbatch.reject_unknown_limit(drop_limit.name);
    END IF;
END
$$;
COMMENT ON FUNCTION pgbatch.drop_limit IS 'Drops a cap on the live runs of several queues together';
