-- pgbatch.run_watches: runs the queries of watch_rows() and watch_count() whose tables have changed. An error of one is written down and
-- stops nobody else.
--
-- What is marked is deleted first and the query run then: a change that is not seen by the query is not seen by the first
-- step either, so its mark stays, and its commit has rung for the next look.
--
-- Parameters:  epoch  of the dispatcher that asks
-- Returns:     when to try again what has failed; NULL = nothing has
-- Errors:      55000 if another dispatcher leads
-- Writes:      nothing when nothing has changed; else watch_mark, watch_run, watched_key, demand, scaling, batch, item
CREATE FUNCTION pgbatch.run_watches(epoch bigint) RETURNS timestamptz
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t        pgbatch.trigger;
    problem  text;
BEGIN
    FOR t IN
        SELECT d.* FROM pgbatch.trigger d LEFT JOIN pgbatch.watch_run r ON r.trigger_name = d.name
        WHERE d.kind IN ('rows', 'count') AND (r.trigger_name IS NULL OR CASE WHEN r.failures > 0 THEN r.retry_at <= clock_timestamp()
            ELSE EXISTS (SELECT FROM pgbatch.watch_mark m WHERE m.xact >= r.marks_from AND m.trigger_name = d.name) END)
        ORDER BY d.name
    LOOP
        PERFORM pgbatch.check_epoch(epoch);
        BEGIN
            PERFORM pgbatch.run_watch(t);
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS problem = MESSAGE_TEXT;
            IF t.kind = 'count' THEN
                PERFORM pgbatch.note_demand(t, NULL);
            END IF;
            INSERT INTO pgbatch.watch_run AS r (trigger_name, marks_from, ran_at, error, failures, retry_at)
            VALUES (t.name, '0', clock_timestamp(), problem, 1, clock_timestamp() + '1 s')
            ON CONFLICT (trigger_name) DO UPDATE SET ran_at = excluded.ran_at, error = excluded.error,
                failures = r.failures + 1,
                retry_at = clock_timestamp() + least(interval '1 s' * 2 ^ least(r.failures, 20), interval '5 min');
        END;
    END LOOP;
    RETURN (SELECT min(r.retry_at) FROM pgbatch.watch_run r WHERE r.failures > 0);
END
$$;

-- pgbatch.run_watch: runs one of them.
--
-- enable_seqscan: that of observe() is not meant for the user's query. lock_timeout: somebody who has locked a table must not
-- stop the dispatcher.
--
-- Parameters:  t  the trigger
-- Errors:      22023 for a key that is NULL, an item that may not be, or a number that is none; the query's
-- Writes:      watch_mark, watch_run, watched_key, demand, scaling, batch, item
CREATE FUNCTION pgbatch.run_watch(t pgbatch.trigger) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
SET enable_seqscan = on SET plan_cache_mode = auto SET lock_timeout = '500ms' AS $$
DECLARE
    horizon    xid8;
    unwatched  regclass;
BEGIN
    WITH gone AS (
        DELETE FROM pgbatch.watch_mark m
        WHERE m.trigger_name = t.name AND m.xact >= coalesce(
            (SELECT r.marks_from FROM pgbatch.watch_run r WHERE r.trigger_name = t.name), '0')
    )
    -- All marks of earlier transactions were to be seen by this statement.
    SELECT pg_snapshot_xmin(pg_current_snapshot()) INTO horizon;
    -- The table or the queue may have been dropped.
    IF NOT EXISTS (SELECT FROM pgbatch.live_triggers l WHERE l.name = t.name) THEN
        PERFORM pgbatch.forget_trigger(t.name);
        RETURN;
    END IF;
    IF t.kind = 'count' THEN
        PERFORM pgbatch.read_demand(t);
    ELSE
        PERFORM pgbatch.take_new_keys(t);
    END IF;
    SELECT r.relation INTO unwatched
    FROM pgbatch.read_relations(t.source) r JOIN pg_class c ON c.oid = r.relation
    WHERE c.relkind NOT IN ('v') AND NOT EXISTS (
        SELECT FROM pg_trigger p WHERE p.tgrelid = c.oid AND p.tgfoid = 'pgbatch.mark_watched()'::regprocedure
            AND p.tgargs = convert_to(t.name, getdatabaseencoding()) || '\x00')
    LIMIT 1;
    INSERT INTO pgbatch.watch_run AS r (trigger_name, marks_from, ran_at, error, failures)
    VALUES (t.name, horizon, clock_timestamp(), 'changes of ' || unwatched
        || ' are not noticed: it is read since, as a new partition or by a view; drop the trigger and make it again', 0)
    ON CONFLICT (trigger_name) DO UPDATE SET marks_from = excluded.marks_from, ran_at = excluded.ran_at,
        error = excluded.error, failures = 0, retry_at = NULL;
