-- What observe() tells of the work of a queue: the heads only, in the order of claiming.

-- pgbatch.observe_batches: batches as FreshBatches: see dispatcher/core/src/snapshot.rs.
CREATE FUNCTION pgbatch.observe_batches(ids bigint[]) RETURNS json
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN (
        SELECT coalesce(json_agg(json_build_object(
                'batch', b.id, 'priority', b.priority, 'key', b.key, 'items', b.items,
                'next_item', CASE WHEN b.state = 'pending' THEN 1 ELSE coalesce((
                    SELECT r.last_item FROM pgbatch.run r WHERE r.batch_id = b.id AND r.attempt = 1
                    ORDER BY r.first_item DESC LIMIT 1), 0) + 1 END)
            ORDER BY b.priority DESC, b.id), '[]')
        FROM unnest(ids) i (id)
        CROSS JOIN LATERAL (SELECT b.* FROM pgbatch.batch b WHERE b.id = i.id LIMIT 1) b);
END
$$;

-- pgbatch.heads_of: of how many batches of a queue a look tells. Without a search_path of its own, so that it is inlined.
CREATE FUNCTION pgbatch.heads_of(q pgbatch.queue) RETURNS int
LANGUAGE sql IMMUTABLE AS $$
    SELECT greatest(100, q.max_parallel)
$$;

