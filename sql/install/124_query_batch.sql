-- The three steps of enqueue_query(), which runs as the caller and may touch no table. The second and third refuse a
-- batch that the current transaction has not made, so they add nothing to anybody else's.

-- pgbatch.open_query_batch: makes a batch that items are going to be added to.
--
-- Parameters:  as for enqueue()
-- Returns:     as insert_batch()
-- Errors:      as enqueue()
-- Writes:      batch
CREATE FUNCTION pgbatch.open_query_batch(
    queue text, label text, priority int, not_before timestamptz, unique_key text, key text, after bigint[],
    max_attempts int, OUT id bigint, OUT inserted boolean
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    batch record;
BEGIN
    PERFORM pgbatch.check_right(queue, 'enqueue');
    batch := pgbatch.insert_batch(queue, 0, label, priority, not_before, unique_key, key, after, max_attempts);
    id := batch.id;
    inserted := batch.inserted;
END
$$;

-- pgbatch.add_query_items: adds items to it.
--
-- Parameters:  batch_id  the batch
--              first_no  the number of the first item
--              items     the items
-- Errors:      22023 for a bad item, 42501 for a batch of another transaction
-- Writes:      item
CREATE FUNCTION pgbatch.add_query_items(batch_id bigint, first_no int, items jsonb[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pgbatch.check_own_batch(batch_id);
    PERFORM pgbatch.insert_items(batch_id, first_no, items);
END
$$;

-- pgbatch.close_query_batch: says how many items there are.
--
-- Parameters:  batch_id  the batch
--              items     the number of its items
-- Errors:      42501 for a batch of another transaction
-- Writes:      batch
CREATE FUNCTION pgbatch.close_query_batch(batch_id bigint, items int) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pgbatch.check_own_batch(batch_id);
    UPDATE pgbatch.batch b SET items = close_query_batch.items, has_fresh = close_query_batch.items > 0
    WHERE b.id = close_query_batch.batch_id;
END
$$;

-- pgbatch.check_own_batch: refuses a batch that the current transaction has not made, or that is of a queue that the caller may
-- not enqueue into: the transaction may have had another role before.
--
-- Parameters:  batch_id  the batch
-- Errors:      42501
CREATE FUNCTION pgbatch.check_own_batch(batch_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    queue text;
BEGIN
    SELECT b.queue INTO queue FROM pgbatch.batch b
    WHERE b.id = check_own_batch.batch_id AND b.ready_xact = pg_current_xact_id_if_assigned();
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = format('batch %s was not made by this transaction', batch_id),
            HINT = 'Items are added by pgbatch.enqueue(), enqueue_batch() and enqueue_query() only.';
    END IF;
    PERFORM pgbatch.check_right(queue, 'enqueue', format('batch %s', batch_id));
END
$$;
