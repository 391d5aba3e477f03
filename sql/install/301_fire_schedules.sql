-- pgbatch.fire_schedules: makes the batches of what is due. An error of one schedule is written down and stops nobody else.
--
-- The batch, the record of the occurrence and the schedule's next one are one transaction, under the epoch: killed anywhere,
-- or with two dispatchers, an occurrence is one batch.
--
-- Parameters:  epoch  of the dispatcher that asks
-- Returns:     when to come back at the latest; NULL = there is no schedule
-- Errors:      55000 if another dispatcher leads
-- Locks:       the rows of the due schedules; one that is locked is left for later
-- Writes:      nothing when nothing is due; else schedule, occurrence, batch, item
CREATE FUNCTION pgbatch.fire_schedules(epoch bigint) RETURNS timestamptz
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- So that the first of many missed ones start while the rest is still being made.
    at_most CONSTANT int := 100;
    fired   int := 0;
    s       pgbatch.schedule;
    problem text;
    due     timestamptz;
BEGIN
    IF NOT EXISTS (SELECT FROM pgbatch.schedule d WHERE d.due_at <= now()) THEN
        RETURN (SELECT min(d.due_at) FROM pgbatch.schedule d WHERE d.due_at IS NOT NULL);
    END IF;
    PERFORM pgbatch.check_epoch(epoch);
    LOOP
        SELECT d.* INTO s FROM pgbatch.schedule d WHERE d.due_at <= now() ORDER BY d.due_at LIMIT 1 FOR UPDATE SKIP LOCKED;
        EXIT WHEN NOT FOUND;
        IF fired = at_most THEN
            RETURN now();
        END IF;
        fired := fired + 1;
        BEGIN
            PERFORM pgbatch.fire_schedule(s);
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS problem = MESSAGE_TEXT;
            UPDATE pgbatch.schedule d SET error = problem, failures = s.failures + 1,
                due_at = clock_timestamp() + least(interval '1 s' * 2 ^ least(s.failures, 20), interval '5 min')
            WHERE d.trigger_name = s.trigger_name;
        END;
    END LOOP;
    SELECT min(d.due_at) INTO due FROM pgbatch.schedule d WHERE d.due_at IS NOT NULL;
    -- What is due still is locked by somebody.
    RETURN CASE WHEN due <= now() THEN now() + interval '1 s' ELSE due END;
END
$$;

-- pgbatch.fire_schedule: decides about the next occurrence of a schedule, or about all that were missed.
--
-- Parameters:  s  its row, which the caller has locked
-- Errors:      the query's; 22023 for an item that may not be
-- Writes:      schedule, occurrence, batch, item
CREATE FUNCTION pgbatch.fire_schedule(s pgbatch.schedule) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- Nobody's failure: how late an occurrence is that was not missed.
    on_time    CONSTANT interval := '1 min';
    oldest     CONSTANT timestamptz := now() - CASE s.missed WHEN 'skip' THEN on_time ELSE s.missed_window END;
    occurrence timestamptz := s.next_runs[1];
    is_skipped boolean;
BEGIN
    -- The view that is its query may have been dropped.
    IF NOT EXISTS (SELECT FROM pgbatch.live_triggers l WHERE l.name = s.trigger_name) THEN
        PERFORM pgbatch.forget_trigger(s.trigger_name);
        RETURN;
    END IF;
    IF s.missed <> 'run_all' THEN
        -- The last one stands for all.
        occurrence := coalesce(to_timestamp(pgbatch.latest_occurrence(s.cron, s.timezone,
            floor(extract(epoch FROM occurrence))::bigint - 1, floor(extract(epoch FROM now()))::bigint)), occurrence);
    ELSIF occurrence < oldest THEN
        occurrence := (pgbatch.next_runs(s, oldest))[1];
    END IF;
    IF occurrence BETWEEN oldest AND now() THEN
        is_skipped := s.overlap = 'skip' AND EXISTS (
            SELECT FROM (SELECT b.state FROM pgbatch.batch b WHERE b.trigger_name = s.trigger_name ORDER BY b.id DESC LIMIT 1) b
            WHERE b.state IN ('waiting', 'pending', 'running'));
        IF NOT is_skipped THEN
            PERFORM pgbatch.enqueue_occurrence(s, occurrence);
        END IF;
    END IF;
    s.next_runs := pgbatch.next_runs(s, CASE WHEN s.missed = 'run_all' AND occurrence <= now() THEN occurrence ELSE now() END);
    UPDATE pgbatch.schedule d SET next_runs = s.next_runs, due_at = s.next_runs[1], error = NULL, failures = 0,
        skipped_at = CASE WHEN is_skipped THEN occurrence ELSE d.skipped_at END
    WHERE d.trigger_name = s.trigger_name;
