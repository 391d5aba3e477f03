-- pgbatch.read_scaled_job: refuses: PostgreSQL has no reader of YAML, and what a ScaledJob becomes is the library's knowledge. The
-- program has it too.
--
-- Parameters:  manifest  one ScaledJob
-- Errors:      0A000
CREATE FUNCTION pgbatch.read_scaled_job(manifest text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'feature_not_supported',
        MESSAGE = 'a ScaledJob cannot be read here: this server has no library of pgbatch',
        HINT = 'Let the program read it: pgbatch import FILE.';
END
$$;
