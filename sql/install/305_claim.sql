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
CREATE FUNCTION pgbatch.claim(epoch bigint, claims jsonb) RETURNS SETOF jsonb
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    locked bigint[];
    c      record;
    run_id bigint;
BEGIN
    PERFORM pgbatch.check_epoch(epoch);
    locked := pgbatch.lock_batches(
        ARRAY(SELECT DISTINCT x.batch FROM jsonb_to_recordset(claims) x (batch bigint)), true);
    FOR c IN
        SELECT * FROM jsonb_to_recordset(claims) x (batch bigint, first_item int, last_item int, attempt int)
        WHERE x.batch = ANY (locked)
        ORDER BY x.batch, x.attempt, x.first_item
    LOOP
        run_id := CASE WHEN c.attempt = 1 THEN pgbatch.claim_fresh(c.batch, c.first_item, c.last_item)
            ELSE pgbatch.claim_retry(c.batch, c.first_item, c.last_item, c.attempt) END;
        IF run_id IS NOT NULL THEN
            RETURN NEXT pgbatch.run_spec(run_id);
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION pgbatch.claim IS 'Dispatcher: takes items for runs; returns what to start, as JSON';

-- pgbatch.claimable: whether something of a batch may be started.
--
-- Parameters:  batch_id  a batch, whose row the caller has locked
CREATE FUNCTION pgbatch.claimable(batch_id bigint) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN (
        SELECT EXISTS (
            SELECT FROM pgbatch.batch b JOIN pgbatch.queue q ON q.name = b.queue
            WHERE b.id = claimable.batch_id AND b.state IN ('pending', 'running') AND b.cancel_requested_at IS NULL
                AND NOT q.paused));
END
$$;

-- pgbatch.claim_fresh: takes the next items of a batch that no run has had.
--
-- Parameters:  batch_id  a batch, whose row the caller has locked
--              first_item, last_item  which items; the first must be the next one
-- Returns:     the id of the run; NULL if there is nothing to claim
-- Writes:      run, batch
CREATE FUNCTION pgbatch.claim_fresh(batch_id bigint, first_item int, last_item int) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    b       pgbatch.batch;
    -- The latest attempt-1 run, by the index; max() would read them all.
    claimed int := (SELECT r.last_item FROM pgbatch.run r WHERE r.batch_id = claim_fresh.batch_id AND r.attempt = 1
        ORDER BY r.first_item DESC LIMIT 1);
    upto    int;
BEGIN
    SELECT found.* INTO b FROM pgbatch.batch found WHERE found.id = claim_fresh.batch_id;
    IF first_item <> coalesce(claimed, 0) + 1 OR first_item > least(last_item, b.items)
        OR NOT pgbatch.claimable(batch_id) THEN
        RETURN NULL;
    END IF;
    upto := pgbatch.last_fitting_item(batch_id, first_item, least(last_item, b.items));
    IF b.state = 'pending' OR upto = b.items THEN
        UPDATE pgbatch.batch u
        SET state = 'running', started_at = coalesce(b.started_at, now()), has_fresh = upto < b.items
        WHERE u.id = b.id;
    END IF;
    RETURN pgbatch.insert_run(b, first_item, upto, 1, b.max_attempts, 0);
END
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
    t    pgbatch.retry;
    b    pgbatch.batch;
    upto int;
BEGIN
    IF last_item < first_item OR NOT pgbatch.claimable(batch_id) THEN
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
    SELECT found.* INTO b FROM pgbatch.batch found WHERE found.id = claim_retry.batch_id;
    RETURN pgbatch.insert_run(b, first_item, upto, attempt, t.max_attempt, t.disruptions);
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

-- pgbatch.insert_run: makes a run.
--
-- Parameters:  b  its batch; the others are columns of the table
-- Returns:     its id
-- Writes:      run
CREATE FUNCTION pgbatch.insert_run(
    b pgbatch.batch, first_item int, last_item int, attempt int, max_attempt int, disruptions int
) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    run_id bigint;
BEGIN
    INSERT INTO pgbatch.run AS r (queue, batch_id, first_item, last_item, attempt, max_attempt, disruptions, namespace, state)
    SELECT q.name, b.id, insert_run.first_item, insert_run.last_item, insert_run.attempt, insert_run.max_attempt,
        insert_run.disruptions, q.namespace, 'starting'
    FROM pgbatch.queue q WHERE q.name = b.queue
    RETURNING r.id INTO run_id;
    RETURN run_id;
END
$$;
