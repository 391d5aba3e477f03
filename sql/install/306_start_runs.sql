-- pgbatch.start_runs: notes that runs have started. One that is locked by its own report is left for the next time.
--
-- Parameters:  epoch    of the dispatcher that says so
--              started  [{"run", "started_at"}, ...]
-- Errors:      55000 if another dispatcher leads
-- Locks:       the runs' rows
-- Writes:      run
CREATE FUNCTION pgbatch.start_runs(epoch bigint, started jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    free bigint[];
BEGIN
    PERFORM pgbatch.check_epoch(epoch);
    free := pgbatch.lock_starting_runs(ARRAY(SELECT s.run FROM jsonb_to_recordset(started) s (run bigint)));
    UPDATE pgbatch.run r SET state = 'running', started_at = s.started_at, reason = NULL, message = NULL
    FROM jsonb_to_recordset(started) s (run bigint, started_at timestamptz)
    WHERE r.id = s.run AND r.id = ANY (free);
END
$$;
COMMENT ON FUNCTION pgbatch.start_runs IS 'Dispatcher: notes that runs have started';
