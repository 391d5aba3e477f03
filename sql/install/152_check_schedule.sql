-- pgbatch.check_schedule: checks every setting of a schedule, in the order of schedule()'s arguments.
--
-- Parameters:  s  the row as it would be stored
-- Errors:      22023, one for the first problem found
CREATE FUNCTION pgbatch.check_schedule(s pgbatch.schedule) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    bad record;
BEGIN
    IF s.cron IS NULL OR s.timezone IS NULL THEN
        PERFORM pgbatch.reject(CASE WHEN s.cron IS NULL THEN 'cron must not be NULL' ELSE 'timezone must not be NULL' END,
            'For example pgbatch.schedule(''nightly'', ''claps'', ''0 2 * * *'', ''Europe/Paris'').');
    END IF;
    IF cardinality(pgbatch.next_runs(s, now())) = 0 THEN
        PERFORM pgbatch.reject(format('cron is invalid: "%s" never occurs', s.cron), 'Such a date does not come.');
    END IF;
    IF cardinality(s.items) = 0 THEN
        PERFORM pgbatch.reject('items is empty', 'Leave it out for one item that says which occurrence it is of.');
    END IF;
    SELECT i.item, i.number INTO bad
    FROM unnest(s.items) WITH ORDINALITY i (item, number)
    WHERE i.item IS NULL OR jsonb_typeof(i.item) <> 'object' OR octet_length(pgbatch.dated_item(i.item, now())::text) > 65536
    ORDER BY i.number LIMIT 1;
    IF FOUND THEN
        PERFORM pgbatch.reject_item(format('items[%s]', bad.number), pgbatch.dated_item(bad.item, now()));
    END IF;
    IF s.missed IS NULL OR s.missed NOT IN ('skip', 'run_once', 'run_all') THEN
        PERFORM pgbatch.reject(format('missed is invalid: %s', coalesce(quote_literal(s.missed), 'NULL')),
            'Give ''skip'', ''run_once'' or ''run_all''.');
    END IF;
    PERFORM pgbatch.check_interval('missed_window', s.missed_window, '1 s');
    IF s.overlap IS NULL OR s.overlap NOT IN ('allow', 'skip') THEN
        PERFORM pgbatch.reject(format('overlap is invalid: %s', coalesce(quote_literal(s.overlap), 'NULL')),
            'Give ''allow'' or ''skip''.');
    END IF;
    IF s.finish_within IS NOT NULL THEN
        PERFORM pgbatch.check_interval('finish_within', s.finish_within, '1 s');
    END IF;
    IF s.missed = 'run_all' AND s.overlap = 'skip' THEN
        PERFORM pgbatch.reject('missed ''run_all'' contradicts overlap ''skip''',
            'Missed occurrences are made together, so all but the first would be skipped. For one after the other give overlap '
            '''allow'', and a queue with max_parallel => 1.');
    END IF;
END
$$;

-- pgbatch.dated_item: an item of an occurrence: with the key "scheduled_for", unless it has one of its own.
--
-- Parameters:  item           the item; what is no object is left as it is
--              scheduled_for  the occurrence
CREATE FUNCTION pgbatch.dated_item(item jsonb, scheduled_for timestamptz) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE jsonb_typeof(item) WHEN 'object'
        THEN jsonb_build_object('scheduled_for', pgbatch.iso_time(scheduled_for)) || item ELSE item END
$$;

-- pgbatch.iso_time: a moment as text: 2026-03-29T01:00:00Z.
CREATE FUNCTION pgbatch.iso_time(moment timestamptz) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
$$;
