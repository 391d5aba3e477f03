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
