-- pgbatch.observe: PostgreSQL's side of the world, for the dispatcher's plan; first runs the queries of watch_rows() where
-- something has changed, and lets batches go on that need no run.
--
-- Parameters:  epoch  of the dispatcher that asks
--              also   names of further queues to tell of: the history limits of a queue outlive its work
-- Returns:     a StoreView: see dispatcher/core/src/snapshot.rs, which is the same in words
-- Errors:      55000 if another dispatcher leads
-- Locks, Writes: as advance() and run_triggers(); nothing when nothing has changed; the session's setting pgbatch.seen
--
-- Its cost must not grow with what is queued. Each table has an index for each question here, and subqueries with LIMIT 1
-- are asked once per row and never become a join over all batches. enable_seqscan = off, here and in the dispatcher's
-- other functions: a session keeps its plans, and the best plan for tables that were small when it was made is to read
-- all of them. Such plans look expensive where a table has no index to offer, which must not start the compiler (jit), nor
-- make PostgreSQL plan each call anew (plan_cache_mode). PL/pgSQL, as a function in the language SQL keeps no plan. Lists of ids
-- are looked up one by one, by LATERAL and LIMIT 1: a kept plan for = ANY (ids) counts on ten of them, and so reads all of a table
-- of a dozen rows. start_runs(), note_runs(), over_runs() and prune() have it all the same, and plan each call.
-- What it returns is json, not jsonb: it is written out once, and jsonb costs twice the time of all the rest for each live run.
CREATE FUNCTION pgbatch.observe(epoch bigint, also text[] DEFAULT '{}') RETURNS json
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    -- Before any search, so that what a search cannot see is not in it either.
    snapshot CONSTANT pg_snapshot := pg_current_snapshot();
    own_xact CONSTANT xid8 := pg_current_xact_id_if_assigned();
    self     pgbatch.installation;
    seen     jsonb;
    again_at timestamptz;
    live     bigint[];
    limits   jsonb;
    fresh    jsonb;
    levels   jsonb;
    retries  jsonb;
BEGIN
    -- Without a lock: what a look writes may be written by anybody, and one that finds nothing writes nothing.
    SELECT i.* INTO self FROM pgbatch.installation i WHERE i.epoch = observe.epoch;
    IF NOT FOUND THEN
        PERFORM pgbatch.reject_epoch(epoch);
    END IF;
    seen := pgbatch.recall(self);
    -- What is left because of somebody's lock must be looked at again, though its end may ring nothing.
    again_at := least(pgbatch.run_triggers(epoch), CASE WHEN pgbatch.advance() THEN now() + '1 s' END);
    live := pgbatch.live_runs(seen);
    -- As few statements as can be, here and below: each costs more than what it finds.
    SELECT h.fresh, h.levels, (SELECT coalesce(jsonb_object_agg(r.queue, r.due_at), '{}') FROM pgbatch.retry_heads(seen) r),
        CASE WHEN EXISTS (SELECT FROM pgbatch.parallel_limit) THEN pgbatch.observe_limits(live) ELSE '{}' END
    INTO fresh, levels, retries, limits
    FROM (SELECT coalesce(jsonb_object_agg(h.queue, h.ids), '{}') AS fresh,
              coalesce(jsonb_object_agg(h.queue, h.levels), '{}') AS levels
          FROM pgbatch.fresh_heads(seen) h) h;
    PERFORM set_config('pgbatch.seen', jsonb_build_object('installation', self.id, 'epoch', epoch,
        'until', pg_snapshot_xmax(snapshot)::text,
        'open', '{' || concat_ws(',', nullif(split_part(snapshot::text, ':', 3), ''), own_xact) || '}',
        'fresh', levels, 'retries', retries, 'live', live,
        'last_run', greatest((seen ->> 'last_run')::bigint, (SELECT max(r.id) FROM pgbatch.run r), 0))::text, false);
    RETURN json_build_object(
        'now', now(),
        'queues', (
            SELECT coalesce(json_agg(pgbatch.observe_queue(q, limits,
                    ARRAY(SELECT f::bigint FROM jsonb_array_elements(fresh -> q.name) f),
                    coalesce((retries ->> q.name)::timestamptz, 'infinity')) ORDER BY q.name), '[]')
            FROM pgbatch.queue q
            WHERE q.name = ANY (also || ARRAY(SELECT jsonb_object_keys(fresh || retries))
                || ARRAY(
                    SELECT DISTINCT r.queue FROM unnest(live) l (id)
                    CROSS JOIN LATERAL (SELECT r.queue FROM pgbatch.run r WHERE r.id = l.id LIMIT 1) r))),
        'live', CASE WHEN cardinality(live) = 0 THEN '[]' ELSE pgbatch.observe_live(live) END,
        'next_not_before', (
            SELECT least(min(n.not_before), again_at)
            FROM unnest('{time,others}'::text[]) w (reason)
            CROSS JOIN LATERAL (
                SELECT b.not_before FROM pgbatch.movable_batch b
                WHERE b.waits_for = w.reason AND b.not_before > now()
                ORDER BY b.not_before LIMIT 1) n),
        'kafka', (SELECT k.change FROM pgbatch.kafka_change k),
        'namespaces', (
            SELECT coalesce(json_agg(n.namespace ORDER BY n.namespace), '[]')
            FROM (SELECT q.namespace FROM pgbatch.queue q WHERE q.namespace IS NOT NULL
                  UNION
                  SELECT r.namespace FROM unnest(live) l (id)
                  CROSS JOIN LATERAL (SELECT r.namespace FROM pgbatch.run r WHERE r.id = l.id LIMIT 1) r
                  WHERE r.namespace IS NOT NULL) n),
        'prune_at', CASE WHEN EXISTS (SELECT FROM pgbatch.pruning) THEN now()
            ELSE (SELECT min(b.expires_at) FROM pgbatch.batch b WHERE b.expires_at IS NOT NULL) END);
