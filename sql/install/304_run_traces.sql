-- pgbatch.run_traces: what traces tell of runs. A dispatcher that sends traces asks for those that it is about to start, as their
-- programs go on in the trace, and for those that have ended.
--
-- Parameters:  run_ids  which runs
-- Returns:     per run whose batch was enqueued in a trace a RunTrace, see dispatcher/src/trace/run_trace.rs
CREATE FUNCTION pgbatch.run_traces(run_ids bigint[]) RETURNS SETOF json
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
        SELECT json_build_object(
            'installation', i.id,
            'run', r.id,
            'queue', r.queue,
            'batch', r.batch_id,
            'namespace', r.namespace,
            'attempt', r.attempt,
            'traceparent', b.traceparent,
            -- When a batch that came after others could be claimed is not kept, nor since when a retry was due.
            'claimable_at', CASE WHEN r.attempt = 1 AND b.after IS NULL THEN greatest(b.created_at, b.not_before) END,
            'claimed_at', r.created_at,
            'started_at', r.started_at,
            'finished_at', r.finished_at,
            'state', r.state,
            'reason', r.reason)
        FROM unnest(run_ids) WITH ORDINALITY w (id, place)
        CROSS JOIN LATERAL (SELECT r.* FROM pgbatch.run r WHERE r.id = w.id LIMIT 1) r
        CROSS JOIN LATERAL (
            SELECT b.traceparent, b.after, b.created_at, b.not_before FROM pgbatch.batch b WHERE b.id = r.batch_id LIMIT 1) b
        CROSS JOIN pgbatch.installation i
        WHERE b.traceparent IS NOT NULL
        ORDER BY w.place;
END
$$;
COMMENT ON FUNCTION pgbatch.run_traces IS 'Dispatcher: what traces tell of runs, as JSON';
