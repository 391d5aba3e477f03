-- pgbatch.explain_item: why is an item not running? Every gate on its way, in order, and what each says.
--
-- The gates are the reasons of the dispatcher's plan (dispatcher/core/src/plan.rs), asked of the same data: an item that
-- finds all of them open is started at once. Its cost does not grow with what is queued.
--
-- Parameters:  batch_id, item_no  which item
-- Returns:     gate   batch, not_before, after, paused, retry, max_parallel, limit, max_per_key, max_starts, order,
--                     dispatcher, run
--              open   whether it lets the item pass
--              words  why, for people
-- Errors:      42704 for an unknown batch, 42501 for one of a queue that the caller may not read, 22023 for an item that it does
--              not have
CREATE FUNCTION pgbatch.explain_item(batch_id bigint, item_no int) RETURNS TABLE (gate text, open boolean, words text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    b pgbatch.batch;
    q pgbatch.queue;
    i pgbatch.items;
BEGIN
    PERFORM pgbatch.check_batch_right(explain_item.batch_id, 'read');
    SELECT found.* INTO b FROM pgbatch.batch found WHERE found.id = explain_item.batch_id;
    IF NOT FOUND THEN
        PERFORM pgbatch.reject_unknown_batch(explain_item.batch_id);
    END IF;
    IF (explain_item.item_no BETWEEN 1 AND b.items) IS NOT TRUE THEN
        PERFORM pgbatch.reject_unknown_item(b, format('item_no %s', coalesce(explain_item.item_no::text, 'NULL')));
    END IF;
    SELECT found.* INTO i FROM pgbatch.items found
    WHERE found.batch_id = explain_item.batch_id AND found.item_no = explain_item.item_no;
    RETURN QUERY SELECT * FROM pgbatch.explain_batch(b);
    IF i.state IN ('pending', 'retrying') THEN
        SELECT found.* INTO q FROM pgbatch.queue found WHERE found.name = b.queue;
        RETURN QUERY SELECT * FROM pgbatch.explain_queue(q, b, i);
    ELSE
        RETURN QUERY SELECT g.gate, true, CASE WHEN i.run_id IS NULL THEN 'not asked' ELSE 'passed' END
            FROM unnest('{paused,retry,max_parallel,limit,max_per_key,max_starts,order}'::text[]) g (gate);
    END IF;
    RETURN QUERY SELECT 'dispatcher', e.* FROM pgbatch.explain_dispatcher() e;
    RETURN QUERY SELECT 'run', e.* FROM pgbatch.explain_run(b, i) e;
END
$$;
COMMENT ON FUNCTION pgbatch.explain_item IS 'Why is an item not running? Every gate on its way, and whether it is open';

-- pgbatch.say_time: a point in time, and how far it is from now.
CREATE FUNCTION pgbatch.say_time(at timestamptz) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format(CASE WHEN at > statement_timestamp() THEN '%s (in %s)' ELSE '%s (%s ago)' END,
        date_trunc('second', at),
        date_trunc('second', greatest(at - statement_timestamp(), statement_timestamp() - at)))
$$;

-- pgbatch.say_first: the first few of many names: "a, b, c and 7 more".
CREATE FUNCTION pgbatch.say_first(names text[]) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT array_to_string(names[1:3], ', ')
        || CASE WHEN cardinality(names) > 3 THEN format(' and %s more', cardinality(names) - 3) ELSE '' END
$$;

-- pgbatch.explain_batch: the gates that hold a whole batch.
CREATE FUNCTION pgbatch.explain_batch(b pgbatch.batch) RETURNS TABLE (gate text, open boolean, words text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'batch', b.cancel_requested_at IS NULL AND b.finished_at IS NULL,
        CASE
            WHEN b.finished_at IS NOT NULL THEN format('batch %s ended %s: %s', b.id, pgbatch.say_time(b.finished_at),
                CASE WHEN b.cancel_reason IS NULL THEN b.state ELSE b.cancel_reason END)
            WHEN b.cancel_requested_at IS NOT NULL THEN format(
                'batch %s is being cancelled since %s: %s; it ends when its live runs have stopped',
                b.id, pgbatch.say_time(b.cancel_requested_at), b.cancel_reason)
            ELSE format('batch %s of queue "%s" is %s', b.id, b.queue, b.state) END
    UNION ALL
    SELECT 'not_before', b.state <> 'waiting' OR b.not_before IS NULL OR b.not_before <= statement_timestamp(),
        CASE WHEN b.not_before IS NULL THEN 'it need not wait for a time'
            ELSE format('not before %s', pgbatch.say_time(b.not_before)) END
    UNION ALL
    SELECT 'after', b.state <> 'waiting' OR a.waits IS NULL,
        CASE
            WHEN b.after IS NULL THEN 'it comes after no other batch'
            WHEN b.state = 'waiting' AND a.waits IS NOT NULL
                THEN format('waits until these have succeeded: %s', pgbatch.say_first(a.waits))
            ELSE format('came after %s batches', cardinality(b.after)) END
    FROM (
        SELECT array_agg(format('batch %s (%s)', w.id, coalesce(o.state, 'dropped')) ORDER BY w.n) AS waits
        FROM unnest(b.after) WITH ORDINALITY w (id, n)
        LEFT JOIN pgbatch.batch o ON o.id = w.id
        WHERE o.state IS DISTINCT FROM 'succeeded') a
$$;

-- pgbatch.explain_dispatcher: whether somebody is there to start anything: who has the lock that try_lead() takes.
CREATE FUNCTION pgbatch.explain_dispatcher(OUT open boolean, OUT words text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    leader text;
BEGIN
    SELECT format('a dispatcher leads: backend %s%s', l.pid, ' (' || nullif(a.application_name, '') || ')') INTO leader
    FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.granted AND l.mode = 'ExclusiveLock' AND l.objsubid = 1
        AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
        AND (l.classid::bigint << 32) + l.objid::bigint = pgbatch.leader_key();
    open := leader IS NOT NULL;
    words := coalesce(leader, 'no dispatcher is connected, so nothing is started and no outcome is recorded: '
        'start "pgbatch dispatch --database-url ...", or read its log for why it cannot connect');
END
$$;

-- pgbatch.explain_run: what became of the item, or becomes of it.
--
-- Parameters:  b, i  the batch, and the item in it
CREATE FUNCTION pgbatch.explain_run(b pgbatch.batch, i pgbatch.items, OUT open boolean, OUT words text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    r   pgbatch.run;
    run text;
BEGIN
    SELECT found.* INTO r FROM pgbatch.run found WHERE found.id = i.run_id;
    run := CASE WHEN FOUND THEN format('run %s (Job %s-%s%s)', r.id, r.queue, r.id, ' in namespace ' || r.namespace) END;
    open := i.state IN ('pending', 'retrying') OR i.state = 'running' AND r.state = 'running';
    words := CASE
        WHEN i.state IN ('succeeded', 'failed') THEN format('it %s %s, by attempt %s, %s%s%s', i.state,
            pgbatch.say_time(i.finished_at), i.attempts, run, ': ' || left(i.error, 300),
            CASE WHEN i.state = 'failed' AND b.cancel_requested_at IS NULL
                THEN format('; pgbatch.retry_batch(%s) tries it again', b.id) ELSE '' END)
        WHEN i.state = 'cancelled' THEN 'it was cancelled' || coalesce('; the last one that had it was ' || run, '')
        WHEN r.finished_at IS NOT NULL THEN format('the last one that had it was %s', run)
        WHEN r.id IS NULL THEN 'no run has had it yet. Where all gates are open and none comes, the dispatcher cannot read '
            'its cluster: its log and its /readyz say why'
        WHEN r.state = 'running' THEN format('%s runs since %s%s', run, pgbatch.say_time(r.started_at),
            ', its last heartbeat was at ' || pgbatch.say_time(r.heartbeat_at))
        ELSE format('%s is starting since %s; %s', run, pgbatch.say_time(r.created_at),
            coalesce(r.reason || coalesce(': ' || r.message, ''), 'nobody has said that anything is in its way')) END;
END
$$;
