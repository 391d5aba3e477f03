-- pgbatch.schedule: each occurrence of a cron expression is one batch, and never two. Its label is the schedule's name and the
-- occurrence; its items have the key "scheduled_for", the moment at which it was to be, in UTC, unless they have one of their own.
--
-- The dispatcher makes the batch, by PostgreSQL's clock; it sleeps until the next occurrence. One that comes to be seen later,
-- after whatever stopped the dispatcher or the server, was missed. A clock that is set back repeats nothing.
--
-- Times of the day (no `*` in seconds, minutes and hours) are once a day where the zone's clock is set: what is leapt over is
-- at the end of the leap, what comes twice is the first. Other expressions go by what the clock shows: "every five minutes"
-- stays that. It is the rule of cron(8).
--
-- A query runs with the rights of the extension's owner, so he alone may give one; it runs when the occurrence is made into a
-- batch, and knows which one from pgbatch.scheduled_for(). If it fails, pgbatch.triggers says why, and it is tried again.
--
-- It runs with the caller's search_path, as the query must; that is why every name here is qualified by hand.
--
-- Parameters:  name           of the trigger
--              queue          which queue
--              cron           minute, hour, day of the month, month and day of the week, after seconds if there are six; with
--                             lists, ranges, steps, names, L, W and #; or @hourly, @daily, @weekly, @monthly, @yearly
--              timezone       a name of the IANA time zone database
--              items          the items of each batch; NULL with no query either: one, which says the occurrence only
--              query          a SELECT instead: each row is an item, its columns the keys; a single jsonb column is it
--              missed         of those that were missed: 'run_all' in their order, 'run_once' the last one, 'skip' none, that is
--                             none that is more than a minute late
--              missed_window  and none that is older than this
--              overlap        'skip': an occurrence is left out while the schedule's latest batch is open
--              finish_within  the deadline of each batch: this long after its occurrence; NULL = none. See set_deadline()
-- Errors:      22023 for a bad argument, 42501 for a query of a caller who is not the extension's owner, 42704 for an unknown
--              queue, 42710 for a name that is taken
-- Locks:       queue, against other creators and drop_queue(), not against enqueuers
-- Writes:      trigger, schedule; a view for the query
CREATE FUNCTION pgbatch.schedule(
    name text, queue text, cron text, timezone text DEFAULT 'UTC', items jsonb[] DEFAULT NULL, query text DEFAULT NULL,
    missed text DEFAULT 'run_once', missed_window interval DEFAULT '7 days', overlap text DEFAULT 'allow',
    finish_within interval DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    view pg_catalog.text;
BEGIN
    IF pg_catalog.num_nonnulls(items, query) OPERATOR(pg_catalog.=) 2 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'items and query are both given',
            HINT = 'The items are those that are given, or the rows of the query.';
    END IF;
    PERFORM pgbatch.register_schedule(name, queue, cron, timezone, items, missed, missed_window, overlap, query IS NOT NULL,
        finish_within);
    IF query IS NOT NULL THEN
        view := 'scheduled_' OPERATOR(pg_catalog.||) pg_catalog.md5(name);
        PERFORM pgbatch.create_query_view(view, query,
            'Give a SELECT whose columns have names; each of its rows becomes an item.');
        -- As the owner: nobody else comes here.
        UPDATE pgbatch.trigger t SET source = pg_catalog.format('pgbatch.%I', view)::pg_catalog.regclass
        WHERE t.name OPERATOR(pg_catalog.=) schedule.name;
    END IF;
END
$$;
COMMENT ON FUNCTION pgbatch.schedule IS 'Each occurrence of a cron expression in a time zone is one batch';

-- pgbatch.register_schedule: checks what schedule() is asked for, and writes it down.
--
-- Parameters:  as schedule(); has_query  whether there is to be one
-- Errors:      as schedule()
-- Locks:       queue, against other creators and drop_queue(), not against enqueuers
-- Writes:      trigger, schedule
CREATE FUNCTION pgbatch.register_schedule(
    name text, queue text, cron text, timezone text, items jsonb[], missed text, missed_window interval, overlap text,
    has_query boolean, finish_within interval
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s pgbatch.schedule;
BEGIN
    PERFORM pgbatch.check_right(queue, 'manage');
    IF has_query THEN
        PERFORM pgbatch.check_query_maker('query may be given', 'give items');
    END IF;
    s.trigger_name := name;
    s.cron := cron;
    s.timezone := timezone;
    s.items := items;
    s.missed := missed;
    s.missed_window := missed_window;
    s.overlap := overlap;
    s.finish_within := finish_within;
    PERFORM pgbatch.check_schedule(s);
    PERFORM pgbatch.claim_trigger_name(name, 'pgbatch.schedule(''nightly'', ''claps'', ''0 2 * * *'', ''Europe/Paris'')');
    LOCK TABLE pgbatch.queue IN SHARE ROW EXCLUSIVE MODE;
    IF NOT EXISTS (SELECT FROM pgbatch.queue q WHERE q.name = register_schedule.queue) THEN
        PERFORM pgbatch.reject_unknown_queue(queue);
    END IF;
    INSERT INTO pgbatch.trigger (name, kind, queue, created_by) VALUES (name, 'schedule', queue, pgbatch.caller());
    s.enabled := true;
    s.failures := 0;
    s.next_runs := pgbatch.next_runs(s, now());
    s.due_at := s.next_runs[1];
    INSERT INTO pgbatch.schedule VALUES (s.*);
    PERFORM pgbatch.ring();
END
$$;

-- pgbatch.scheduled_for: inside the query of a schedule: the occurrence that it runs for.
--
-- Returns:     when it was to be; outside of such a query NULL
CREATE FUNCTION pgbatch.scheduled_for() RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT nullif(current_setting('pgbatch.scheduled_for', true), '')::timestamptz
$$;
COMMENT ON FUNCTION pgbatch.scheduled_for IS 'Inside the query of a schedule: when the occurrence was to be';
