-- The gates that let some items go before others, for explain_queue(): see explain_limits.

-- pgbatch.hidden_by: why the dispatcher does not look at a place yet that nothing else holds: it looks at so many heads of
-- a queue, and of one key at no more than may run.
--
-- Returns:     key, order, or NULL: it does
CREATE FUNCTION pgbatch.hidden_by(q pgbatch.queue, b pgbatch.batch, place pgbatch.retry, seen jsonb) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN b.state = 'waiting' OR b.cancel_requested_at IS NOT NULL OR place.due_at > statement_timestamp() THEN NULL
        WHEN EXISTS (SELECT FROM pgbatch.heads(q, seen) h
                     WHERE h.batch_id = b.id AND h.is_fresh = (place.attempt = 1) AND h.first_item = place.first_item)
            THEN NULL
        WHEN b.key IS NULL OR q.max_per_key IS NULL
            OR jsonb_array_length(seen -> CASE place.attempt WHEN 1 THEN 'fresh' ELSE 'retries' END)
                >= CASE place.attempt WHEN 1 THEN greatest(100, q.max_parallel) ELSE 1000 END
            THEN 'order'
        ELSE 'key' END
$$;

-- pgbatch.explain_key: the gate of max_per_key.
--
-- Parameters:  q, b, item_no  its queue and its batch, and the number of the item
--              place          the range that it waits in
--              seen           what the dispatcher is told of the queue
CREATE FUNCTION pgbatch.explain_key(
    q pgbatch.queue, b pgbatch.batch, item_no int, place pgbatch.retry, seen jsonb, OUT open boolean, OUT words text
)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    names   text[];
    waits   pgbatch.retry;
    earlier bigint;
BEGIN
    IF b.key IS NULL OR q.max_per_key IS NULL THEN
        open := true;
        words := CASE WHEN b.key IS NULL THEN 'it has no key' ELSE format('queue "%s" has no max_per_key', q.name) END;
        RETURN;
    END IF;
    names := ARRAY(SELECT r.queue || '-' || r.id FROM pgbatch.run r JOIN pgbatch.batch o ON o.id = r.batch_id
        WHERE r.queue = q.name AND r.state IN ('starting', 'running') AND o.key = b.key ORDER BY r.id);
    IF q.max_per_key = 1 THEN
        SELECT t.* INTO waits FROM pgbatch.retry t
        WHERE t.queue = q.name AND t.key = b.key AND t.due_at > statement_timestamp()
            AND (t.batch_id, t.first_item) <> (place.batch_id, place.first_item)
        ORDER BY t.due_at LIMIT 1;
    END IF;
    earlier := (item_no - place.first_item) / q.items_per_run + coalesce((
        SELECT sum(h.runs) FROM pgbatch.heads_before(q, seen, place, b.priority) h WHERE h.key = b.key), 0);
    open := waits.batch_id IS NULL AND cardinality(names) + earlier < q.max_per_key
        AND pgbatch.hidden_by(q, b, place, seen) IS DISTINCT FROM 'key';
    words := format('key "%s" has %s of %s runs%s%s', b.key, cardinality(names), q.max_per_key,
        ': ' || nullif(pgbatch.say_first(names), ''),
        CASE WHEN waits.batch_id IS NOT NULL THEN format(
                '; they go in order, and item %s of batch %s waits for its attempt %s, due at %s',
                waits.first_item, waits.batch_id, waits.attempt, pgbatch.say_time(waits.due_at))
            WHEN NOT open AND cardinality(names) < q.max_per_key THEN '; earlier items with this key go first'
            ELSE '' END);
END
$$;

-- pgbatch.explain_order: the gate of the items that go before it and fill what room there is.
--
-- Parameters:  as for explain_key()
CREATE FUNCTION pgbatch.explain_order(
    q pgbatch.queue, b pgbatch.batch, item_no int, place pgbatch.retry, seen jsonb, OUT open boolean, OUT words text
)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    room   CONSTANT bigint := greatest(least(pgbatch.queue_room(q, seen), pgbatch.limit_room(q)), 0);
    hidden CONSTANT boolean := pgbatch.hidden_by(q, b, place, seen) IS NOT DISTINCT FROM 'order';
    -- The runs that its own range is cut into before its own.
    cut    CONSTANT int := (item_no - place.first_item) / q.items_per_run;
    runs   bigint := pgbatch.runs_before(q, seen, place, b.priority) + cut;
    ahead  text[];
    items  bigint;
BEGIN
    WITH before AS (
        SELECT h.batch_id, h.items, row_number() OVER () AS n
        FROM pgbatch.heads_before(q, seen, place, b.priority) h
        UNION ALL
        SELECT b.id, item_no - place.first_item, 2147483648 WHERE cut > 0
    ), batch AS (
        SELECT e.batch_id, sum(e.items) AS items, min(e.n) AS n FROM before e GROUP BY e.batch_id
    )
    SELECT coalesce(array_agg(format('%s of batch %s', e.items, e.batch_id) ORDER BY e.n), '{}'), coalesce(sum(e.items), 0)
    INTO ahead, items FROM batch e;
    -- What is left of a retry that is longer than a run waits until its first part has started.
    open := NOT hidden AND (runs = 0 OR runs < room) AND (place.attempt = 1 OR cut = 0);
    words := CASE WHEN open AND runs = 0 THEN 'it is the next of its queue'
        ELSE format('%s%s items of its queue go first: %s; there is room for %s runs now',
            CASE WHEN hidden THEN 'more than ' ELSE '' END, items, pgbatch.say_first(ahead), room) END;
END
$$;
