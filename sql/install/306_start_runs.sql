-- pgbatch.start_runs: notes that runs have started. One that is locked by its own report is left for the next time.
--
-- Parameters:  epoch    of the dispatcher that says so
--              started  [{"run", "started_at"}, ...]
-- Errors:      55000 if another dispatcher leads
-- Locks:       the runs' rows
-- Writes:      run
CREATE FUNCTION pgbatch.start_runs(epoch bigint, started jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
BEGIN
    PERFORM pgbatch.check_epoch(epoch);
    WITH free AS MATERIALIZED (
        SELECT r.id FROM pgbatch.run r
        WHERE r.id IN (SELECT s.run FROM jsonb_to_recordset(started) s (run bigint)) AND r.state = 'starting'
        ORDER BY r.id FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE pgbatch.run r SET state = 'running', started_at = s.started_at, reason = NULL, message = NULL
    FROM free f JOIN jsonb_to_recordset(started) s (run bigint, started_at timestamptz) ON s.run = f.id
    WHERE r.id = f.id;
END
$$;
COMMENT ON FUNCTION pgbatch.start_runs IS 'Dispatcher: notes that runs have started';
