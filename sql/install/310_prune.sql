-- pgbatch.prune: deletes some of what has expired: see expiry(). In small steps, so that no transaction is long and no lock
-- is held for long: first the batches, which end to be seen; then what they had, at most 10,000 items a call.
--
-- Parameters:  epoch  of the dispatcher that prunes
-- Errors:      55000 if another dispatcher leads
-- Locks:       the rows that it deletes
-- Writes:      batch, pruning, item, run, report, retry
CREATE FUNCTION pgbatch.prune(epoch bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    room int := 10000;
    p    pgbatch.pruning;
    upto int;
BEGIN
    PERFORM pgbatch.check_epoch(epoch);
    PERFORM pgbatch.expire_batches(100);
    FOR p IN SELECT * FROM pgbatch.pruning ORDER BY batch_id LOOP
        EXIT WHEN room <= 0;
        upto := least(p.items, p.gone_upto + room);
        PERFORM pgbatch.prune_items(p.batch_id, p.gone_upto + 1, upto);
        -- A batch without items costs something too.
        room := room - greatest(upto - p.gone_upto, 1);
        IF upto < p.items THEN
            UPDATE pgbatch.pruning u SET gone_upto = upto WHERE u.batch_id = p.batch_id;
        ELSE
            DELETE FROM pgbatch.pruning d WHERE d.batch_id = p.batch_id;
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION pgbatch.prune IS 'Dispatcher: deletes some of the batches that have expired';

-- pgbatch.expire_batches: deletes the rows of expired batches. One that an open batch comes after stays for a while more.
--
-- Parameters:  at_most  so many
-- Writes:      batch, pruning
CREATE FUNCTION pgbatch.expire_batches(at_most int) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    expired CONSTANT bigint[] := ARRAY(
        SELECT b.id FROM pgbatch.batch b WHERE b.expires_at <= now()
        ORDER BY b.expires_at LIMIT at_most FOR UPDATE SKIP LOCKED);
    wanted  bigint[];
BEGIN
    IF cardinality(expired) = 0 THEN
        RETURN;
    END IF;
    -- Looked for after the locks: whoever enqueues after one of them holds a lock of it until his batch can be seen.
    wanted := ARRAY(
        SELECT DISTINCT a.id FROM pgbatch.movable_batch w CROSS JOIN LATERAL unnest(w.after) a (id)
        WHERE w.waits_for = 'others' AND a.id = ANY (expired));
    UPDATE pgbatch.batch b SET expires_at = now() + interval '1 h' WHERE b.id = ANY (wanted);
    WITH gone AS (
        DELETE FROM pgbatch.batch b WHERE b.id = ANY (expired) AND b.id <> ALL (wanted) RETURNING b.id, b.items
    )
    INSERT INTO pgbatch.pruning (batch_id, items) SELECT g.id, g.items FROM gone g;
END
$$;

-- pgbatch.prune_items: deletes a range of the items of a deleted batch, with the runs that begin in it and all of theirs.
--
-- By numbers and not by "the next ones there are": those would be looked for among all that died before.
--
-- Parameters:  batch_id  which batch
--              first_item, last_item  the range
-- Writes:      item, run, report, retry
CREATE FUNCTION pgbatch.prune_items(batch_id bigint, first_item int, last_item int) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    attempts CONSTANT int[] := ARRAY(SELECT generate_series(1, (
        SELECT r.attempt FROM pgbatch.run r WHERE r.batch_id = prune_items.batch_id ORDER BY r.attempt DESC LIMIT 1)));
    gone     bigint[];
BEGIN
    WITH deleted AS (
        DELETE FROM pgbatch.run r
        WHERE r.batch_id = prune_items.batch_id AND r.attempt = ANY (attempts)
            AND r.first_item BETWEEN prune_items.first_item AND prune_items.last_item
        RETURNING r.id
    )
    SELECT array_agg(d.id) INTO gone FROM deleted d;
    DELETE FROM pgbatch.report p WHERE p.run_id = ANY (gone);
    DELETE FROM pgbatch.retry t
    WHERE t.batch_id = prune_items.batch_id AND t.first_item BETWEEN prune_items.first_item AND prune_items.last_item;
    DELETE FROM pgbatch.item i
    WHERE i.batch_id = prune_items.batch_id AND i.item_no BETWEEN prune_items.first_item AND prune_items.last_item;
END
$$;
