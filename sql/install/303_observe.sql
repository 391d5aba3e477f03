-- pgbatch.observe: PostgreSQL's side of the world, for the dispatcher's plan; first runs the queries of watch_rows() where
-- something has changed, and lets batches go on that need no run.
--
-- Parameters:  epoch  of the dispatcher that asks
--              also   names of further queues to tell of: the history limits of a queue outlive its work
-- Returns:     a StoreView: see dispatcher/core/src/snapshot.rs, which is the same in words
-- Errors:      55000 if another dispatcher leads
-- Locks, Writes: as advance() and run_watches(); nothing when nothing has changed
--
-- Its cost must not grow with what is queued. Each table has an index for each question here, and subqueries with LIMIT 1
-- are asked once per row and never become a join over all batches. enable_seqscan = off, here and in the dispatcher's
-- other functions: a session keeps its plans, and the best plan for tables that were small when it was made is to read
-- all of them. Such plans look expensive where a table has no index to offer, which must not start the compiler: jit.
CREATE FUNCTION pgbatch.observe(epoch bigint, also text[] DEFAULT '{}') RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
    again_at timestamptz;
    limits   jsonb;
BEGIN
    -- Without a lock: what a look writes may be written by anybody, and one that finds nothing writes nothing.
    IF NOT EXISTS (SELECT FROM pgbatch.installation i WHERE i.epoch = observe.epoch) THEN
        PERFORM pgbatch.reject_epoch(epoch);
    END IF;
    -- What is left because of somebody's lock must be looked at again, though its end may ring nothing.
    again_at := least(pgbatch.run_watches(), CASE WHEN pgbatch.advance() THEN now() + '1 s' END);
    limits := pgbatch.observe_limits();
    RETURN jsonb_build_object(
        'now', now(),
        'queues', (
            SELECT coalesce(jsonb_agg(pgbatch.observe_queue(q, limits) ORDER BY q.name), '[]')
            FROM pgbatch.queue q
            WHERE q.name = ANY (also)
                OR (SELECT true FROM pgbatch.batch b
                    WHERE b.queue = q.name AND b.state IN ('waiting', 'pending', 'running') LIMIT 1)),
        'live', pgbatch.observe_live(),
        'next_not_before', (
            SELECT least(min(b.not_before), again_at)
            FROM pgbatch.batch b WHERE b.state = 'waiting' AND b.not_before > now()),
        'namespaces', (
            SELECT coalesce(jsonb_agg(n.namespace ORDER BY n.namespace), '[]')
            FROM (SELECT q.namespace FROM pgbatch.queue q WHERE q.namespace IS NOT NULL
                  UNION
                  SELECT r.namespace FROM pgbatch.run r
                  WHERE r.state IN ('starting', 'running') AND r.namespace IS NOT NULL) n),
        'prune_at', CASE WHEN EXISTS (SELECT FROM pgbatch.pruning) THEN now()
            ELSE (SELECT min(b.expires_at) FROM pgbatch.batch b WHERE b.expires_at IS NOT NULL) END);
END
$$;
COMMENT ON FUNCTION pgbatch.observe IS 'Dispatcher: what there is to do, as JSON';

-- pgbatch.observe_limits: every Limit, by its name. Counted once, not for each queue.
CREATE FUNCTION pgbatch.observe_limits() RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(jsonb_object_agg(l.name, jsonb_build_object(
        'name', l.name, 'max_parallel', l.max_parallel, 'live', coalesce(n.live, 0))), '{}')
    FROM pgbatch.parallel_limit l
    LEFT JOIN (
        SELECT q.limit_name, count(*) AS live
        FROM pgbatch.run r JOIN pgbatch.queue q ON q.name = r.queue
        WHERE r.state IN ('starting', 'running') AND q.limit_name IS NOT NULL
        GROUP BY q.limit_name) n ON n.limit_name = l.name
$$;

-- pgbatch.observe_queue: one queue of it.
CREATE FUNCTION pgbatch.observe_queue(q pgbatch.queue, limits jsonb) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT jsonb_build_object(
        'name', q.name,
        'namespace', q.namespace,
        'paused', q.paused,
        'priority', q.priority,
        'max_parallel', q.max_parallel,
        'limit', limits -> q.limit_name,
        'items_per_run', q.items_per_run,
        'max_per_key', q.max_per_key,
        'max_starts', q.max_starts,
        'max_starts_per_ms', pgbatch.ms(q.max_starts_per),
        'recent_starts', (
            -- No more than the limit are needed to know when the next start is allowed.
            SELECT coalesce(jsonb_agg(r.created_at ORDER BY r.created_at), '[]')
            FROM (SELECT r.created_at FROM pgbatch.run r
                  WHERE r.queue = q.name AND r.created_at > now() - q.max_starts_per AND q.max_starts IS NOT NULL
                  ORDER BY r.created_at DESC LIMIT q.max_starts) r),
        'run_timeout_ms', pgbatch.ms(q.run_timeout),
        'retry_backoff_ms', pgbatch.ms(q.retry_backoff),
        'retry_backoff_max_ms', pgbatch.ms(q.retry_backoff_max),
        'keep_succeeded', q.keep_succeeded,
        'keep_failed', q.keep_failed,
        'fresh', CASE WHEN q.max_per_key IS NULL THEN pgbatch.observe_fresh(q.name, greatest(100, q.max_parallel))
            ELSE pgbatch.observe_fresh_by_key(q.name, greatest(100, q.max_parallel), q.max_per_key) END,
        'retries', CASE WHEN q.max_per_key IS NULL THEN pgbatch.observe_retries(q.name, 1000)
            ELSE pgbatch.observe_retries_by_key(q.name, 1000, q.max_per_key) END)
$$;

-- pgbatch.observe_live: every run that has not ended, in the order of its index: any other could make a plan prefer the
-- index that has the order and read every run there is.
CREATE FUNCTION pgbatch.observe_live() RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_object(
            'run', r.id, 'queue', r.queue, 'namespace', r.namespace, 'batch', r.batch_id, 'key', b.key,
            'attempt', r.attempt, 'state', r.state, 'started_at', r.started_at,
            'cancel', b.cancel_requested_at IS NOT NULL,
            'waiting', CASE WHEN r.state = 'starting' AND r.reason IS NOT NULL
                THEN jsonb_build_object('reason', r.reason, 'message', coalesce(r.message, '')) END)
        ORDER BY r.batch_id, r.id), '[]')
    FROM pgbatch.run r
    CROSS JOIN LATERAL (SELECT b.key, b.cancel_requested_at FROM pgbatch.batch b WHERE b.id = r.batch_id LIMIT 1) b
    WHERE r.state IN ('starting', 'running')
$$;
