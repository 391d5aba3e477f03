-- pgbatch.enqueue_batch: makes a batch of the given items, in their order.
--
-- Parameters:  queue  which queue
--              items  JSON objects, each at most 65536 bytes as text; none is allowed, and succeeds at once
--              the others as for enqueue()
-- Returns:     the id of the batch
-- Errors:      as enqueue(), 22023 with the item's path; 42704 for an unknown queue or batch in `after`
-- Locks:       none that another enqueuer waits for, but one with the same unique key
-- Writes:      batch, item
CREATE FUNCTION pgbatch.enqueue_batch(
    queue text, items jsonb[],
    label text DEFAULT NULL, priority int DEFAULT 0, not_before timestamptz DEFAULT NULL, unique_key text DEFAULT NULL,
    key text DEFAULT NULL, after bigint[] DEFAULT NULL, max_attempts int DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    batch record;
BEGIN
    PERFORM pgbatch.check_right(queue, 'enqueue');
    IF items IS NULL THEN
        PERFORM pgbatch.reject('items must not be NULL', 'Give an array of JSON objects; an empty one is allowed.');
    END IF;
    batch := pgbatch.insert_batch(
        queue, cardinality(items), label, priority, not_before, unique_key, key, after, max_attempts);
    IF batch.inserted THEN
        PERFORM pgbatch.insert_items(batch.id, 1, items);
    END IF;
    RETURN batch.id;
END
$$;
COMMENT ON FUNCTION pgbatch.enqueue_batch IS 'Makes a batch of the given items; it runs when the transaction has committed';
