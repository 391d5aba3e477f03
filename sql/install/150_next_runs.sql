-- pgbatch.next_runs: the next few occurrences of a schedule.
--
-- Parameters:  s      the schedule
--              after  only later ones
-- Returns:     five at most
-- Errors:      22023 for a bad expression or time zone
CREATE FUNCTION pgbatch.next_runs(s pgbatch.schedule, after timestamptz) RETURNS timestamptz[]
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at   bigint := floor(extract(epoch FROM after));
    runs timestamptz[] := '{}';
BEGIN
    WHILE cardinality(runs) < 5 LOOP
        at := pgbatch.next_occurrence(s.cron, s.timezone, at);
        EXIT WHEN at IS NULL;
        runs := runs || to_timestamp(at);
    END LOOP;
    RETURN runs;
END
$$;
