-- pgbatch.peek_progress: how far a running batch is, in items, as batch_progress, at a cost that does not grow with the batch.
--
-- Parameters:  batch_id  which batch
--              runs_max  at most so many of its runs are counted, those of the last attempts first
-- Returns:     running, retrying, succeeded, failed
--              claimed   had by some run
--              is_exact  false: it has more runs. Then failed is "at least so many", and succeeded "at most"
CREATE FUNCTION pgbatch.peek_progress(batch_id bigint, runs_max int)
RETURNS TABLE (claimed int, running int, retrying int, succeeded int, failed int, is_exact boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
    SELECT c.claimed, l.live - p.reported, t.retrying,
        CASE WHEN e.runs < runs_max THEN e.succeeded + p.reported
            ELSE greatest(c.claimed - l.live - t.retrying - e.failed, 0) + p.reported END,
        e.failed, e.runs < runs_max AND t.rows < runs_max
    FROM (
        SELECT coalesce((SELECT r.last_item FROM pgbatch.run r WHERE r.batch_id = peek_progress.batch_id AND r.attempt = 1
            ORDER BY r.first_item DESC LIMIT 1), 0) AS claimed) c
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(r.last_item - r.first_item + 1), 0)::int AS live
        FROM pgbatch.run r WHERE r.batch_id = peek_progress.batch_id AND r.state IN ('starting', 'running')) l
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(p.last_item - p.first_item + 1), 0)::int AS reported
        FROM pgbatch.run r JOIN pgbatch.report p ON p.run_id = r.id
        WHERE r.batch_id = peek_progress.batch_id AND r.state IN ('starting', 'running') AND p.state = 'succeeded') p
    CROSS JOIN LATERAL (
        SELECT count(*) AS rows, coalesce(sum(t.last_item - t.first_item + 1), 0)::int AS retrying
        FROM (SELECT t.first_item, t.last_item FROM pgbatch.retry t
              WHERE t.batch_id = peek_progress.batch_id AND t.due_at IS NOT NULL LIMIT runs_max) t) t
    CROSS JOIN LATERAL (
        SELECT count(*) AS runs, coalesce(sum(r.succeeded), 0)::int AS succeeded, coalesce(sum(r.failed), 0)::int AS failed
        FROM (SELECT r.succeeded, r.failed FROM pgbatch.run r WHERE r.batch_id = peek_progress.batch_id
              ORDER BY r.attempt DESC, r.first_item DESC LIMIT runs_max) r) e
$$;
