-- pgbatch.ready_runs: notes whether pods of runs have the conditions of options.pending_pod_conditions of their queues. A run that
-- is locked is left for the next time.
--
-- Parameters:  epoch  of the dispatcher that says so
--              ready  [{"run", "is_ready"}, ...]
-- Errors:      55000 if another dispatcher leads
-- Locks:       the runs' rows
-- Writes:      run
CREATE FUNCTION pgbatch.ready_runs(epoch bigint, ready jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    free bigint[];
BEGIN
    PERFORM pgbatch.check_epoch(epoch);
    free := ARRAY(
        SELECT l.id FROM jsonb_to_recordset(ready) s (run bigint)
        CROSS JOIN LATERAL (
            SELECT r.id FROM pgbatch.run r WHERE r.id = s.run AND r.finished_at IS NULL LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED) l);
    UPDATE pgbatch.run r SET is_ready = s.is_ready
    FROM jsonb_to_recordset(ready) s (run bigint, is_ready boolean)
    WHERE r.id = s.run AND r.id = ANY (free);
END
$$;
COMMENT ON FUNCTION pgbatch.ready_runs IS 'Dispatcher: notes whether pods of runs have the conditions that their queue asks for';
