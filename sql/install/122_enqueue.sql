-- pgbatch.enqueue: makes a batch of one item.
--
-- Parameters:  queue         which queue
--              item          a JSON object, at most 65536 bytes as text
--              label         for people
--              priority      higher goes first inside the queue
--              not_before    waits until then
--              unique_key    if an open batch of the queue has it, nothing is inserted and that batch's id comes back
--              key           at most max_per_key live runs of the queue share one
--              after         ids of batches that must succeed first; if one does not, this one is cancelled
--              max_attempts  attempts at an item; NULL = the queue's
-- Returns:     the id of the batch
-- Errors:      22023 for a bad argument, 42704 for an unknown queue or batch in `after`, 42501 for a queue that the caller may
--              not enqueue into
-- Locks:       none that another enqueuer waits for, but one with the same unique key
-- Writes:      batch, item
CREATE FUNCTION pgbatch.enqueue(
    queue text, item jsonb DEFAULT '{}',
    label text DEFAULT NULL, priority int DEFAULT 0, not_before timestamptz DEFAULT NULL, unique_key text DEFAULT NULL,
    key text DEFAULT NULL, after bigint[] DEFAULT NULL, max_attempts int DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    batch record;
    small boolean;
    id    bigint;
BEGIN
    -- The usual call, in as few steps as can be: each expression is prepared anew in each transaction.
    -- As text: a number may be ten bytes stored and 100,000 written out.
    IF jsonb_typeof(item) = 'object' AND octet_length(item::text) <= 512 AND priority = 0
        AND num_nonnulls(label, not_before, unique_key, key, after, max_attempts) = 0 THEN
        -- One statement reads the queue and inserts, as in insert_batch(), and asks for the right. Of the owner here, as a call of
        -- may() takes a while; where the session's role is not the caller's, the doorbell refuses.
        INSERT INTO pgbatch.batch AS b (queue, state, items, has_fresh, priority, max_attempts, created_by, item)
        SELECT q.name, 'pending', 1, true, 0, q.max_attempts, pgbatch.caller(), enqueue.item
        FROM pgbatch.queue q
        WHERE q.name = enqueue.queue
            AND (pg_has_role(pgbatch.caller(), current_user, 'USAGE') OR pgbatch.may(enqueue.queue, 'enqueue'))
        RETURNING b.id INTO id;
        IF FOUND THEN
            RETURN id;
        END IF;
    END IF;
    PERFORM pgbatch.check_right(queue, 'enqueue');
    -- A batch's row is written three more times, with its item.
    small := octet_length(item::text) <= 512;
    IF item IS NULL OR jsonb_typeof(item) <> 'object' OR octet_length(item::text) > 65536 THEN
        PERFORM pgbatch.reject_item('item', item);
    END IF;
    batch := pgbatch.insert_batch(queue, 1, label, priority, not_before, unique_key, key, after, max_attempts,
        CASE WHEN small THEN item END);
    IF batch.inserted AND NOT small THEN
        INSERT INTO pgbatch.item VALUES (batch.id, 1, enqueue.item);
    END IF;
    RETURN batch.id;
END
$$;
COMMENT ON FUNCTION pgbatch.enqueue IS 'Makes a batch of one item; it runs when the transaction has committed';
