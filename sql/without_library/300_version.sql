-- pgbatch.version: which pgbatch this database has.
--
-- Returns:     as in "0.2.0"
CREATE FUNCTION pgbatch.version() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT '0.2.0'
$$;
COMMENT ON FUNCTION pgbatch.version IS 'Which pgbatch this database has';
