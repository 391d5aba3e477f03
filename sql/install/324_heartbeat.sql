-- pgbatch.heartbeat: a run says that it goes on, and learns whether it should. To be called in a transaction of its own:
-- it is seen when that commits.
--
-- Parameters:  run_id, token  what the run found in its environment
-- Returns:     true = go on; false = the batch is being cancelled: report what is done and end soon
-- Errors:      55000 if the run has ended or the token is not its own
-- Locks:       the run's row; while another transaction has changed it, it is not noted, and does not wait
-- Writes:      run
CREATE FUNCTION pgbatch.heartbeat(run_id bigint, token text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    r pgbatch.run := pgbatch.check_run(run_id, token);
BEGIN
    -- It waits for nobody: the dispatcher may be writing the run's end, and waits for what the run has open.
    PERFORM FROM pgbatch.run free WHERE free.id = r.id FOR NO KEY UPDATE SKIP LOCKED;
    IF FOUND THEN
        UPDATE pgbatch.run u SET heartbeat_at = clock_timestamp() WHERE u.id = r.id;
    END IF;
    RETURN EXISTS (SELECT FROM pgbatch.batch b WHERE b.id = r.batch_id AND b.cancel_requested_at IS NULL);
END
$$;
COMMENT ON FUNCTION pgbatch.heartbeat IS 'From inside a run: it goes on; false = its batch is being cancelled, end soon';
