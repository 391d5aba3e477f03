-- pgbatch.insert_batch: inserts the row of a batch, for the enqueue functions.
--
-- Parameters:  queue_name  and the shared options of the enqueue functions, see enqueue()
--              items       how many items the caller is going to insert
--              item        the only one, to be in the batch's row
-- Returns:     id          of the batch, or of the open one that has the unique key
--              inserted    false in the latter case: there is nothing to add to it
-- Errors:      22023 for a bad argument, 42704 for an unknown queue
-- Locks:       none that another enqueuer waits for, but one with the same unique key
-- Writes:      batch
CREATE FUNCTION pgbatch.insert_batch(
    queue_name text, items int, label text, priority int, not_before timestamptz, unique_key text, key text,
    after bigint[], max_attempts int, item jsonb DEFAULT NULL, OUT id bigint, OUT inserted boolean
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF insert_batch.priority IS DISTINCT FROM 0 OR num_nonnulls(insert_batch.label, insert_batch.not_before,
        insert_batch.unique_key, insert_batch.key, insert_batch.after, insert_batch.max_attempts) > 0 THEN
        PERFORM pgbatch.check_batch_options(insert_batch.label, insert_batch.priority, insert_batch.not_before,
            insert_batch.unique_key, insert_batch.key, insert_batch.after, insert_batch.max_attempts);
    END IF;
    -- One statement reads the queue and inserts, so no queue is dropped in between: drop_queue() locks the table.
    IF insert_batch.unique_key IS NULL THEN
        INSERT INTO pgbatch.batch AS b (queue, state, items, has_fresh, priority, max_attempts, label, key, not_before, after,
            created_by, item)
        SELECT q.name,
            CASE WHEN insert_batch.not_before > now() OR cardinality(insert_batch.after) > 0 THEN 'waiting' ELSE 'pending' END,
            insert_batch.items, insert_batch.items > 0, insert_batch.priority,
            coalesce(insert_batch.max_attempts, q.max_attempts), insert_batch.label, insert_batch.key, insert_batch.not_before,
            nullif(insert_batch.after, '{}'), pgbatch.caller(), insert_batch.item
        FROM pgbatch.queue q
        WHERE q.name = insert_batch.queue_name
        RETURNING b.id INTO insert_batch.id;
        IF NOT FOUND THEN
            PERFORM pgbatch.reject_unknown_queue(insert_batch.queue_name);
        END IF;
        insert_batch.inserted := true;
        RETURN;
    END IF;
    -- The same in words, but that ON CONFLICT costs a tenth of an enqueue's time and WAL.
    LOOP
        INSERT INTO pgbatch.batch AS b (queue, state, items, has_fresh, priority, max_attempts, label, key, unique_key, not_before, after,
            created_by, item)
        SELECT q.name,
            CASE WHEN insert_batch.not_before > now() OR cardinality(insert_batch.after) > 0 THEN 'waiting' ELSE 'pending' END,
            insert_batch.items, insert_batch.items > 0, insert_batch.priority,
            coalesce(insert_batch.max_attempts, q.max_attempts), insert_batch.label, insert_batch.key, insert_batch.unique_key, insert_batch.not_before,
            nullif(insert_batch.after, '{}'), pgbatch.caller(), insert_batch.item
        FROM pgbatch.queue q
        WHERE q.name = insert_batch.queue_name
        ON CONFLICT (queue, unique_key)
            WHERE unique_key IS NOT NULL AND state IN ('waiting', 'pending', 'running') DO NOTHING
        RETURNING b.id INTO insert_batch.id;
        IF FOUND THEN
            insert_batch.inserted := true;
            RETURN;
        END IF;
        IF NOT EXISTS (SELECT FROM pgbatch.queue q WHERE q.name = insert_batch.queue_name) THEN
            PERFORM pgbatch.reject_unknown_queue(insert_batch.queue_name);
        END IF;
        SELECT b.id INTO insert_batch.id FROM pgbatch.batch b
        WHERE b.queue = insert_batch.queue_name AND b.unique_key = insert_batch.unique_key
            AND b.state IN ('waiting', 'pending', 'running');
        IF FOUND THEN
            insert_batch.inserted := false;
            RETURN;
        END IF;
        -- The batch that had the key ended between the two statements: the key is free now.
    END LOOP;
END
$$;
