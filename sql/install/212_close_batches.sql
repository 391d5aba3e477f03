-- pgbatch.close_batches: ends those batches that have nothing left to do, and says so to whoever waits.
--
-- A batch ends when none of its items is fresh, live or retrying; a batch being cancelled as soon as nothing is live.
--
-- Parameters:  ids  batches, whose rows the caller has locked
-- Returns:     per ended batch {"id", "queue", "label", "state"}, which is also sent on channel pgbatch_done
-- Writes:      batch
CREATE FUNCTION pgbatch.close_batches(ids bigint[]) RETURNS SETOF jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    closed jsonb;
BEGIN
    FOR closed IN
        WITH ended AS MATERIALIZED (
            SELECT b.id, b.items, b.cancel_requested_at
            FROM pgbatch.batch b
            WHERE b.id = ANY (ids) AND b.finished_at IS NULL
                -- LIMIT: once per batch, never as a join over all live runs and all retries.
                AND (SELECT true FROM pgbatch.run r
                     WHERE r.batch_id = b.id AND r.state IN ('starting', 'running') LIMIT 1) IS NULL
                AND (b.cancel_requested_at IS NOT NULL
                     OR b.state <> 'waiting' AND NOT b.has_fresh
                        AND (SELECT true FROM pgbatch.retry t WHERE t.batch_id = b.id LIMIT 1) IS NULL)
        ), counted AS (
            SELECT e.*, n.*
            FROM ended e
            CROSS JOIN LATERAL (
                SELECT coalesce(sum(r.succeeded), 0)::int AS succeeded, coalesce(sum(r.failed), 0)::int AS failed
                FROM pgbatch.run r WHERE r.batch_id = e.id) n
        )
        UPDATE pgbatch.batch b SET
            state = CASE WHEN c.cancel_requested_at IS NOT NULL THEN 'cancelled'
                WHEN c.succeeded < c.items THEN 'failed' ELSE 'succeeded' END,
            finished_at = now(), expires_at = pgbatch.expiry(b.queue, now()), succeeded = c.succeeded, failed = c.failed, cancelled = c.items - c.succeeded - c.failed
        FROM counted c
        WHERE b.id = c.id
        RETURNING jsonb_build_object('id', b.id, 'queue', b.queue, 'label', b.label, 'state', b.state)
    LOOP
        PERFORM pg_notify('pgbatch_done', closed::text);
        PERFORM pgbatch.ring_done();
        RETURN NEXT closed;
    END LOOP;
END
$$;
