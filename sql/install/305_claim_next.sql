-- pgbatch.claim_next: takes the first items that have come since the session's last look, before it looks again. Only where
-- that left a queue idle, so that nothing else can be next, and only while the queue is as it was then: a queue that is paused,
-- has another limit or goes elsewhere by now is left to the look, and so is a batch that another transaction keeps locked. The
-- permits count on what that look saw to be live, so they are good once.
--
-- Parameters:  epoch    of the dispatcher that claims
--              permits  [{"queue", "namespace", "max_parallel", "runs"}, ...]: the queues, in the order of claiming, and how many
--                       runs each may have
-- Returns:     a RunSpec (dispatcher/core/src/run.rs) per run; none in a session that has not looked, or has
--                   claimed since
-- Errors:      55000 if another dispatcher leads
-- Locks:       the batches' rows; waits for none, so their order does not matter
-- Writes:      run, batch
CREATE FUNCTION pgbatch.claim_next(epoch bigint, permits jsonb) RETURNS SETOF json
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_variable
DECLARE
    self  pgbatch.installation;
    seen  jsonb;
    next  record;
    queue text;
    room  int;
    made  bigint[];
    runs  bigint[] := '{}';
BEGIN
    PERFORM pgbatch.check_epoch(epoch);
    SELECT i.* INTO self FROM pgbatch.installation i;
    seen := pgbatch.recall(self);
    IF seen IS NULL OR EXISTS (SELECT FROM pgbatch.run r WHERE r.id > (seen ->> 'last_run')::bigint) THEN
        RETURN;
    END IF;
    FOR next IN
        SELECT b.id, b.queue, b.items, q.items_per_run AS step, p.runs
        FROM pgbatch.unseen_fresh(seen) b
        JOIN ROWS FROM (jsonb_to_recordset(permits) AS (queue text, namespace text, max_parallel int, runs int))
            WITH ORDINALITY p (queue, namespace, max_parallel, runs, place) ON p.queue = b.queue
        CROSS JOIN LATERAL (
            -- claim_fresh() leaves out what is paused.
            SELECT q.items_per_run FROM pgbatch.queue q
            WHERE q.name = p.queue AND q.max_parallel = p.max_parallel AND q.namespace IS NOT DISTINCT FROM p.namespace
                AND num_nonnulls(q.limit_name, q.max_per_key, q.max_starts) = 0 LIMIT 1) q
        -- Of one that has begun, a look finds where to go on.
        WHERE b.state = 'pending'
        ORDER BY p.place, b.priority DESC, b.id
    LOOP
        IF next.queue IS DISTINCT FROM queue THEN
            queue := next.queue;
            room := next.runs;
        END IF;
        CONTINUE WHEN room = 0 OR cardinality(pgbatch.lock_batches(ARRAY[next.id], false)) = 0;
        made := pgbatch.claim_fresh(next.id,
            ARRAY(SELECT n.item FROM generate_series(1, next.items, next.step) n (item) LIMIT room),
            ARRAY(SELECT least(n.item + next.step - 1, next.items)
                FROM generate_series(1, next.items, next.step) n (item) LIMIT room));
        room := room - cardinality(made);
        runs := runs || made;
    END LOOP;
    RETURN QUERY SELECT s.spec FROM pgbatch.read_run_specs(runs) s (spec);
END
$$;
COMMENT ON FUNCTION pgbatch.claim_next IS 'Dispatcher: takes what has come since the last look; returns what to start, as JSON';
