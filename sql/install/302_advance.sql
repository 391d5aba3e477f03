-- pgbatch.movable_batches: the batches that need no run to go on.
--
-- Returns:     id      of the batch
--              step    release  it waits for nothing any more
--                      cancel   it comes after a batch that did not succeed, and will not
--                      close    it has no items
--              reason  of a cancel, for people
CREATE FUNCTION pgbatch.movable_batches() RETURNS TABLE (id bigint, step text, reason text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT b.id, 'release', NULL
        FROM pgbatch.movable_batch b
        WHERE b.waits_for = 'time' AND b.not_before <= now()
        UNION ALL
        SELECT b.id, CASE WHEN d.hopeless IS NULL THEN 'release' ELSE 'cancel' END, d.hopeless
        FROM pgbatch.movable_batch b
        CROSS JOIN LATERAL (
            SELECT bool_and(d.state IS NOT DISTINCT FROM 'succeeded') AS done,
                min(CASE WHEN d.id IS NULL THEN format('batch %s was dropped', a.id)
                    WHEN d.state = 'failed' THEN format('batch %s failed', a.id)
                    WHEN d.state = 'cancelled' THEN format('batch %s was cancelled', a.id) END) AS hopeless
            FROM unnest(b.after) a (id)
            LEFT JOIN LATERAL (SELECT d.id, d.state FROM pgbatch.batch d WHERE d.id = a.id LIMIT 1) d ON true) d
        WHERE b.waits_for = 'others'
            AND (d.hopeless IS NOT NULL OR d.done AND (b.not_before IS NULL OR b.not_before <= now()))
        UNION ALL
        SELECT b.id, 'close', NULL FROM pgbatch.movable_batch b WHERE b.waits_for = 'nothing';
END
$$;

-- pgbatch.advance: moves these batches on, chains of them in one call. Writes nothing when there is nothing to move.
--
-- Returns:     whether some are left because another transaction has locked them
-- Locks:       the rows of the batches that it moves
-- Writes:      batch
CREATE FUNCTION pgbatch.advance() RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    movable bigint[];
    locked  bigint[];
BEGIN
    LOOP
        movable := ARRAY(SELECT m.id FROM pgbatch.movable_batches() m);
        IF cardinality(movable) = 0 THEN
            RETURN false;
        END IF;
        locked := pgbatch.lock_batches(movable, false);
        IF cardinality(locked) = 0 THEN
            RETURN true;
        END IF;
        -- Looked at again: somebody may have changed them before they were locked.
        UPDATE pgbatch.batch b SET
            state = CASE m.step WHEN 'release' THEN 'pending' ELSE b.state END,
            ready_xact = pg_current_xact_id(),
            cancel_requested_at = CASE m.step WHEN 'cancel' THEN now() END,
            cancel_reason = m.reason
        FROM pgbatch.movable_batches() m
        WHERE b.id = m.id AND b.id = ANY (locked) AND m.step <> 'close';
        PERFORM pgbatch.close_batches(locked);
    END LOOP;
END
$$;
