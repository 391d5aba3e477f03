-- pgbatch.claim: takes items for runs. What the plan asks for and is not so any more is skipped silently: a batch that
-- has ended or is being cancelled, a paused queue, items that were taken. So is a batch that another transaction keeps
-- locked; see lock_batches().
--
-- Parameters:  epoch   of the dispatcher that claims
--              claims  [{"batch", "first_item", "last_item", "attempt"}, ...]
-- Returns:     a RunSpec (dispatcher/core/src/run.rs) per claim that holds
-- Errors:      55000 if another dispatcher leads
-- Locks:       the batches' rows, in the order of their ids
-- Writes:      run, batch, retry
CREATE FUNCTION pgbatch.claim(epoch bigint, claims jsonb) RETURNS SETOF json
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    locked bigint[];
    batch  record;
    retry  record;
    runs   bigint[] := '{}';
BEGIN
    PERFORM pgbatch.check_epoch(epoch);
    locked := pgbatch.lock_batches(
        ARRAY(SELECT DISTINCT x.batch FROM jsonb_to_recordset(claims) x (batch bigint)), true);
    FOR retry IN
        SELECT * FROM jsonb_to_recordset(claims) x (batch bigint, first_item int, last_item int, attempt int)
        WHERE x.batch = ANY (locked) AND x.attempt > 1
        ORDER BY x.batch, x.attempt, x.first_item
    LOOP
        runs := array_append(runs, pgbatch.claim_retry(retry.batch, retry.first_item, retry.last_item, retry.attempt));
    END LOOP;
    FOR batch IN
        SELECT x.batch AS id, array_agg(x.first_item) AS firsts, array_agg(x.last_item) AS lasts
        FROM jsonb_to_recordset(claims) x (batch bigint, first_item int, last_item int, attempt int)
        WHERE x.batch = ANY (locked) AND x.attempt = 1
        GROUP BY x.batch ORDER BY x.batch
    LOOP
        runs := runs || pgbatch.claim_fresh(batch.id, batch.firsts, batch.lasts);
    END LOOP;
    RETURN QUERY SELECT s.spec FROM pgbatch.read_run_specs(array_remove(runs, NULL)) s (spec);
END
$$;
COMMENT ON FUNCTION pgbatch.claim IS 'Dispatcher: takes items for runs; returns what to start, as JSON';

