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
    ended  record;
    closed jsonb;
BEGIN
    FOR ended IN
        WITH ended AS MATERIALIZED (
            SELECT b.id, b.items, b.cancel_requested_at
            FROM unnest(ids) i (id)
            CROSS JOIN LATERAL (SELECT b.* FROM pgbatch.batch b WHERE b.id = i.id LIMIT 1) b
            WHERE b.finished_at IS NULL
                -- LIMIT: once per batch, never as a join over all live runs and all retries.
                AND (SELECT true FROM pgbatch.run r
                     WHERE r.batch_id = b.id AND r.state IN ('starting', 'running') LIMIT 1) IS NULL
                AND (b.cancel_requested_at IS NOT NULL
                     OR b.state <> 'waiting' AND NOT b.has_fresh
                        AND (SELECT true FROM pgbatch.retry t WHERE t.batch_id = b.id LIMIT 1) IS NULL)
        )
        SELECT e.*, n.*
        FROM ended e
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(r.succeeded), 0)::int AS succeeded, coalesce(sum(r.failed), 0)::int AS failed
            FROM pgbatch.run r WHERE r.batch_id = e.id) n
    LOOP
        -- One after the other, each by its key: see observe().
        UPDATE pgbatch.batch b SET
            state = CASE WHEN ended.cancel_requested_at IS NOT NULL THEN 'cancelled'
                WHEN ended.succeeded < ended.items THEN 'failed' ELSE 'succeeded' END,
            finished_at = now(), expires_at = pgbatch.expiry(b.queue, now()), succeeded = ended.succeeded,
            failed = ended.failed, cancelled = ended.items - ended.succeeded - ended.failed
        WHERE b.id = ended.id
        RETURNING jsonb_build_object('id', b.id, 'queue', b.queue, 'label', b.label, 'state', b.state) INTO closed;
        PERFORM pg_notify('pgbatch_done', closed::text);
        PERFORM pgbatch.ring_done();
        RETURN NEXT closed;
    END LOOP;
END
$$;
