-- pgbatch.check_queue: checks every setting of a queue, in the order of create_queue's arguments.
--
-- Parameters:  q  the row as it would be stored
-- Errors:      22023, one for the first problem found; 42704 for an unknown limit
CREATE FUNCTION pgbatch.check_queue(q pgbatch.queue) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF q.name IS NULL OR q.name !~ '^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$' THEN
        PERFORM pgbatch.reject(format('name is invalid: %s', coalesce(quote_literal(q.name), 'NULL')),
            'The name of a queue is part of its Jobs'' names: at most 40 of a-z, 0-9 and "-", '
            'first a letter, last a letter or a digit.');
    END IF;
    IF (q.job_template IS NULL) = (q.sql IS NULL) THEN
        PERFORM pgbatch.reject(
            format('exactly one of job_template and sql is needed, not %s',
                CASE WHEN q.sql IS NULL THEN 'none' ELSE 'both' END),
            'Give job_template, a batch/v1 JobTemplateSpec, or sql, a statement with $1 = the item as jsonb.');
    END IF;
    PERFORM pgbatch.check_job_template(q.job_template);
    IF q.sql ~ '^\s*$' THEN
        PERFORM pgbatch.reject('sql is empty', 'Give one statement; $1 is the item as jsonb.');
    END IF;
    PERFORM pgbatch.check_number('max_parallel', q.max_parallel, 1);
    IF q.limit_name IS NOT NULL AND NOT EXISTS (SELECT FROM pgbatch.parallel_limit l WHERE l.name = q.limit_name) THEN
        PERFORM pgbatch.reject_unknown_limit(q.limit_name);
    END IF;
    PERFORM pgbatch.check_number('items_per_run', q.items_per_run, 1);
    PERFORM pgbatch.check_number('max_attempts', q.max_attempts, 1);
    PERFORM pgbatch.check_interval('retry_backoff', q.retry_backoff, '0 s');
    PERFORM pgbatch.check_interval('retry_backoff_max', q.retry_backoff_max, q.retry_backoff);
    PERFORM pgbatch.check_interval('run_timeout', coalesce(q.run_timeout, '1 s'), '1 ms');
    IF q.namespace !~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$' THEN
        PERFORM pgbatch.reject(format('namespace is invalid: %L', q.namespace),
            'A namespace is at most 63 of a-z, 0-9 and "-", first and last a letter or a digit.');
    END IF;
    PERFORM pgbatch.check_number('priority', q.priority, -2147483648);
    PERFORM pgbatch.check_number('max_per_key', coalesce(q.max_per_key, 1), 1);
    PERFORM pgbatch.check_number('max_starts', coalesce(q.max_starts, 1), 1);
    PERFORM pgbatch.check_interval('max_starts_per', q.max_starts_per, '1 ms');
    PERFORM pgbatch.check_number('keep_succeeded', q.keep_succeeded, 0);
    PERFORM pgbatch.check_number('keep_failed', q.keep_failed, 0);
    PERFORM pgbatch.check_interval('retain', q.retain, '0 s');
END
$$;