-- pgbatch.claim_fresh: takes the next items of a batch that no run has had, all its runs in one statement.
--
-- Parameters:  batch_id       a batch, whose row the caller has locked
--              firsts, lasts  the items of each run; they must follow one another from the next item on, and those behind a gap
--                             are left
-- Returns:     the ids of the runs, in the order of their items
-- Writes:      run, batch
CREATE FUNCTION pgbatch.claim_fresh(batch_id bigint, firsts int[], lasts int[]) RETURNS bigint[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    b         pgbatch.batch;
    next_item int := 1;
    upto      int;
    runs      bigint[];
BEGIN
    SELECT found.* INTO b FROM pgbatch.batch found WHERE found.id = batch_id;
    -- Nobody's first run, where it was never claimed.
    IF b.state = 'running' THEN
        -- The latest attempt-1 run, by the index; max() would read them all.
        next_item := coalesce((SELECT r.last_item FROM pgbatch.run r WHERE r.batch_id = b.id AND r.attempt = 1
            ORDER BY r.first_item DESC LIMIT 1), 0) + 1;
    END IF;
    WITH wanted AS (
        SELECT w.first_item, CASE WHEN w.last_item = w.first_item THEN w.last_item
            ELSE pgbatch.last_fitting_item(b.id, w.first_item, w.last_item) END AS last_item
        FROM (SELECT w.first_item, least(max(w.last_item), b.items) AS last_item
              FROM unnest(firsts, lasts) w (first_item, last_item) GROUP BY w.first_item) w
        WHERE w.first_item BETWEEN next_item AND w.last_item
    ), following AS (
        SELECT w.*, w.first_item = lag(w.last_item, 1, next_item - 1) OVER (ORDER BY w.first_item) + 1 AS follows
        FROM wanted w
    ), made AS (
        INSERT INTO pgbatch.run AS r (queue, batch_id, first_item, last_item, attempt, max_attempt, namespace, state)
        SELECT q.name, b.id, f.first_item, f.last_item, 1, b.max_attempts, q.namespace, 'starting'
        FROM (SELECT f.*, bool_and(f.follows) OVER (ORDER BY f.first_item) AS wholly FROM following f) f
        CROSS JOIN LATERAL pgbatch.claiming_queue(b) q
        WHERE f.wholly ORDER BY f.first_item
        RETURNING r.id, r.last_item
    )
    SELECT array_agg(m.id ORDER BY m.id), max(m.last_item) INTO runs, upto FROM made m;
    IF b.state = 'pending' AND upto IS NOT NULL OR upto = b.items THEN
        UPDATE pgbatch.batch u
        SET state = 'running', started_at = coalesce(b.started_at, now()), has_fresh = upto < b.items
        WHERE u.id = b.id;
    END IF;
    RETURN coalesce(runs, '{}');
END
$$;

-- pgbatch.claiming_queue: the queue of a batch, where something of it may be started.
--
-- Parameters:  b  a batch, whose row the caller has locked
-- Returns:     one row; none if the batch has ended or is being cancelled, or if the queue is paused or has no valid template
CREATE FUNCTION pgbatch.claiming_queue(b pgbatch.batch) RETURNS SETOF pgbatch.queue
LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT q.* FROM pgbatch.queue q
    WHERE q.name OPERATOR(pg_catalog.=) (b).queue AND NOT q.paused AND q.template_checked AND q.template_error IS NULL
        AND (b).cancel_requested_at IS NULL
        AND (b).state::pg_catalog.text OPERATOR(pg_catalog.=) ANY ('{pending,running}'::pg_catalog.text[])
$$;

-- pgbatch.claim_retry: takes items whose retry is due.
--
-- Parameters:  batch_id  a batch, whose row the caller has locked
--              first_item, attempt  of the retry
--              last_item  up to here; the rest stays a retry
-- Returns:     the id of the run; NULL if there is nothing to claim
-- Writes:      run, retry
CREATE FUNCTION pgbatch.claim_retry(batch_id bigint, first_item int, last_item int, attempt int) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t      pgbatch.retry;
    b      pgbatch.batch;
    q      pgbatch.queue;
    upto   int;
    run_id bigint;
BEGIN
    SELECT found.* INTO b FROM pgbatch.batch found WHERE found.id = claim_retry.batch_id;
    SELECT found.* INTO q FROM pgbatch.claiming_queue(b) found;
    IF last_item < first_item OR q.name IS NULL THEN
        RETURN NULL;
    END IF;
    DELETE FROM pgbatch.retry d
    WHERE d.batch_id = claim_retry.batch_id AND d.first_item = claim_retry.first_item
        AND d.attempt = claim_retry.attempt AND d.due_at <= now()
    RETURNING d.* INTO t;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    upto := pgbatch.last_fitting_item(batch_id, first_item, least(last_item, t.last_item));
    IF upto < t.last_item THEN
        INSERT INTO pgbatch.retry (batch_id, queue, first_item, last_item, attempt, max_attempt, disruptions, key, due_at)
        VALUES (t.batch_id, t.queue, upto + 1, t.last_item, t.attempt, t.max_attempt, t.disruptions, t.key, t.due_at);
    END IF;
    INSERT INTO pgbatch.run AS r (queue, batch_id, first_item, last_item, attempt, max_attempt, disruptions, namespace, state)
    VALUES (q.name, b.id, t.first_item, upto, t.attempt, t.max_attempt, t.disruptions, q.namespace, 'starting')
    RETURNING r.id INTO run_id;
    RETURN run_id;
END
$$;

-- pgbatch.last_fitting_item: how far a range may go: the items of a run are one environment variable, of which Linux
-- takes 128 KiB. One item always fits.
--
-- Parameters:  batch_id, first_item, last_item  the range
-- Returns:     the number of its last item that fits
CREATE FUNCTION pgbatch.last_fitting_item(batch_id bigint, first_item int, last_item int) RETURNS int
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF first_item = last_item THEN
        RETURN last_item;
    END IF;
    RETURN (
        SELECT max(s.item_no)
        FROM (SELECT i.item_no, sum(octet_length(i.item::text)) OVER (ORDER BY i.item_no) AS bytes
              FROM pgbatch.stored_item i
              WHERE i.batch_id = last_fitting_item.batch_id
                  AND i.item_no BETWEEN last_fitting_item.first_item AND last_fitting_item.last_item) s
        WHERE s.bytes < 98304 OR s.item_no = last_fitting_item.first_item);
END
$$;
