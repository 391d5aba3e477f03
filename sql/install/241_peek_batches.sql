-- pgbatch.peek_batches: batches as the view "batches" has them, for pages: the cost does not grow with the batches.
--
-- Runs as its caller: row security leaves the batches that he may read.
--
-- Parameters:  ids       which batches; those that do not exist are left out
--              runs_max  of each running one at most so many runs are counted
-- Returns:     as the view, in the order of ids
--              is_exact  false: it has more runs. Then failed is "at least so many", and succeeded "at most"
CREATE FUNCTION pgbatch.peek_batches(ids bigint[], runs_max int DEFAULT 10000) RETURNS TABLE (
    id bigint, queue text, label text, state text, items int,
    pending int, running int, retrying int, succeeded int, failed int, cancelled int, is_exact boolean,
    priority int, key text, unique_key text, not_before timestamptz, deadline timestamptz, after bigint[], max_attempts int,
    created_at timestamptz, created_by text, started_at timestamptz, finished_at timestamptz,
    cancel_requested_at timestamptz, cancel_reason text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
    SELECT b.id, b.queue, b.label, b.state::text, b.items,
        n.pending, n.running, n.retrying, n.succeeded, n.failed,
        b.items - n.pending - n.running - n.retrying - n.succeeded - n.failed, coalesce(p.is_exact, true),
        b.priority, b.key, b.unique_key, b.not_before, b.deadline, b.after, b.max_attempts,
        b.created_at, b.created_by, b.started_at, b.finished_at, b.cancel_requested_at, b.cancel_reason
    FROM unnest(ids) WITH ORDINALITY w (id, place)
    JOIN pgbatch.batch b ON b.id = w.id
    LEFT JOIN LATERAL pgbatch.peek_progress(b.id, runs_max) p ON b.state = 'running'
    CROSS JOIN LATERAL (
        SELECT CASE WHEN b.finished_at IS NULL AND b.cancel_requested_at IS NULL
                THEN b.items - coalesce(p.claimed, 0) ELSE 0 END AS pending,
            coalesce(p.running, 0) AS running,
            coalesce(p.retrying, 0) AS retrying,
            coalesce(b.succeeded, p.succeeded, 0) AS succeeded,
            coalesce(b.failed, p.failed, 0) AS failed) n
    ORDER BY w.place
$$;
COMMENT ON FUNCTION pgbatch.peek_batches IS 'Batches, as the view "batches" has them, at a cost that does not grow with them';
