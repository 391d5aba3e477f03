-- pgbatch.backfill: makes the batches of past occurrences of a schedule: of those that none was made of, in their order,
-- whatever `missed` and `overlap` say. What it makes depends on the schedule as it is now; but a deadline that has passed is none: nobody
-- can keep it any more.
--
-- Parameters:  name  which schedule
--              from  the first of them is not before this
--              to    the last of them is before this
-- Returns:     how many batches
-- Errors:      22023 for a bad span, or one with more than 10,000 occurrences; 42704 for an unknown schedule, 42501 if it is
--              not the caller's; those of its query
-- Locks:       the schedule's row: it waits for the transaction's end when it is due
-- Writes:      batch, item, occurrence
CREATE FUNCTION pgbatch.backfill(name text, "from" timestamptz, "to" timestamptz) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s      pgbatch.schedule := pgbatch.lock_schedule(name);
    within CONSTANT interval := s.finish_within;
    at     bigint;
    made   int := 0;
    seen   int := 0;
BEGIN
    IF "from" IS NULL OR "to" IS NULL OR "from" >= "to" OR "to" > now() OR NOT isfinite("from") THEN
        PERFORM pgbatch.reject(format('the span from %s to %s is no past time', coalesce("from"::text, 'NULL'),
            coalesce("to"::text, 'NULL')), 'Give its begin, and its end, which is not later than now; for example now() - ''1 day'' and now().');
    END IF;
    -- Of the seconds, the one before the first.
    at := ceil(extract(epoch FROM "from")) - 1;
    LOOP
        at := pgbatch.next_occurrence(s.cron, s.timezone, at);
        EXIT WHEN at IS NULL OR to_timestamp(at) >= "to";
        seen := seen + 1;
        IF seen > 10000 THEN
            PERFORM pgbatch.reject('the span has more than 10000 occurrences', 'Give a shorter one, several times.');
        END IF;
        s.finish_within := CASE WHEN pgbatch.deadline_of(to_timestamp(at), within) > now() THEN within END;
        IF pgbatch.enqueue_occurrence(s, to_timestamp(at)) IS NOT NULL THEN
            made := made + 1;
        END IF;
    END LOOP;
    PERFORM pgbatch.note_action('backfill', NULL, jsonb_build_object('from', "from", 'to', "to", 'batches', made),
        trigger_name => name);
    RETURN made;
END
$$;
COMMENT ON FUNCTION pgbatch.backfill IS 'Makes the batches of past occurrences of a schedule that none was made of';
