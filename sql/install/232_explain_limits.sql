-- The gates that count runs, for explain_queue(). All ask what observe() tells the dispatcher, called `seen` here, and count
-- as its plan does: see dispatcher/core/src/plan/claims.rs.

-- pgbatch.heads: the ranges that may start now, as far as the dispatcher looks.
CREATE FUNCTION pgbatch.heads(q pgbatch.queue, seen jsonb)
RETURNS TABLE (priority int, is_fresh boolean, batch_id bigint, first_item int, last_item int, key text, runs bigint)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT r.priority, false, r.batch, r.first_item, r.last_item, r.key, 1
    FROM jsonb_to_recordset(seen -> 'retries')
        r (batch bigint, priority int, key text, first_item int, last_item int, due_at timestamptz)
    WHERE r.due_at <= statement_timestamp()
    UNION ALL
    SELECT f.priority, true, f.batch, f.next_item, f.items, f.key,
        (f.items::bigint - f.next_item + q.items_per_run) / q.items_per_run
    FROM jsonb_to_recordset(seen -> 'fresh') f (batch bigint, priority int, key text, next_item int, items int)
$$;

-- pgbatch.heads_before: those that go before a place in the order of claiming.
--
-- Parameters:  place     NULL = all
--              priority  of the place's batch
CREATE FUNCTION pgbatch.heads_before(q pgbatch.queue, seen jsonb, place pgbatch.retry, priority int)
RETURNS TABLE (batch_id bigint, items bigint, key text, runs bigint)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT h.batch_id, h.last_item - h.first_item + 1::bigint, h.key, h.runs
    FROM pgbatch.heads(q, seen) h
    WHERE place.batch_id IS NULL
        OR (-h.priority::bigint, h.is_fresh, h.batch_id, h.first_item)
            < (-heads_before.priority::bigint, place.attempt = 1, place.batch_id, place.first_item)
    ORDER BY h.priority DESC, h.is_fresh, h.batch_id, h.first_item
$$;

-- pgbatch.key_use: how many live runs each key of a queue has.
CREATE FUNCTION pgbatch.key_use(queue text) RETURNS TABLE (key text, runs bigint)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT b.key, count(*)
    FROM pgbatch.run r
    CROSS JOIN LATERAL (SELECT b.key FROM pgbatch.batch b WHERE b.id = r.batch_id LIMIT 1) b
    WHERE r.queue = key_use.queue AND r.state IN ('starting', 'running') AND b.key IS NOT NULL
    GROUP BY b.key
$$;

-- pgbatch.runs_before: how many runs of a queue start before a place, if nothing but its keys limits them.
--
-- Parameters:  as for heads_before()
CREATE FUNCTION pgbatch.runs_before(q pgbatch.queue, seen jsonb, place pgbatch.retry, priority int) RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(sum(CASE WHEN h.key IS NULL OR q.max_per_key IS NULL THEN h.runs
        ELSE least(h.runs, greatest(q.max_per_key - coalesce(u.runs, 0), 0)) END), 0)::bigint
    FROM (SELECT h.key, sum(h.runs) AS runs
          FROM pgbatch.heads_before(q, seen, place, runs_before.priority) h GROUP BY h.key) h
    LEFT JOIN pgbatch.key_use(q.name) u ON u.key = h.key
$$;

-- pgbatch.starts: the starts of a queue that count for its max_starts, oldest first.
CREATE FUNCTION pgbatch.starts(q pgbatch.queue, seen jsonb) RETURNS timestamptz[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT ARRAY(SELECT s.at::timestamptz FROM jsonb_array_elements_text(seen -> 'recent_starts') s (at)
        WHERE s.at::timestamptz + q.max_starts_per > statement_timestamp() ORDER BY 1)
$$;

-- pgbatch.queue_room: how many runs of a queue may start now, by its own limits.
CREATE FUNCTION pgbatch.queue_room(q pgbatch.queue, seen jsonb) RETURNS int
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT least(q.max_starts - cardinality(pgbatch.starts(q, seen)), q.max_parallel - (
        SELECT count(*)::int FROM pgbatch.run r WHERE r.queue = q.name AND r.state IN ('starting', 'running')))
$$;

-- pgbatch.limit_room: how many runs of a queue may start now, by the limit that it shares: what the live runs leave, and the
-- queues that go before it take.
--
-- Returns:     NULL if it shares none
CREATE FUNCTION pgbatch.limit_room(q pgbatch.queue) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    room  bigint := (SELECT l.max_parallel - l.running FROM pgbatch.limits l WHERE l.name = q.limit_name);
    other pgbatch.queue;
    seen  jsonb;
BEGIN
    FOR other IN
        SELECT o.* FROM pgbatch.queue o
        WHERE o.limit_name = q.limit_name AND NOT o.paused
            AND (-o.priority::bigint, o.name COLLATE "C") < (-q.priority::bigint, q.name COLLATE "C")
    LOOP
        EXIT WHEN room <= 0;
        seen := pgbatch.observe_queue(other, '{}', pgbatch.first_fresh(other), '-infinity');
        room := room - least(greatest(pgbatch.queue_room(other, seen), 0), pgbatch.runs_before(other, seen, NULL, NULL));
    END LOOP;
    RETURN room;
END
$$;

-- pgbatch.explain_limit: the gate of a limit that several queues share.
CREATE FUNCTION pgbatch.explain_limit(q pgbatch.queue, OUT open boolean, OUT words text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    l     pgbatch.limits;
    room  bigint;
    names text[];
BEGIN
    IF q.limit_name IS NULL THEN
        open := true;
        words := format('queue "%s" shares no limit', q.name);
        RETURN;
    END IF;
    SELECT found.* INTO l FROM pgbatch.limits found WHERE found.name = q.limit_name;
    names := ARRAY(SELECT r.queue || '-' || r.id FROM pgbatch.run r
        WHERE r.queue = ANY (l.queues) AND r.state IN ('starting', 'running') ORDER BY r.id);
    room := pgbatch.limit_room(q);
    open := room > 0;
    words := format('limit "%s" of %s queues has %s of %s runs%s%s', l.name, cardinality(l.queues), cardinality(names),
        l.max_parallel, ': ' || nullif(pgbatch.say_first(names), ''),
        CASE WHEN NOT open AND cardinality(names) < l.max_parallel
            THEN '; queues of higher priority, or before it by name, take the rest' ELSE '' END);
END
$$;

-- pgbatch.explain_starts: the gate of max_starts.
CREATE FUNCTION pgbatch.explain_starts(q pgbatch.queue, seen jsonb, OUT open boolean, OUT words text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    starts CONSTANT timestamptz[] := pgbatch.starts(q, seen);
BEGIN
    open := coalesce(cardinality(starts) < q.max_starts, true);
    words := CASE
        WHEN q.max_starts IS NULL THEN format('queue "%s" has no max_starts', q.name)
        WHEN open THEN format('queue "%s" has started %s of %s runs in the last %s',
            q.name, cardinality(starts), q.max_starts, q.max_starts_per)
        ELSE format('queue "%s" has started all of %s runs in the last %s; the next may start at %s',
            q.name, q.max_starts, q.max_starts_per, pgbatch.say_time(starts[1] + q.max_starts_per)) END;
END
$$;
