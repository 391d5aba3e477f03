-- What the leading session has seen. Whatever is claimed leaves the indexes of what can be claimed, but while somebody
-- holds a snapshot its entries stay, and a search from an index's beginning would pass all of them, each time. So observe()
-- goes on where its session's last look found the first thing, and where something may have come in before that: a
-- transaction that was open then is in the snapshot of that look, and each later one is not before its end.
--
-- It is in a setting of the session, pgbatch.seen, that goes back with its transaction. A new session, which has none, finds
-- everything from the indexes' beginnings, once. As JSON:
--   installation, epoch  whose it is; after another leader it is void
--   until, open          what the last look could not see, from before it searched: transactions from that number on, and those
--                        that were open; its own too, if it had a number already: it is in no snapshot of its own
--   fresh                {queue: {priority: id}}: every fresh batch that it could see has that id or a greater one; a queue or
--                        a priority that is not named had none
--   retries              {queue: due_at}: likewise
--   live, last_run       the live runs, and the greatest id of any run: only this session makes runs, and their ids grow

-- pgbatch.recall: what the session has seen.
--
-- Parameters:  self  with the epoch of the dispatcher that asks
-- Returns:     as above; NULL = nothing that still counts
CREATE FUNCTION pgbatch.recall(self pgbatch.installation) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    seen CONSTANT jsonb := nullif(current_setting('pgbatch.seen', true), '');
BEGIN
    RETURN CASE WHEN seen ->> 'installation' = self.id::text AND (seen ->> 'epoch')::bigint = self.epoch THEN seen END;
END
$$;

-- pgbatch.unseen_fresh: the fresh batches that the last look could not see.
--
-- Parameters:  seen  what the session has seen
CREATE FUNCTION pgbatch.unseen_fresh(seen jsonb) RETURNS SETOF pgbatch.batch
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY
        SELECT b.*
        FROM (
            -- OFFSET: with the conditions below in here, the index of what can be claimed would do as well, read from its
            -- beginning. "> 0": see batch_ready.
            SELECT b.* FROM pgbatch.batch b
            WHERE b.has_fresh AND b.ready_xact > '0'::xid8 AND b.ready_xact >= (seen ->> 'until')::xid8
            UNION ALL
            SELECT b.* FROM unnest((seen ->> 'open')::xid8[]) o (xact)
            CROSS JOIN LATERAL (
                SELECT b.* FROM pgbatch.batch b
                WHERE b.has_fresh AND b.ready_xact > '0'::xid8 AND b.ready_xact = o.xact OFFSET 0) b
            OFFSET 0) b
        WHERE b.cancel_requested_at IS NULL AND b.state IN ('pending', 'running');
END
$$;

-- pgbatch.fresh_levels: where the fresh batches of each level begin, at the earliest. A level is a queue and a priority.
--
-- Parameters:  seen  what the session has seen; NULL: each level is found by the index
CREATE FUNCTION pgbatch.fresh_levels(seen jsonb) RETURNS TABLE (queue text, priority int, id bigint)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF seen IS NOT NULL THEN
        RETURN QUERY
            SELECT l.queue, l.priority, min(l.id)
            FROM (SELECT q.key AS queue, p.key::int AS priority, p.value::bigint AS id
                  FROM jsonb_each(seen -> 'fresh') q CROSS JOIN LATERAL jsonb_each_text(q.value) p
                  UNION ALL
                  -- What the last look could not see.
                  SELECT b.queue, b.priority, b.id FROM pgbatch.unseen_fresh(seen) b) l
            GROUP BY l.queue, l.priority;
        RETURN;
    END IF;
    RETURN QUERY
        WITH RECURSIVE level AS (
            SELECT f.* FROM pgbatch.queue q
            CROSS JOIN LATERAL (
                SELECT b.queue, b.priority, b.id FROM pgbatch.batch b
                WHERE b.queue = q.name
                    AND b.has_fresh AND b.cancel_requested_at IS NULL AND b.state IN ('pending', 'running')
                ORDER BY b.priority DESC, b.id LIMIT 1) f
            UNION ALL
            SELECT f.* FROM level l
            CROSS JOIN LATERAL (
                SELECT b.queue, b.priority, b.id FROM pgbatch.batch b
                WHERE b.queue = l.queue AND b.priority < l.priority
                    AND b.has_fresh AND b.cancel_requested_at IS NULL AND b.state IN ('pending', 'running')
                ORDER BY b.priority DESC, b.id LIMIT 1) f
        )
        SELECT l.* FROM level l;
