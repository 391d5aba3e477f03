-- pgbatch.next_attempts: what comes after runs that did not succeed, for those who look at their Jobs.
--
-- Parameters:  run_ids  which runs
-- Returns:     per run that ended and did not succeed a NextAttempt, see dispatcher/core/src/notice.rs; of several ranges of items
--              that are tried again, the first
CREATE FUNCTION pgbatch.next_attempts(run_ids bigint[]) RETURNS SETOF json
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
        SELECT json_build_object(
            'run', r.id,
            'batch', r.batch_id,
            'attempt', r.attempt,
            'max_attempts', coalesce(t.max_attempt, r.max_attempt),
            'failed', r.failed,
            'due_at', t.due_at)
        FROM unnest(run_ids) WITH ORDINALITY w (id, place)
        CROSS JOIN LATERAL (SELECT r.* FROM pgbatch.run r WHERE r.id = w.id LIMIT 1) r
        LEFT JOIN LATERAL (
            SELECT t.max_attempt, t.due_at FROM pgbatch.retry t
            WHERE t.batch_id = r.batch_id AND t.first_item BETWEEN r.first_item AND r.last_item AND t.attempt = r.attempt + 1
            ORDER BY t.first_item LIMIT 1) t ON true
        WHERE r.finished_at IS NOT NULL AND r.state NOT IN ('succeeded', 'cancelled')
        ORDER BY w.place;
END
$$;
COMMENT ON FUNCTION pgbatch.next_attempts IS 'Dispatcher: what comes after runs that did not succeed, as JSON';
