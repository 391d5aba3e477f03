-- pgbatch.alter_queue: changes settings of a queue, for whatever starts after the commit.
--
-- Parameters:  name  which queue; the others as for create_queue, NULL = unchanged. Giving job_template to a queue of
--              SQL makes it one of Jobs, and the other way round. Options are given all at once; '{}' = none.
-- Errors:      22023 for a bad argument, 42704 for an unknown queue or limit, 42501 for a queue that the caller may not
--              manage, or for sql own, and for what only the extension's owner may give: namespace, limit_name,
--              options.spring_batch
-- Locks:       the queue's row; with another retain or max_starts_per, the rows of its ended batches
-- Writes:      queue, batch
CREATE FUNCTION pgbatch.alter_queue(
    name text, job_template jsonb DEFAULT NULL, sql text DEFAULT NULL,
    max_parallel int DEFAULT NULL, items_per_run int DEFAULT NULL, max_attempts int DEFAULT NULL,
    retry_backoff interval DEFAULT NULL, retry_backoff_max interval DEFAULT NULL,
    run_timeout interval DEFAULT NULL, namespace text DEFAULT NULL, priority int DEFAULT NULL,
    max_per_key int DEFAULT NULL, max_starts int DEFAULT NULL, max_starts_per interval DEFAULT NULL,
    keep_succeeded int DEFAULT NULL, keep_failed int DEFAULT NULL, retain interval DEFAULT NULL,
    limit_name text DEFAULT NULL, options jsonb DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    q pgbatch.queue := pgbatch.lock_queue(name);
BEGIN
    IF num_nonnulls(job_template, sql) > 0 THEN
        q.job_template := job_template;
        q.sql := sql;
        q.sql_role := pgbatch.sql_author(name, sql);
    END IF;
    q.max_parallel := coalesce(max_parallel, q.max_parallel);
    q.limit_name := coalesce(limit_name, q.limit_name);
    q.items_per_run := coalesce(items_per_run, q.items_per_run);
    q.max_attempts := coalesce(max_attempts, q.max_attempts);
    q.retry_backoff := coalesce(retry_backoff, q.retry_backoff);
    q.retry_backoff_max := coalesce(retry_backoff_max, q.retry_backoff_max);
    q.run_timeout := coalesce(run_timeout, q.run_timeout);
    q.namespace := coalesce(namespace, q.namespace);
    q.priority := coalesce(priority, q.priority);
    q.max_per_key := coalesce(max_per_key, q.max_per_key);
    q.max_starts := coalesce(max_starts, q.max_starts);
    q.max_starts_per := coalesce(max_starts_per, q.max_starts_per);
    q.keep_succeeded := coalesce(keep_succeeded, q.keep_succeeded);
    q.keep_failed := coalesce(keep_failed, q.keep_failed);
    q.retain := coalesce(retain, q.retain);
    IF options IS NOT NULL THEN
        q.options := pgbatch.check_queue_options(options, q.options);
    END IF;
    PERFORM pgbatch.store_queue(q);
END
$$;
COMMENT ON FUNCTION pgbatch.alter_queue IS 'Changes settings of a queue; NULL = unchanged';

-- pgbatch.lock_queue: takes the settings of a queue, for a change by store_queue().
--
-- Parameters:  name  which queue
-- Returns:     its row
-- Errors:      42704 for an unknown queue, 42501 for one that the caller may not manage
-- Locks:       the row; the table against drop_limit(), which must see the limit that is going to be named
CREATE FUNCTION pgbatch.lock_queue(name text) RETURNS pgbatch.queue
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    q pgbatch.queue;
BEGIN
    PERFORM pgbatch.check_right(name, 'manage');
    LOCK TABLE pgbatch.queue IN ROW EXCLUSIVE MODE;
    SELECT old.* INTO q FROM pgbatch.queue old WHERE old.name = lock_queue.name FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        PERFORM pgbatch.reject_unknown_queue(lock_queue.name);
    END IF;
    RETURN q;
END
$$;

-- pgbatch.store_queue: checks and writes the settings of a queue that there is.
--
-- Parameters:  q  the row as it is to be; taken by lock_queue()
-- Errors:      22023, one for the first problem found; 42704 for an unknown limit; 42501 for what the caller may not give
-- Locks:       where retain or max_starts_per changes, the rows of its ended batches
-- Writes:      queue, batch
CREATE FUNCTION pgbatch.store_queue(q pgbatch.queue) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    old pgbatch.queue;
BEGIN
    PERFORM pgbatch.check_queue(q);
    SELECT o.* INTO old FROM pgbatch.queue o WHERE o.name = q.name;
    PERFORM pgbatch.check_confined(q, old);
    UPDATE pgbatch.queue changed SET
        job_template = q.job_template, sql = q.sql, sql_role = q.sql_role,
        max_parallel = q.max_parallel, limit_name = q.limit_name, items_per_run = q.items_per_run,
        max_attempts = q.max_attempts, retry_backoff = q.retry_backoff, retry_backoff_max = q.retry_backoff_max,
        run_timeout = q.run_timeout, namespace = q.namespace, priority = q.priority,
        max_per_key = q.max_per_key, max_starts = q.max_starts, max_starts_per = q.max_starts_per,
        keep_succeeded = q.keep_succeeded, keep_failed = q.keep_failed, retain = q.retain, options = q.options
    WHERE changed.name = q.name;
    PERFORM pgbatch.note_action('alter_queue', q.name, pgbatch.changes(to_jsonb(old), to_jsonb(q)));
    IF (q.retain, q.max_starts_per) <> (old.retain, old.max_starts_per) THEN
        UPDATE pgbatch.batch b SET expires_at = pgbatch.expiry(b.queue, b.finished_at)
        WHERE b.queue = q.name AND b.finished_at IS NOT NULL;
    END IF;
    PERFORM pgbatch.ring();
END
$$;
