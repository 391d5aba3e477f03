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

-- pgbatch.reject_unknown_item: raises the ERROR of an item that a batch does not have.
--
-- Parameters:  b      the batch
--              named  the item, as the caller has named it
-- Errors:      22023
CREATE FUNCTION pgbatch.reject_unknown_item(b pgbatch.batch, named text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pgbatch.reject(format('%s is not an item of batch %s', named, b.id),
        CASE b.items WHEN 0 THEN 'It has no items.' ELSE format('Its items are 1 to %s.', b.items) END);
END
$$;
