-- pgbatch.watch_rows: the rows of a query are items, each key once and for ever. Whenever a table that the query reads has
-- changed, the dispatcher runs the query, and the keys that are new become one batch. The tables stay the truth, and a row
-- that is there already when this is called is a new one too.
--
-- The query runs in the dispatcher's look and not in anybody's commit, which only leaves a mark: so it sees all that is
-- committed, once for any number of changes; and while it runs the dispatcher does nothing else, so it should have its
-- indexes, and return what is open and not all there is. If it fails, pgbatch.triggers says why, and it is tried again.
--
-- Whose code the query is, his rights it has. PostgreSQL runs the functions of a view as who reads it, and that is here the
-- extension's owner: so he alone may call this, and the tables must be his.
--
-- It runs with the caller's search_path, as the query must; that is why every name here is qualified by hand.
--
-- Parameters:  name   of the trigger
--              queue  which queue
--              query  a SELECT of tables. Its first column is the key; if there is only one other and that is jsonb, it is the
--                     item; else all columns are the item's keys
-- Errors:      22023 for a bad argument, or a query that changes by itself or reads what cannot be watched; 42501 for a caller
--              who is not the extension's owner, and for tables that are not his; 42704 for an unknown queue, 42710 for a name
--              that is taken
-- Locks:       the tables against writers, for a moment; queue, against other creators, not against enqueuers
-- Writes:      trigger; a view, and a trigger on each of the tables
CREATE FUNCTION pgbatch.watch_rows(name text, queue text, query text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    owner   CONSTANT pg_catalog.name := (SELECT pg_catalog.pg_get_userbyid(c.relowner) FROM pg_catalog.pg_class c
        WHERE c.oid OPERATOR(pg_catalog.=) 'pgbatch.trigger'::pg_catalog.regclass);
    view    pg_catalog.text;
BEGIN
    IF current_user OPERATOR(pg_catalog.<>) owner THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = pg_catalog.format('watch_rows() may be called by the extension''s owner only, by %I', owner),
            HINT = pg_catalog.format(
                'The query runs with his rights. SET ROLE %I, if you may; or use pgbatch.enqueue_on_insert().', owner);
    END IF;
    view := pgbatch.prepare_watch(name, queue, query);
    PERFORM pgbatch.create_query_view(view, query, 'Give a SELECT whose columns have names; the first one is the key.');
    PERFORM pgbatch.register_watch(name, queue, view);
END
$$;
COMMENT ON FUNCTION pgbatch.watch_rows IS
    'Each new key of a query is an item; the query runs when a table that it reads has changed';

-- pgbatch.prepare_watch: checks what watch_rows() is asked for, and frees the name if a trigger had it that is gone.
--
-- Parameters:  as watch_rows()
-- Returns:     the name of the view that is to be made
-- Errors:      as watch_rows()
-- Writes:      trigger
CREATE FUNCTION pgbatch.prepare_watch(name text, queue text, query text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF query IS NULL OR char_length(name) BETWEEN 1 AND 128 IS NOT TRUE THEN
        PERFORM pgbatch.reject(CASE WHEN query IS NULL THEN 'query must not be NULL'
            ELSE format('name must be of 1 to 128 characters, not %s', coalesce(char_length(name)::text, 'NULL')) END,
            'For example pgbatch.watch_rows(''new-orders'', ''claps'', ''SELECT id FROM orders WHERE NOT done'').');
    END IF;
    IF NOT EXISTS (SELECT FROM pgbatch.queue q WHERE q.name = prepare_watch.queue) THEN
        PERFORM pgbatch.reject_unknown_queue(queue);
    END IF;
    IF EXISTS (SELECT FROM pgbatch.live_triggers t WHERE t.name = prepare_watch.name) THEN
        RAISE EXCEPTION USING ERRCODE = 'duplicate_object', MESSAGE = format('trigger "%s" exists already', name),
            HINT = 'The view pgbatch.triggers lists them; drop it first, with pgbatch.drop_trigger(), or give another name.';
    END IF;
    PERFORM pgbatch.forget_trigger(name);
    RETURN 'watched_' || md5(name);
END
$$;

-- pgbatch.register_watch: checks the view that is the query, puts triggers on the tables that it reads, and writes it down.
--
-- Parameters:  name, queue  as watch_rows()
--              view         the name of the view
--              kind         'rows', or 'count' for watch_count()
-- Errors:      as watch_rows()
-- Locks:       the tables against writers; queue, against other creators and drop_queue(), not against enqueuers
-- Writes:      trigger; the triggers on the tables
CREATE FUNCTION pgbatch.register_watch(name text, queue text, view text, kind text DEFAULT 'rows') RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    source CONSTANT regclass := format('pgbatch.%I', view)::regclass;
    watched regclass;
BEGIN
    PERFORM pgbatch.check_watch(source);
    IF NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = source AND a.attnum > 0) THEN
        PERFORM pgbatch.reject('query is invalid: it has no column', 'The first column is the key.');
    END IF;
    FOR watched IN
        SELECT r.relation FROM pgbatch.read_relations(source) r JOIN pg_class c ON c.oid = r.relation
        WHERE c.relkind IN ('r', 'p') ORDER BY c.oid
    LOOP
        EXECUTE format('CREATE TRIGGER %I AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s
            FOR EACH STATEMENT EXECUTE FUNCTION pgbatch.mark_watched(%L)', 'pgbatch_' || view, watched, name);
    END LOOP;
    -- Not earlier: who waits for a table must not hold up those who make queues.
    LOCK TABLE pgbatch.queue IN SHARE ROW EXCLUSIVE MODE;
    IF NOT EXISTS (SELECT FROM pgbatch.queue q WHERE q.name = register_watch.queue) THEN
        PERFORM pgbatch.reject_unknown_queue(queue);
    END IF;
    INSERT INTO pgbatch.trigger (name, kind, queue, source, created_by) VALUES (name, kind, queue, source, pgbatch.caller());
    EXECUTE format('COMMENT ON VIEW %s IS %L', source, format('The query of pgbatch.watch_%s(%L)', kind, name));
    PERFORM pgbatch.ring();
END
$$;