END
$$;

-- pgbatch.enqueue_occurrence: makes the batch of an occurrence.
--
-- enable_seqscan: that of observe() is not meant for the user's query. lock_timeout: somebody who has locked a table must not
-- stop the dispatcher.
--
-- Parameters:  s              the schedule, whose row the caller has locked
--              scheduled_for  the occurrence
-- Returns:     the id of the batch; NULL if it has become one before
-- Errors:      the query's; 22023 for an item that may not be
-- Writes:      occurrence, batch, item
CREATE FUNCTION pgbatch.enqueue_occurrence(s pgbatch.schedule, scheduled_for timestamptz) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
SET enable_seqscan = on SET plan_cache_mode = auto SET lock_timeout = '500ms' AS $$
DECLARE
    t     CONSTANT pgbatch.trigger := (SELECT d FROM pgbatch.trigger d WHERE d.name = s.trigger_name);
    batch bigint;
    total int;
BEGIN
    IF EXISTS (SELECT FROM pgbatch.occurrence o
               WHERE o.trigger_name = t.name AND o.scheduled_for = enqueue_occurrence.scheduled_for) THEN
        RETURN NULL;
    END IF;
    batch := (pgbatch.insert_batch(t.queue, 0, t.name || ' ' || pgbatch.iso_time(scheduled_for), 0, NULL, NULL, NULL, NULL,
        NULL)).id;
    INSERT INTO pgbatch.occurrence VALUES (t.name, scheduled_for, batch);
    IF t.source IS NULL THEN
        PERFORM pgbatch.insert_items(batch, 1, ARRAY(
            SELECT pgbatch.dated_item(i.item, scheduled_for)
            FROM unnest(coalesce(s.items, '{"{}"}')) WITH ORDINALITY i (item, number) ORDER BY i.number));
        total := coalesce(cardinality(s.items), 1);
    ELSE
        total := pgbatch.insert_scheduled_rows(t.source, batch, scheduled_for);
    END IF;
    UPDATE pgbatch.batch b SET items = total, has_fresh = total > 0, trigger_name = t.name, created_by = t.created_by,
        deadline = pgbatch.deadline_of(scheduled_for, s.finish_within)
    WHERE b.id = batch;
    RETURN batch;
END
$$;

-- pgbatch.deadline_of: when the batch of an occurrence must have finished.
--
-- In seconds, a day being 24 hours: whichever time zone the session has.
--
-- Parameters:  scheduled_for  the occurrence
--              finish_within  as schedule() has it; NULL = whenever
CREATE FUNCTION pgbatch.deadline_of(scheduled_for timestamptz, finish_within interval) RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT scheduled_for + make_interval(secs => extract(epoch FROM finish_within)::double precision)
$$;

-- pgbatch.insert_scheduled_rows: inserts the rows of a schedule's query as items.
--
-- Parameters:  source         the view that is the query
--              batch_id       of the items
--              scheduled_for  the occurrence
-- Returns:     how many
-- Errors:      the query's; 22023 for an item that may not be
-- Writes:      item
CREATE FUNCTION pgbatch.insert_scheduled_rows(source regclass, batch_id bigint, scheduled_for timestamptz) RETURNS int
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- Items handed on at a time: bounds the memory, to 64 MB for items of the largest size.
    chunk_items CONSTANT int := 1000;
    columns CONSTANT pg_attribute[] := ARRAY(SELECT a FROM pg_attribute a
        WHERE a.attrelid = source AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum);
    item  jsonb;
    chunk jsonb[] := '{}';
    total int := 0;
BEGIN
    PERFORM set_config('pgbatch.scheduled_for', pgbatch.iso_time(scheduled_for), true);
    FOR item IN EXECUTE format('SELECT %s FROM %s v', CASE
        WHEN cardinality(columns) = 1 AND (columns[1]).atttypid = 'jsonb'::regtype THEN format('v.%I', (columns[1]).attname)
        ELSE 'to_jsonb(v.*)' END, source)
    LOOP
        chunk := array_append(chunk, pgbatch.dated_item(item, scheduled_for));
        total := total + 1;
        IF total % chunk_items = 0 THEN
            PERFORM pgbatch.insert_items(batch_id, total - chunk_items + 1, chunk);
            chunk := '{}';
        END IF;
    END LOOP;
    PERFORM pgbatch.insert_items(batch_id, total - cardinality(chunk) + 1, chunk);
    PERFORM set_config('pgbatch.scheduled_for', '', true);
    RETURN total;
END
$$;
