-- pgbatch.watch_count: a number that a query returns is demand for runs, as in KEDA's ScaledJob with its postgresql scaler, but
-- without polling: the query runs when a table that it reads has changed, and the demand is evaluated then, and when a run that it
-- made has ended. So many items are enqueued as KEDA would create Jobs: {"trigger": "...", "value": 3}, one a run.
--
-- The open items that demand has made are KEDA's running Jobs, those without a running container its pending ones. While runs
-- fail, with no success in between, the next ones wait for 1 s, 2 s and so on up to 5 min; KEDA would go on at each poll.
--
-- Several triggers of one queue are one demand. One whose query fails does not take part; pgbatch.triggers says why.
--
-- The query is as for watch_rows(), and so are the rights: only the extension's owner may call this, for tables of his.
--
-- It runs with the caller's search_path, as the query must; that is why every name here is qualified by hand.
--
-- Parameters:  name        of the trigger
--              queue       which queue; its items_per_run must be 1
--              query       a SELECT of tables that returns one row with one number
--              target      how much of the value is one run's work
--              activation  a value up to this is no demand
--              strategy    'default': the running ones are subtracted, for a query that counts what is in work;
--                          'accurate': the pending ones, for one that does not; 'custom': custom_deduction and the part
--                          custom_running_percentage of the running ones; 'eager': all free places are filled
--              min_runs    so many are kept on top of the work
--              max_runs    no more, these included; NULL = 100 on top of min_runs
--              combine     which demand counts of several triggers: 'max', 'min', 'avg' or 'sum', of those above their activation
-- Errors:      22023 for a bad argument, or a query that changes by itself or reads what cannot be watched; 42501 for a caller
--              who is not the extension's owner, and for tables that are not his; 42704 for an unknown queue, 42710 for a name
--              that is taken
-- Locks:       the tables against writers, for a moment; queue, against other creators, not against enqueuers
-- Writes:      trigger, demand, scaling; a view, and a trigger on each of the tables
CREATE FUNCTION pgbatch.watch_count(
    name text, queue text, query text, target numeric DEFAULT 1, activation numeric DEFAULT 0, strategy text DEFAULT 'default',
    custom_deduction int DEFAULT 0, custom_running_percentage numeric DEFAULT NULL, min_runs int DEFAULT 0,
    max_runs int DEFAULT NULL, combine text DEFAULT 'max'
) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    owner CONSTANT pg_catalog.name := (SELECT pg_catalog.pg_get_userbyid(c.relowner) FROM pg_catalog.pg_class c
        WHERE c.oid OPERATOR(pg_catalog.=) 'pgbatch.trigger'::pg_catalog.regclass);
    view  CONSTANT pg_catalog.text := 'watched_' OPERATOR(pg_catalog.||) pg_catalog.md5(name);
    s     pgbatch.scaling;
BEGIN
    IF current_user OPERATOR(pg_catalog.<>) owner THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = pg_catalog.format('watch_count() may be called by the extension''s owner only, by %I', owner),
            HINT = pg_catalog.format(
                'The query runs with his rights. SET ROLE %I, if you may; or use pgbatch.enqueue_on_insert().', owner);
    END IF;
    PERFORM pgbatch.prepare_count(name, queue, query, target, activation);
    s.queue := queue;
    s.strategy := strategy;
    s.custom_deduction := custom_deduction;
    s.custom_running_percentage := custom_running_percentage;
    s.min_runs := min_runs;
    s.max_runs := max_runs;
    s.combine := combine;
    PERFORM pgbatch.store_scaling(s);
    PERFORM pgbatch.create_query_view(view, query, 'Give a SELECT that returns one number, for example SELECT count(*) FROM orders.');
    PERFORM pgbatch.check_count_view(pg_catalog.format('pgbatch.%I', view)::pg_catalog.regclass);
    PERFORM pgbatch.register_watch(name, queue, view, 'count');
    INSERT INTO pgbatch.demand (trigger_name, queue, target, activation) VALUES (name, queue, target, activation);
END
$$;
COMMENT ON FUNCTION pgbatch.watch_count IS
    'A number that a query returns is demand for runs, as in KEDA''s ScaledJob; the query runs when a table that it reads has changed';

-- pgbatch.prepare_count: checks what watch_count() is asked for, and frees the name if a trigger had it that is gone.
--
-- Parameters, Errors: as watch_count()
-- Writes:      trigger
CREATE FUNCTION pgbatch.prepare_count(name text, queue text, query text, target numeric, activation numeric) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    q pgbatch.queue;
BEGIN
    IF query IS NULL THEN
        PERFORM pgbatch.reject('query must not be NULL', 'Give a SELECT that returns one number.');
    END IF;
    PERFORM pgbatch.claim_trigger_name(name, 'pgbatch.watch_count(''open-orders'', ''claps'', ''SELECT count(*) FROM orders WHERE NOT done'')');
    SELECT d.* INTO q FROM pgbatch.queue d WHERE d.name = prepare_count.queue;
    IF NOT FOUND THEN
        PERFORM pgbatch.reject_unknown_queue(queue);
    END IF;
    IF q.items_per_run <> 1 THEN
        PERFORM pgbatch.reject(format('queue "%s" has items_per_run %s', queue, q.items_per_run),
            'Demand is counted in runs, and each is one item: set the queue''s items_per_run to 1.');
    END IF;
    -- KEDA rounds a target to three decimals; one of 0 never gets a Job.
    IF (target BETWEEN 0.001 AND 1e15) IS NOT TRUE THEN
        PERFORM pgbatch.reject(format('target must be from 0.001 to 1e15, not %s', coalesce(target::text, 'NULL')),
            'How much of the value is one run''s work? Leave it out for 1.');
    END IF;
    IF (activation BETWEEN -1e15 AND 1e15) IS NOT TRUE THEN
        PERFORM pgbatch.reject(format('activation must be a number, not %s', coalesce(activation::text, 'NULL')),
            'A value up to this is no demand. Leave it out for 0.');
    END IF;
END
$$;

-- pgbatch.check_count_view: checks that a view has one column, of numbers.
--
-- Parameters:  source  the view
-- Errors:      22023
CREATE FUNCTION pgbatch.check_count_view(source regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    types text[] := ARRAY(SELECT format_type(a.atttypid, -1) FROM pg_attribute a
        WHERE a.attrelid = source AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum);
BEGIN
    IF types <@ '{smallint,integer,bigint,numeric,real,double precision}' IS NOT TRUE OR cardinality(types) <> 1 THEN
        PERFORM pgbatch.reject(format('query is invalid: it returns (%s), not one number', array_to_string(types, ', ')),
            'Give a SELECT that returns one number, for example SELECT count(*) FROM orders.');
    END IF;
END
$$;
