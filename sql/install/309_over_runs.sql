-- pgbatch.over_runs: which of these runs have ended, or never were. A Job is created after its claim has committed, so
-- one whose run is not live is not wanted any more.
--
-- Parameters:  epoch    of the dispatcher that asks
--              run_ids  which runs
-- Returns:     those that are not live, in order
-- Errors:      55000 if another dispatcher leads
CREATE FUNCTION pgbatch.over_runs(epoch bigint, run_ids bigint[]) RETURNS SETOF bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_custom_plan AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pgbatch.installation i WHERE i.epoch = over_runs.epoch) THEN
        PERFORM pgbatch.reject_epoch(epoch);
    END IF;
    RETURN QUERY SELECT a.id FROM unnest(run_ids) a (id)
        -- Once per id by the primary key: as a join it could read the index of live runs, with all that have left it.
        WHERE (SELECT true FROM pgbatch.run r WHERE r.id = a.id AND r.finished_at IS NULL LIMIT 1) IS NULL
        ORDER BY a.id;
END
$$;
COMMENT ON FUNCTION pgbatch.over_runs IS 'Dispatcher: which of these runs are not live';
