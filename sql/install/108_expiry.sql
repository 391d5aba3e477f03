-- pgbatch.expiry: when an ended batch may be deleted.
--
-- Not before its runs stop counting for max_starts, which reads them.
--
-- Parameters:  queue_name   its queue; one that was dropped counts as having the defaults of create_queue()
--              finished_at  when it ended
CREATE FUNCTION pgbatch.expiry(queue_name text, finished_at timestamptz) RETURNS timestamptz
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN (
        SELECT expiry.finished_at + coalesce(
            (SELECT greatest(q.retain, q.max_starts_per) FROM pgbatch.queue q WHERE q.name = expiry.queue_name), '7 days'));
END
$$;
