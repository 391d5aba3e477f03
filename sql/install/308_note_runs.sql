-- pgbatch.note_runs: notes why runs do not start, for as long as they do not. One that is locked is left for the next
-- time.
--
-- Parameters:  epoch  of the dispatcher that says so
--              notes  [{"run", "waiting": {"reason", "message"}}, ...]; waiting is null when nothing is in the way
-- Errors:      55000 if another dispatcher leads
-- Locks:       the runs' rows
-- Writes:      run
CREATE FUNCTION pgbatch.note_runs(epoch bigint, notes jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    free bigint[];
BEGIN
    PERFORM pgbatch.check_epoch(epoch);
    free := pgbatch.lock_starting_runs(ARRAY(SELECT n.run FROM jsonb_to_recordset(notes) n (run bigint)));
    UPDATE pgbatch.run r SET reason = n.waiting ->> 'reason', message = left(n.waiting ->> 'message', 4096)
    FROM jsonb_to_recordset(notes) n (run bigint, waiting jsonb)
    WHERE r.id = n.run AND r.id = ANY (free);
END
$$;
COMMENT ON FUNCTION pgbatch.note_runs IS 'Dispatcher: notes why runs do not start';