END
$$;

-- pgbatch.take_new_keys: makes a batch of the keys that were not there before, in the order of the query; none if all were.
--
-- Parameters:  t  the trigger
-- Errors:      22023 for a key that is NULL or an item that may not be; the query's
-- Writes:      watched_key, batch, item
CREATE FUNCTION pgbatch.take_new_keys(t pgbatch.trigger) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    columns text[] := ARRAY(SELECT a.attname FROM pg_attribute a
        WHERE a.attrelid = t.source AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum);
    is_pair CONSTANT boolean := cardinality(columns) = 2 AND EXISTS (
        SELECT FROM pg_attribute a WHERE a.attrelid = t.source AND a.attname = columns[2] AND a.atttypid = 'jsonb'::regtype);
    unseen  text;
    batch   bigint;
    total   int;
    bad     record;
    any_new boolean;
    no_key  boolean;
BEGIN
    unseen := format('SELECT v.%1$I::text AS key, %2$s AS item FROM %3$s v WHERE NOT EXISTS (
            SELECT FROM pgbatch.watched_key k WHERE k.trigger_name = $1 AND k.key = v.%1$I::text)',
        columns[1], CASE WHEN is_pair THEN format('v.%I', columns[2]) ELSE 'to_jsonb(v.*)' END, t.source);
    EXECUTE format('SELECT count(*) > 0, count(*) > count(f.key) FROM (%s) f', unseen) INTO any_new, no_key USING t.name;
    IF NOT any_new THEN
        RETURN;
    END IF;
    IF no_key THEN
        PERFORM pgbatch.reject(format('the key, column %I, is NULL in some row', columns[1]), 'Leave such rows out of the query.');
    END IF;
    batch := nextval('pgbatch.batch_id_seq');
    EXECUTE format('WITH found AS MATERIALIZED (
            SELECT f.key, f.item, row_number() OVER () AS place FROM (%s) f
        ), first AS (
            SELECT DISTINCT ON (f.key) f.key, f.item, f.place FROM found f ORDER BY f.key, f.place
        ), taken AS (
            INSERT INTO pgbatch.watched_key (trigger_name, key, batch_id) SELECT $1, f.key, $2 FROM first f
            ON CONFLICT DO NOTHING RETURNING key
        ), added AS (
            INSERT INTO pgbatch.item (batch_id, item_no, item)
            SELECT $2, row_number() OVER (ORDER BY f.place), f.item FROM first f JOIN taken k ON k.key = f.key
            RETURNING 1
        ) SELECT count(*) FROM added a', unseen)
    INTO total USING t.name, batch;
    SELECT i.item_no, i.item INTO bad FROM pgbatch.item i
    WHERE i.batch_id = batch AND (jsonb_typeof(i.item) <> 'object' OR octet_length(i.item::text) > 65536)
    ORDER BY i.item_no LIMIT 1;
    IF FOUND THEN
        PERFORM pgbatch.reject_item(format('items[%s]', bad.item_no), bad.item);
    END IF;
    INSERT INTO pgbatch.batch (id, queue, state, items, has_fresh, priority, max_attempts, label, trigger_name, created_by)
    SELECT batch, q.name, 'pending', total, true, 0, q.max_attempts, t.name, t.name, t.created_by
    FROM pgbatch.queue q WHERE q.name = t.queue AND total > 0;
END
$$;
