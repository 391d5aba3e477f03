-- pgbatch.create_limit: makes a limit: a cap on the live runs of several queues together. A queue is under it when it
-- names it: create_queue(..., limit_name => ...).
--
-- Parameters:  name          at most 40 of a-z, 0-9 and "-"
--              max_parallel  live runs at a time, of all queues that name it
-- Errors:      22023 for a bad argument, 42710 for a name that is taken, 42501 for a caller who may not
--              change every queue, as the extension's owner may
-- Locks:       none that anybody waits for, but a creator of the same name
-- Writes:      parallel_limit
CREATE FUNCTION pgbatch.create_limit(name text, max_parallel int) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pgbatch.check_right('*', 'own');
    IF name IS NULL OR name !~ '^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$' THEN
        PERFORM pgbatch.reject(format('name is invalid: %s', coalesce(quote_literal(name), 'NULL')),
            'At most 40 of a-z, 0-9 and "-", first a letter, last a letter or a digit.');
    END IF;
    PERFORM pgbatch.check_number('max_parallel', max_parallel, 1);
    PERFORM pgbatch.note_action('create_limit', NULL, jsonb_build_object('limit', name, 'max_parallel', max_parallel));
    INSERT INTO pgbatch.parallel_limit (name, max_parallel, created_by)
    VALUES (create_limit.name, create_limit.max_parallel, pgbatch.caller());
EXCEPTION WHEN unique_violation THEN
    RAISE EXCEPTION USING ERRCODE = 'duplicate_object', MESSAGE = format('limit "%s" exists already', name),
        HINT = 'Change it with pgbatch.alter_limit().';
END
$$;
COMMENT ON FUNCTION pgbatch.create_limit IS 'Makes a cap on the live runs of several queues together';
