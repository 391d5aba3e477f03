-- pgbatch.error_kind: what errors of one cause have in common: numbers tell one item from another, not one cause from another.
--
-- Without SET, so that the planner puts it into the statement that asks, for thousands of errors. Hence the schema of each name.
--
-- Parameters:  error  a message; NULL = none
-- Returns:     its first 1,000 characters, with # for each number, and without carriage returns: a browser sends them with each
--              new line
CREATE FUNCTION pgbatch.error_kind(error text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT pg_catalog.regexp_replace(pg_catalog.replace(pg_catalog."left"(error, 1000), E'\r', ''), '[0-9]+', '#', 'g')
$$;
