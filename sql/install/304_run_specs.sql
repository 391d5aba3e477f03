-- pgbatch.read_run_specs: all that the Jobs of runs need: RunSpecs, see dispatcher/core/src/run.rs.
--
-- Parameters:  run_ids  which runs
-- Returns:     a RunSpec each, in that order; those that have ended are left out
CREATE FUNCTION pgbatch.read_run_specs(run_ids bigint[]) RETURNS SETOF json
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT json_build_object(
            'run', r.id,
            'queue', r.queue,
            'batch', r.batch_id,
            'namespace', r.namespace,
            'first_item', r.first_item,
            'last_item', r.last_item,
            'attempt', r.attempt,
            'token', r.token,
            'items', (
                SELECT json_agg(i.item ORDER BY i.item_no) FROM pgbatch.stored_item i
                WHERE i.batch_id = r.batch_id AND i.item_no BETWEEN r.first_item AND r.last_item),
            'job_template', q.job_template,
            'sql_role', q.sql_role,
            'pending_pod_conditions', q.options -> 'pending_pod_conditions',
            'items_per_run', q.items_per_run,
            -- When a batch that came after others could be claimed is not kept.
            'waited_ms', CASE WHEN r.attempt = 1 THEN (
                SELECT (extract(epoch FROM r.created_at - greatest(b.created_at, b.not_before)) * 1000)::bigint
                FROM pgbatch.batch b WHERE b.id = r.batch_id AND b.after IS NULL LIMIT 1) END)
        FROM unnest(run_ids) WITH ORDINALITY w (id, place)
        CROSS JOIN LATERAL (SELECT r.* FROM pgbatch.run r WHERE r.id = w.id LIMIT 1) r
        CROSS JOIN LATERAL (
            SELECT q.job_template, q.sql_role, q.items_per_run, q.options FROM pgbatch.queue q WHERE q.name = r.queue LIMIT 1) q
        WHERE r.finished_at IS NULL
        ORDER BY w.place;
END
$$;

-- pgbatch.run_specs: the same, for a dispatcher that starts again.
--
-- Parameters:  run_ids  which runs; those that have ended are left out
-- Returns:     their RunSpecs
CREATE FUNCTION pgbatch.run_specs(run_ids bigint[]) RETURNS SETOF json
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY SELECT s.spec FROM pgbatch.read_run_specs(run_ids) s (spec);
END
$$;
COMMENT ON FUNCTION pgbatch.run_specs IS 'Dispatcher: what to start for live runs, as JSON';
