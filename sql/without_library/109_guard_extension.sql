-- pgbatch.guard_extension: nothing: without an extension, DROP SCHEMA pgbatch says what it would drop, and wants CASCADE for it.
CREATE FUNCTION pgbatch.guard_extension() RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS '';