END
$$;
COMMENT ON FUNCTION pgbatch.observe IS 'Dispatcher: what there is to do, as JSON';

-- pgbatch.observe_limits: every Limit, by its name. Counted once, not for each queue.
--
-- Parameters:  live  the live runs
CREATE FUNCTION pgbatch.observe_limits(live bigint[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN (
        SELECT coalesce(jsonb_object_agg(l.name, jsonb_build_object(
            'name', l.name, 'max_parallel', l.max_parallel, 'live', coalesce(n.live, 0))), '{}')
        FROM pgbatch.parallel_limit l
        LEFT JOIN (
            SELECT q.limit_name, count(*) AS live
            FROM unnest(live) l (id)
            CROSS JOIN LATERAL (SELECT r.queue FROM pgbatch.run r WHERE r.id = l.id LIMIT 1) r
            JOIN pgbatch.queue q ON q.name = r.queue
            WHERE q.limit_name IS NOT NULL
            GROUP BY q.limit_name) n ON n.limit_name = l.name);
END
$$;

-- pgbatch.observe_queue: one queue of it.
--
-- Parameters:  limits       of observe_limits()
--              fresh        its first fresh batches
--              retry_start  none of its retries is due before that
CREATE FUNCTION pgbatch.observe_queue(q pgbatch.queue, limits jsonb, fresh bigint[], retry_start timestamptz) RETURNS json
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN (
        SELECT json_build_object(
            'name', q.name,
            'namespace', q.namespace,
            -- To the plan, a queue without a valid template is one more that is paused.
            'paused', q.paused OR NOT q.template_checked OR q.template_error IS NOT NULL,
            'priority', q.priority,
            'max_parallel', q.max_parallel,
            'limit', limits -> q.limit_name,
            'items_per_run', q.items_per_run,
            'max_per_key', q.max_per_key,
            'max_starts', q.max_starts,
            'max_starts_per_ms', pgbatch.ms(q.max_starts_per),
            'recent_starts', CASE WHEN q.max_starts IS NULL THEN '[]' ELSE (
                -- No more than the limit are needed to know when the next start is allowed.
                SELECT coalesce(json_agg(r.created_at ORDER BY r.created_at), '[]')
                FROM (SELECT r.created_at FROM pgbatch.run r
                      WHERE r.queue = q.name AND r.created_at > now() - q.max_starts_per
                      ORDER BY r.created_at DESC LIMIT q.max_starts) r) END,
            'run_timeout_ms', pgbatch.ms(q.run_timeout),
            'retry_backoff_ms', pgbatch.ms(q.retry_backoff),
            'retry_backoff_max_ms', pgbatch.ms(q.retry_backoff_max),
            'keep_succeeded', q.keep_succeeded,
            'keep_failed', q.keep_failed,
            'fresh', CASE WHEN q.max_per_key IS NULL THEN pgbatch.observe_batches(fresh)
                ELSE pgbatch.observe_fresh_by_key(q.name, pgbatch.heads_of(q), q.max_per_key) END,
            'retries', CASE WHEN retry_start = 'infinity' THEN '[]'
                WHEN q.max_per_key IS NULL THEN pgbatch.observe_retries(q.name, 1000, retry_start)
                ELSE pgbatch.observe_retries_by_key(q.name, 1000, q.max_per_key) END));
END
$$;

-- pgbatch.observe_live: every run that has not ended.
--
-- Parameters:  live  their ids
CREATE FUNCTION pgbatch.observe_live(live bigint[]) RETURNS json
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN (
        SELECT coalesce(json_agg(json_build_object(
                'run', r.id, 'queue', r.queue, 'namespace', r.namespace, 'batch', r.batch_id, 'key', b.key,
                'attempt', r.attempt, 'state', r.state, 'started_at', r.started_at,
                'cancel', b.cancel_requested_at IS NOT NULL,
                'waiting', CASE WHEN r.state = 'starting' AND r.reason IS NOT NULL
                    THEN json_build_object('reason', r.reason, 'message', coalesce(r.message, '')) END,
                'is_ready', r.is_ready)
            ORDER BY r.batch_id, r.id), '[]')
        FROM unnest(live) l (id)
        CROSS JOIN LATERAL (SELECT r.* FROM pgbatch.run r WHERE r.id = l.id LIMIT 1) r
        CROSS JOIN LATERAL (SELECT b.key, b.cancel_requested_at FROM pgbatch.batch b WHERE b.id = r.batch_id LIMIT 1) b);
END
$$;
