-- pgbatch.reset_queue: sets one setting of a queue back to the default of create_queue(), for whatever starts after the
-- commit. For several it is "none", which alter_queue() cannot say: there NULL = unchanged.
--
-- Parameters:  name     which queue
--              setting  which one: the name of an argument of create_queue()
-- Errors:      22023 for an unknown setting, or a default that does not fit the others; 42704 for an unknown queue; 42501 as
--              alter_queue()
-- Locks:       as alter_queue()
-- Writes:      queue, batch
CREATE FUNCTION pgbatch.reset_queue(name text, setting text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    q pgbatch.queue := pgbatch.lock_queue(name);
BEGIN
    CASE setting
        WHEN 'max_parallel' THEN q.max_parallel := 10;
        WHEN 'limit_name' THEN q.limit_name := NULL;
        WHEN 'items_per_run' THEN q.items_per_run := 1;
        WHEN 'max_attempts' THEN q.max_attempts := 3;
        WHEN 'retry_backoff' THEN q.retry_backoff := '10 s';
        WHEN 'retry_backoff_max' THEN q.retry_backoff_max := '1 h';
        WHEN 'run_timeout' THEN q.run_timeout := NULL;
        WHEN 'namespace' THEN q.namespace := NULL;
        WHEN 'priority' THEN q.priority := 0;
        WHEN 'max_per_key' THEN q.max_per_key := NULL;
        WHEN 'max_starts' THEN q.max_starts := NULL;
        WHEN 'max_starts_per' THEN q.max_starts_per := '1 min';
        WHEN 'keep_succeeded' THEN q.keep_succeeded := 10;
        WHEN 'keep_failed' THEN q.keep_failed := 10;
        WHEN 'retain' THEN q.retain := '7 days';
        WHEN 'options' THEN q.options := NULL;
        ELSE PERFORM pgbatch.reject(
            format('setting is invalid: %s', coalesce(quote_literal(setting), 'NULL')),
            'One of max_parallel, limit_name, items_per_run, max_attempts, retry_backoff, retry_backoff_max, run_timeout, '
            'namespace, priority, max_per_key, max_starts, max_starts_per, keep_succeeded, keep_failed, retain, options.');
    END CASE;
    PERFORM pgbatch.store_queue(q);
END
$$;
COMMENT ON FUNCTION pgbatch.reset_queue IS 'Sets one setting of a queue back to its default, for several of them "none"';
