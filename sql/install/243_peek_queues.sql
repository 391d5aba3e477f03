-- pgbatch.peek_queues: what is open in each queue, as the view "queues" has it, for pages: the cost has a limit.
--
-- Runs as its caller: row security leaves the queues that he may read.
--
-- Parameters:  batches_max  at most so many open batches are counted, in equal parts of all queues that have some; each queue's
--                           part is 10 at least
-- Returns:     pending, running, retrying, failed, oldest_pending  as the view; of the batches that were counted
--              is_exact     false: there are more, so all of them are "at least so many"
--              per_second   items that ended in a second, on average since its running batches started
--              next_batch, next_item  which item is next; NULL = none waits for its first attempt
CREATE FUNCTION pgbatch.peek_queues(batches_max int DEFAULT 10000) RETURNS TABLE (
    name text, paused boolean, max_parallel int, pending bigint, running bigint, retrying bigint, failed bigint,
    oldest_pending timestamptz, is_exact boolean, per_second double precision, next_batch bigint, next_item int)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
    WITH part AS MATERIALIZED (
        SELECT greatest(10, batches_max / greatest(1, count(*)))::int AS batches FROM pgbatch.queue),
    counted AS MATERIALIZED (
        SELECT q.name, b.id, b.state, b.created_at, b.started_at, b.place, b.items, p.claimed, p.running, p.retrying, p.succeeded,
            p.failed, coalesce(p.is_exact, true) AS is_exact,
            CASE WHEN b.cancel_requested_at IS NULL THEN b.items - coalesce(p.claimed, 0) ELSE 0 END AS pending
        FROM pgbatch.queue q
        CROSS JOIN part
        CROSS JOIN LATERAL (
            SELECT f.*, row_number() OVER () AS place FROM (
                SELECT b.id, b.state::text AS state, b.created_at, b.started_at, b.items, b.cancel_requested_at
                FROM pgbatch.batch b
                WHERE b.queue = q.name AND b.has_fresh AND b.cancel_requested_at IS NULL AND b.state IN ('pending', 'running')
                ORDER BY b.priority DESC, b.id LIMIT part.batches) f
            UNION ALL
            SELECT h.*, part.batches + row_number() OVER () FROM (
                SELECT b.id, b.state::text, b.created_at, b.started_at, b.items, b.cancel_requested_at
                FROM pgbatch.batch b
                WHERE b.queue = q.name AND (b.state = 'waiting'
                    OR b.state IN ('pending', 'running') AND (NOT b.has_fresh OR b.cancel_requested_at IS NOT NULL))
                ORDER BY b.id LIMIT part.batches) h) b
        -- OFFSET 0, as in a join it would be called for all of them.
        LEFT JOIN LATERAL (SELECT p.* FROM pgbatch.peek_progress(b.id, 1000) p WHERE b.state = 'running' OFFSET 0) p ON true),
    summed AS MATERIALIZED (
        SELECT c.name, sum(c.pending) AS pending, sum(c.running) AS running, sum(c.retrying) AS retrying, sum(c.failed) AS failed,
            min(c.created_at) FILTER (WHERE c.pending > 0 AND c.state <> 'waiting') AS oldest_pending,
            bool_and(c.is_exact) AND count(*) FILTER (WHERE c.place <= part.batches) < part.batches
                AND count(*) FILTER (WHERE c.place > part.batches) < part.batches AS is_exact,
            sum((c.succeeded + c.failed) / greatest(extract(epoch FROM statement_timestamp() - c.started_at), 1)) AS per_second,
            (array_agg(ARRAY[c.id, c.items - c.pending + 1] ORDER BY c.place) FILTER (WHERE c.pending > 0))[1:1] AS next
        FROM counted c CROSS JOIN part GROUP BY c.name, part.batches)
    SELECT q.name, q.paused, q.max_parallel, coalesce(s.pending, 0), coalesce(s.running, 0), coalesce(s.retrying, 0),
        coalesce(s.failed, 0) + coalesce(e.failed, 0), s.oldest_pending, coalesce(s.is_exact, true) AND e.batches < part.batches,
        coalesce(s.per_second, 0)::double precision, s.next[1][1], s.next[1][2]::int
    FROM pgbatch.queue q
    CROSS JOIN part
    LEFT JOIN summed s ON s.name = q.name
    CROSS JOIN LATERAL (
        SELECT count(*) AS batches, sum(b.failed) AS failed
        FROM (SELECT b.failed FROM pgbatch.batch b WHERE b.queue = q.name AND b.failed > 0 LIMIT part.batches) b) e
    ORDER BY q.name
$$;
COMMENT ON FUNCTION pgbatch.peek_queues IS 'What is open in each queue, as the view "queues" has it, at a cost that has a limit';
