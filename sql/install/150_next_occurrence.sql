-- When a cron expression occurs in a time zone: see dispatcher/core/src/schedule.rs, which also says what is done where clocks
-- are set. The zones are the library's own, so that all machines agree. Needs the library.

-- pgbatch.next_occurrence: the first occurrence after a moment.
--
-- Parameters:  cron      five fields, or six with seconds first
--              timezone  a name of the IANA time zone database
--              after     in seconds since 1970
-- Returns:     in seconds since 1970; NULL if there is none any more
-- Errors:      22023
CREATE FUNCTION pgbatch.next_occurrence(cron text, timezone text, after bigint) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT AS 'MODULE_PATHNAME', 'next_occurrence_wrapper';

-- pgbatch.latest_occurrence: the last occurrence of a span.
--
-- Parameters:  cron, timezone  as for next_occurrence()
--              since  before it, in seconds since 1970
--              upto   not before it, in seconds since 1970
-- Returns:     in seconds since 1970; NULL if there is none
-- Errors:      22023
CREATE FUNCTION pgbatch.latest_occurrence(cron text, timezone text, since bigint, upto bigint) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT AS 'MODULE_PATHNAME', 'latest_occurrence_wrapper';

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
