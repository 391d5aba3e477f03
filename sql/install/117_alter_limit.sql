-- pgbatch.alter_limit: changes a limit, for whatever starts after the commit; live runs go on.
--
-- Parameters:  name          which limit
--              max_parallel  live runs at a time, of all queues that name it
-- Errors:      42501 as create_limit(); 22023 for a bad argument, 42704 for an unknown limit
-- Locks:       the limit's row
-- Writes:      parallel_limit
CREATE FUNCTION pgbatch.alter_limit(name text, max_parallel int) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pgbatch.check_right('*', 'own');
    PERFORM pgbatch.check_number('max_parallel', max_parallel, 1);
    UPDATE pgbatch.parallel_limit l SET max_parallel = alter_limit.max_parallel WHERE l.name = alter_limit.name;
    IF NOT FOUND THEN
        PERFORM pgbatch.reject_unknown_limit(alter_limit.name);
    END IF;
    PERFORM pgbatch.note_action('alter_limit', NULL, jsonb_build_object('limit', name, 'max_parallel', max_parallel));
    PERFORM pgbatch.ring();
END
$$;
COMMENT ON FUNCTION pgbatch.alter_limit IS 'Changes a cap on the live runs of several queues together';
