-- pgbatch.run_spec: all that the Job of a run needs: a RunSpec, see dispatcher/core/src/run.rs.
--
-- Parameters:  run_id  which run
-- Returns:     its RunSpec; NULL if it has ended
CREATE FUNCTION pgbatch.run_spec(run_id bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN (
        SELECT jsonb_build_object(
            'run', r.id,
            'queue', r.queue,
            'batch', r.batch_id,
            'namespace', r.namespace,
            'first_item', r.first_item,
            'last_item', r.last_item,
            'attempt', r.attempt,
            'token', r.token,
            'items', (
                SELECT jsonb_agg(i.item ORDER BY i.item_no) FROM pgbatch.stored_item i
                WHERE i.batch_id = r.batch_id AND i.item_no BETWEEN r.first_item AND r.last_item),
            'job_template', q.job_template,
            'items_per_run', q.items_per_run)
        FROM pgbatch.run r
        JOIN pgbatch.queue q ON q.name = r.queue
        WHERE r.id = run_spec.run_id AND r.finished_at IS NULL);
END
$$;

-- pgbatch.run_specs: the same for several runs, for a dispatcher that starts again.
--
-- Parameters:  run_ids  which runs; those that have ended are left out
-- Returns:     their RunSpecs
CREATE FUNCTION pgbatch.run_specs(run_ids bigint[]) RETURNS SETOF jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT s.spec FROM unnest(run_ids) r (id) CROSS JOIN LATERAL pgbatch.run_spec(r.id) s (spec)
        WHERE s.spec IS NOT NULL;
END
$$;
COMMENT ON FUNCTION pgbatch.run_specs IS 'Dispatcher: what to start for live runs, as JSON';
