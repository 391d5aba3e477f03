-- pgbatch.reject_unknown_queue: raises the ERROR of a queue that does not exist.
--
-- Parameters:  queue  the name that was given
-- Returns:     never
-- Errors:      42704
CREATE FUNCTION pgbatch.reject_unknown_queue(queue text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pgbatch.reject_unknown(
        format('queue %s does not exist', coalesce('"' || queue || '"', 'NULL')),
        'The view pgbatch.queues lists them; make one with pgbatch.create_queue().');
END
$$;

-- pgbatch.reject_unknown_limit: raises the ERROR of a limit that does not exist.
--
-- Parameters:  limit_name  the name that was given
-- Returns:     never
-- Errors:      42704
CREATE FUNCTION pgbatch.reject_unknown_limit(limit_name text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pgbatch.reject_unknown(
        format('limit %s does not exist', coalesce('"' || limit_name || '"', 'NULL')),
        'The view pgbatch.limits lists them; make one with pgbatch.create_limit().');
END
$$;

-- pgbatch.reject_unknown_batch: raises the ERROR of a batch that does not exist.
--
-- Parameters:  batch_id  the number that was given
-- Returns:     never
-- Errors:      42704
CREATE FUNCTION pgbatch.reject_unknown_batch(batch_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pgbatch.reject_unknown(
        format('batch %s does not exist', coalesce(batch_id::text, 'NULL')),
        'The view pgbatch.batches lists them.');
END
$$;