-- pgbatch.first_fresh: the first batches of a queue with items never claimed, in the order of claiming.
CREATE FUNCTION pgbatch.first_fresh(q pgbatch.queue) RETURNS bigint[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN (
        SELECT ARRAY(
            SELECT b.id FROM pgbatch.batch b
            WHERE b.queue = q.name
                AND b.has_fresh AND b.cancel_requested_at IS NULL AND b.state IN ('pending', 'running')
            ORDER BY b.priority DESC, b.id LIMIT pgbatch.heads_of(q)));
END
$$;

-- pgbatch.full_keys: the keys of a queue that have as many live runs as they may have; where that is one, also those whose
-- item waits for its retry: strictly serial means in order too.
CREATE FUNCTION pgbatch.full_keys(queue text, max_per_key int) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN (
        WITH RECURSIVE live AS (
            SELECT u.key FROM pgbatch.key_use(full_keys.queue) u WHERE u.runs >= max_per_key
        ), retrying AS (
            (SELECT t.key FROM pgbatch.retry t
             WHERE t.queue = full_keys.queue AND t.key IS NOT NULL AND t.due_at IS NOT NULL AND max_per_key = 1
             ORDER BY t.key LIMIT 1)
            UNION ALL
            SELECT (SELECT t.key FROM pgbatch.retry t
                    WHERE t.queue = full_keys.queue AND t.key > k.key AND t.due_at IS NOT NULL ORDER BY t.key LIMIT 1)
            FROM retrying k WHERE k.key IS NOT NULL
        )
        SELECT ARRAY(SELECT l.key FROM live l UNION SELECT k.key FROM retrying k WHERE k.key IS NOT NULL));
END
$$;

-- pgbatch.observe_fresh_by_key: the same for a queue with max_per_key: no more batches of one key than may have a run,
-- and none of a key that is full. Else a tenant's long backlog would hide the others behind it.
--
-- It jumps from key to key by the index, so it costs some microseconds a key that has work, not an item.
CREATE FUNCTION pgbatch.observe_fresh_by_key(queue text, at_most int, max_per_key int) RETURNS json
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN (
        WITH RECURSIVE key AS (
            (SELECT b.key FROM pgbatch.batch b
             WHERE b.queue = observe_fresh_by_key.queue AND b.key IS NOT NULL
                 AND b.has_fresh AND b.cancel_requested_at IS NULL AND b.state IN ('pending', 'running')
             ORDER BY b.key LIMIT 1)
            UNION ALL
            SELECT (SELECT b.key FROM pgbatch.batch b
                    WHERE b.queue = observe_fresh_by_key.queue AND b.key > k.key
                        AND b.has_fresh AND b.cancel_requested_at IS NULL AND b.state IN ('pending', 'running')
                    ORDER BY b.key LIMIT 1)
            FROM key k WHERE k.key IS NOT NULL
        ), free AS (
            SELECT k.key FROM key k
            WHERE k.key IS NOT NULL AND k.key <> ALL (pgbatch.full_keys(observe_fresh_by_key.queue, max_per_key))
        ), head AS (
            SELECT b.id, b.priority FROM free f
            CROSS JOIN LATERAL (
                SELECT b.id, b.priority FROM pgbatch.batch b
                WHERE b.queue = observe_fresh_by_key.queue AND b.key = f.key
                    AND b.has_fresh AND b.cancel_requested_at IS NULL AND b.state IN ('pending', 'running')
                ORDER BY b.priority DESC, b.id LIMIT least(max_per_key, at_most)) b
            UNION ALL
            (SELECT b.id, b.priority FROM pgbatch.batch b
             WHERE b.queue = observe_fresh_by_key.queue AND b.key IS NULL
                 AND b.has_fresh AND b.cancel_requested_at IS NULL AND b.state IN ('pending', 'running')
             ORDER BY b.priority DESC, b.id LIMIT at_most)
        )
        SELECT pgbatch.observe_batches(ARRAY(SELECT h.id FROM head h ORDER BY h.priority DESC, h.id LIMIT at_most)));
END
$$;

-- pgbatch.observe_retry: one of them, as a Retry: see dispatcher/core/src/snapshot.rs.
CREATE FUNCTION pgbatch.observe_retry(t pgbatch.retry) RETURNS json
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN (
        SELECT json_build_object(
            'batch', t.batch_id, 'priority', b.priority, 'key', b.key,
            'first_item', t.first_item, 'last_item', t.last_item, 'attempt', t.attempt, 'due_at', t.due_at)
        FROM pgbatch.batch b WHERE b.id = t.batch_id);
END
$$;

-- pgbatch.observe_retries: the first retries of a queue that are due, and the next one, by due time.
--
-- Parameters:  start  none is due before it
CREATE FUNCTION pgbatch.observe_retries(queue text, at_most int, start timestamptz) RETURNS json
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN (
        SELECT coalesce(json_agg(pgbatch.observe_retry(t) ORDER BY t.due_at, t.batch_id, t.first_item), '[]')
        FROM (
            (SELECT t.* FROM pgbatch.retry t
             WHERE t.queue = observe_retries.queue AND t.due_at >= observe_retries.start
                 AND t.due_at <= statement_timestamp()
             ORDER BY t.due_at LIMIT at_most)
            UNION ALL
            (SELECT t.* FROM pgbatch.retry t
             WHERE t.queue = observe_retries.queue AND t.due_at >= observe_retries.start
                 AND t.due_at > statement_timestamp()
             ORDER BY t.due_at LIMIT 1)) t);
END
$$;

-- pgbatch.observe_retries_by_key: the same for a queue with max_per_key: no more of one key than may have a run.
CREATE FUNCTION pgbatch.observe_retries_by_key(queue text, at_most int, max_per_key int) RETURNS json
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN (
        WITH RECURSIVE key AS (
            (SELECT t.key FROM pgbatch.retry t
             WHERE t.queue = observe_retries_by_key.queue AND t.key IS NOT NULL AND t.due_at IS NOT NULL
             ORDER BY t.key LIMIT 1)
            UNION ALL
            SELECT (SELECT t.key FROM pgbatch.retry t
                    WHERE t.queue = observe_retries_by_key.queue AND t.key > k.key AND t.due_at IS NOT NULL
                    ORDER BY t.key LIMIT 1)
            FROM key k WHERE k.key IS NOT NULL
        ), head AS (
            SELECT t.retry FROM key k
            CROSS JOIN LATERAL (
                SELECT t AS retry FROM pgbatch.retry t
                WHERE t.queue = observe_retries_by_key.queue AND t.key = k.key AND t.due_at IS NOT NULL
                ORDER BY t.due_at LIMIT least(max_per_key, at_most)) t
            UNION ALL
            (SELECT t FROM pgbatch.retry t
             WHERE t.queue = observe_retries_by_key.queue AND t.key IS NULL AND t.due_at IS NOT NULL
             ORDER BY t.due_at LIMIT at_most)
        )
        SELECT coalesce(json_agg(pgbatch.observe_retry(h.retry)
            ORDER BY (h.retry).due_at, (h.retry).batch_id, (h.retry).first_item), '[]')
        FROM (SELECT h.retry FROM head h ORDER BY (h.retry).due_at LIMIT at_most) h);
END
$$;
