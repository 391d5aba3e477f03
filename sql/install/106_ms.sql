-- pgbatch.ms: a duration in whole milliseconds, as the dispatcher counts.
CREATE FUNCTION pgbatch.ms(duration interval) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN (
        SELECT (extract(epoch FROM duration) * 1000)::bigint);
END
$$;