END
$$;

-- pgbatch.fresh_heads: the first fresh batches of each queue that has any, in the order of claiming.
--
-- Parameters:  seen  what the session has seen, or NULL
-- Returns:     queue
--              levels  where its levels begin, for the next look: {priority: id}
--              ids     its first batches
CREATE FUNCTION pgbatch.fresh_heads(seen jsonb) RETURNS TABLE (queue text, levels jsonb, ids bigint[])
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    q     record;
    level record;
    found bigint[];
    room  int;
BEGIN
    FOR q IN
        SELECT l.queue, array_agg(l.priority ORDER BY l.priority DESC) AS priorities,
            array_agg(l.id ORDER BY l.priority DESC) AS starts,
            (SELECT pgbatch.heads_of(d) FROM pgbatch.queue d WHERE d.name = l.queue) AS room
        FROM pgbatch.fresh_levels(seen) l GROUP BY l.queue ORDER BY l.queue
    LOOP
        queue := q.queue;
        levels := '{}';
        ids := '{}';
        room := q.room;
        FOR level IN SELECT * FROM unnest(q.priorities, q.starts) l (priority, start) LOOP
            IF cardinality(ids) < room THEN
                found := ARRAY(
                    SELECT b.id FROM pgbatch.batch b
                    WHERE b.queue = q.queue AND b.priority = level.priority AND b.id >= level.start
                        AND b.has_fresh AND b.cancel_requested_at IS NULL AND b.state IN ('pending', 'running')
                    ORDER BY b.priority DESC, b.id LIMIT room - cardinality(ids));
                CONTINUE WHEN cardinality(found) = 0;
                level.start := found[1];
                ids := ids || found;
            END IF;
            levels := jsonb_set(levels, ARRAY[level.priority::text], to_jsonb(level.start));
        END LOOP;
        IF cardinality(ids) > 0 THEN
            RETURN NEXT;
        END IF;
    END LOOP;
END
$$;

-- pgbatch.retry_heads: when the first retry of each queue that has any is due.
--
-- Parameters:  seen  what the session has seen, or NULL
CREATE FUNCTION pgbatch.retry_heads(seen jsonb) RETURNS TABLE (queue text, due_at timestamptz)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT s.queue, h.due_at
        FROM (
            SELECT s.queue, min(s.due_at) AS due_at
            FROM (SELECT q.key AS queue, q.value::timestamptz AS due_at FROM jsonb_each_text(seen -> 'retries') q
                  UNION ALL
                  -- What the last look could not see.
                  SELECT t.queue, t.due_at
                  FROM (
                      SELECT t.* FROM pgbatch.retry t WHERE t.ready_xact >= (seen ->> 'until')::xid8
                      UNION ALL
                      SELECT t.* FROM unnest((seen ->> 'open')::xid8[]) o (xact)
                      CROSS JOIN LATERAL (SELECT t.* FROM pgbatch.retry t WHERE t.ready_xact = o.xact OFFSET 0) t
                      OFFSET 0) t
                  WHERE t.due_at IS NOT NULL
                  UNION ALL
                  SELECT q.name, '-infinity' FROM pgbatch.queue q WHERE seen IS NULL) s
            GROUP BY s.queue) s
        CROSS JOIN LATERAL (
            SELECT t.due_at FROM pgbatch.retry t
            WHERE t.queue = s.queue AND t.due_at >= s.due_at
            ORDER BY t.due_at LIMIT 1) h;
END
$$;

-- pgbatch.live_runs: the runs that have not ended.
--
-- Parameters:  seen  what the session has seen; NULL: they are found by the index
CREATE FUNCTION pgbatch.live_runs(seen jsonb DEFAULT NULL) RETURNS bigint[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF seen IS NULL THEN
        RETURN ARRAY(SELECT r.id FROM pgbatch.run r WHERE r.state IN ('starting', 'running'));
    END IF;
    RETURN ARRAY(
        SELECT r.id FROM jsonb_array_elements(seen -> 'live') l (id)
        CROSS JOIN LATERAL (SELECT r.id, r.finished_at FROM pgbatch.run r WHERE r.id = l.id::bigint LIMIT 1) r
        WHERE r.finished_at IS NULL
        UNION
        SELECT r.id FROM pgbatch.run r WHERE r.id > (seen ->> 'last_run')::bigint AND r.finished_at IS NULL);
END
$$;
