-- pgbatch.batch_errors: why items of a batch failed: the messages, grouped by what is the same but for numbers.
--
-- Runs as its caller: row security leaves the runs that he may read.
--
-- Parameters:  batch_id   which batch
--              runs_max   at most so many of its runs are looked at, those of the last attempts first
--              at_most    so many groups
-- Returns:     failures   how many runs, or items that a run reported as failed, ended so
--              first_item the first item of them
--              first_at, last_at
--              sample     one of the messages
CREATE FUNCTION pgbatch.batch_errors(batch_id bigint, runs_max int DEFAULT 5000, at_most int DEFAULT 5)
RETURNS TABLE (failures bigint, first_item int, first_at timestamptz, last_at timestamptz, sample text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
    WITH seen AS MATERIALIZED (
        SELECT r.id, r.first_item, r.state::text AS state, r.finished_at, r.message, r.reason, r.exit_code
        FROM pgbatch.run r WHERE r.batch_id = batch_errors.batch_id
        ORDER BY r.attempt DESC, r.first_item DESC LIMIT runs_max),
    failed AS (
        -- In the words of the view "items".
        SELECT s.first_item, s.finished_at AS at, coalesce(s.message, s.reason, 'exit code ' || s.exit_code, s.state) AS words
        FROM seen s WHERE s.state IN ('failed', 'timed_out', 'lost')
        UNION ALL
        SELECT p.first_item, p.reported_at, coalesce(p.error, 'reported as failed')
        FROM seen s
        CROSS JOIN LATERAL (SELECT p.first_item, p.reported_at, p.error FROM pgbatch.report p
            WHERE p.run_id = s.id AND p.state = 'failed' LIMIT 100) p)
    SELECT count(*), min(f.first_item), min(f.at), max(f.at), min(f.words)
    FROM failed f
    GROUP BY pgbatch.error_kind(f.words)
    ORDER BY count(*) DESC, min(f.first_item) LIMIT at_most
$$;
COMMENT ON FUNCTION pgbatch.batch_errors IS 'Why items of a batch failed: the messages, grouped by what is the same but for numbers';
