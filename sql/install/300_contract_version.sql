-- pgbatch.contract_version: the version of what the dispatcher relies on: the functions from here on and their JSON. A
-- dispatcher refuses to work with a version that it does not know.
CREATE FUNCTION pgbatch.contract_version() RETURNS int
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 2
$$;
COMMENT ON FUNCTION pgbatch.contract_version IS 'The version of the functions that the dispatcher calls';
