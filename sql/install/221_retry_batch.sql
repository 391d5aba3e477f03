-- pgbatch.retry_batch: gives the failed items of a batch as many further attempts as a new batch has, at once.
--
-- Parameters:  id     which batch; it may have ended or still be running
--              items  only these of them, by their numbers; those that have not failed are left as they are. NULL = all
--              error  only those with this error, whatever numbers are in it: one cause out of many. NULL = all
-- Returns:     the number of items that are retried
-- Errors:      22023 for an item that the batch does not have, 42704 for an unknown batch or one whose queue was dropped, 42501 for one
--              of a queue that the caller may not manage, 55000 for a cancelled batch or one whose unique key another open batch has by now
-- Locks:       the batch's row
-- Writes:      batch, run, retry
CREATE FUNCTION pgbatch.retry_batch(id bigint, items int[] DEFAULT NULL, error text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    b       pgbatch.batch;
    unknown text;
    retried bigint;
BEGIN
    PERFORM pgbatch.check_batch_right(id, 'manage');
    b := pgbatch.lock_batch(id);
    IF b.cancel_requested_at IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('batch %s was cancelled', id), HINT = 'Enqueue its items again.';
    END IF;
    IF items IS NOT NULL THEN
        SELECT coalesce(n::text, 'NULL') INTO unknown FROM unnest(items) n WHERE (n BETWEEN 1 AND b.items) IS NOT TRUE LIMIT 1;
        IF FOUND THEN
            PERFORM pgbatch.reject_unknown_item(b, unknown);
        END IF;
    END IF;
    retried := pgbatch.retry_failed_items(b, items, error);
    IF retried > 0 AND b.finished_at IS NOT NULL THEN
        PERFORM pgbatch.reopen_batch(b);
    END IF;
    PERFORM pgbatch.note_action('retry_batch', b.queue,
        jsonb_strip_nulls(jsonb_build_object('items', retried, 'error', left(error, 200))), id);
    PERFORM pgbatch.ring();
    RETURN retried;
END
$$;
COMMENT ON FUNCTION pgbatch.retry_batch IS 'Retries the failed items of a batch, or those with one error; returns how many they are';

-- pgbatch.retry_failed_items: makes retries of the failed items: ranges that had equally many attempts and fit a run.
--
-- Parameters:  b             a batch, whose row the caller has locked
--              items, error  as retry_batch()
-- Returns:     the number of items
-- Errors:      42704 if its queue was dropped
-- Writes:      retry, run
CREATE FUNCTION pgbatch.retry_failed_items(b pgbatch.batch, items int[], error text) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    per_run int;
    retried bigint;
BEGIN
    SELECT q.items_per_run INTO per_run FROM pgbatch.queue q WHERE q.name = b.queue;
    IF NOT FOUND THEN
        PERFORM pgbatch.reject_unknown_queue(b.queue);
    END IF;
    WITH failed AS MATERIALIZED (
        SELECT i.item_no, i.attempts, i.run_id,
            i.item_no - row_number() OVER (PARTITION BY i.attempts ORDER BY i.item_no) AS island
        FROM pgbatch.items i
        WHERE i.batch_id = b.id AND i.state = 'failed'
            AND (retry_failed_items.items IS NULL OR i.item_no = ANY (retry_failed_items.items))
            AND (retry_failed_items.error IS NULL
                OR pgbatch.error_kind(i.error) = pgbatch.error_kind(retry_failed_items.error))
    ), chunk AS (
        SELECT f.item_no, f.attempts,
            (row_number() OVER (PARTITION BY f.attempts, f.island ORDER BY f.item_no) - 1) / per_run AS chunk, f.island
        FROM failed f
    ), retry AS (
        INSERT INTO pgbatch.retry (batch_id, queue, first_item, last_item, attempt, max_attempt, key, due_at)
        SELECT b.id, b.queue, min(c.item_no), max(c.item_no), c.attempts + 1, c.attempts + b.max_attempts, b.key, now()
        FROM chunk c
        GROUP BY c.attempts, c.island, c.chunk
    ), uncount AS (
        -- They are not failed any more, so the runs that failed them must not count them.
        UPDATE pgbatch.run r SET failed = r.failed - f.items
        FROM (SELECT f.run_id, count(*)::int AS items FROM failed f GROUP BY f.run_id) f
        WHERE r.id = f.run_id
    )
    SELECT count(*) INTO retried FROM failed;
    RETURN retried;
END
$$;

-- pgbatch.reopen_batch: makes an ended batch a running one.
--
-- Parameters:  b  a batch, whose row the caller has locked
-- Errors:      55000 if another open batch has its unique key
-- Writes:      batch
CREATE FUNCTION pgbatch.reopen_batch(b pgbatch.batch) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE pgbatch.batch r
    SET state = 'running', finished_at = NULL, expires_at = NULL, succeeded = NULL, failed = NULL, cancelled = NULL
    WHERE r.id = b.id;
EXCEPTION WHEN unique_violation THEN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
        MESSAGE = format('batch %s cannot be retried: another open batch has its unique key %L', b.id, b.unique_key),
        HINT = 'Wait for that batch, or cancel it.';
END
$$;
