-- pgbatch.lock_batch: locks a batch, for somebody who changes it.
--
-- Parameters:  id  which batch
-- Returns:     its row
-- Errors:      42704 for an unknown batch
-- Locks:       the batch's row
CREATE FUNCTION pgbatch.lock_batch(id bigint) RETURNS pgbatch.batch
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    b pgbatch.batch;
BEGIN
    SELECT found.* INTO b FROM pgbatch.batch found WHERE found.id = lock_batch.id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        PERFORM pgbatch.reject_unknown_batch(id);
    END IF;
    RETURN b;
END
$$;

-- pgbatch.lock_batches: locks batches against everything else that claims, finishes, cancels or retries them.
--
-- The dispatcher must not hang because somebody's transaction that called cancel_batch() stays open. So the ones that
-- are free are locked first, the others are waited for only a moment, and the callers leave out what they did not get.
--
-- Parameters:  ids   the batches; NULLs and unknown ones are left out
--              wait  false = do not even wait that moment
-- Returns:     the ids that are locked now, in order
-- Locks:       the batches' rows; waits at most 0.5 s for each
CREATE FUNCTION pgbatch.lock_batches(ids bigint[], wait boolean) RETURNS bigint[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
DECLARE
    locked bigint[];
    other  bigint;
BEGIN
    -- One after the other, each by its key: see observe().
    locked := ARRAY(
        SELECT b.id FROM (SELECT DISTINCT i.id FROM unnest(ids) i (id) ORDER BY i.id) i
        CROSS JOIN LATERAL (
            SELECT b.id FROM pgbatch.batch b WHERE b.id = i.id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED) b);
    IF wait THEN
        FOR other IN
            SELECT b.id FROM (SELECT DISTINCT i.id FROM unnest(ids) i (id) WHERE i.id <> ALL (locked) ORDER BY i.id) i
            CROSS JOIN LATERAL (SELECT b.id FROM pgbatch.batch b WHERE b.id = i.id LIMIT 1) b
        LOOP
            BEGIN
                PERFORM FROM pgbatch.batch b WHERE b.id = other FOR NO KEY UPDATE;
                locked := locked || other;
            EXCEPTION WHEN lock_not_available THEN
                CONTINUE;
            END;
        END LOOP;
    END IF;
    RETURN ARRAY(SELECT l.id FROM unnest(locked) l (id) ORDER BY l.id);
END
$$;
