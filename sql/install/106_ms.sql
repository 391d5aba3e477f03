-- pgbatch.ms: a duration in whole milliseconds, as the dispatcher counts. Without a search_path of its own, so that it is
-- inlined.
CREATE FUNCTION pgbatch.ms(duration interval) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
    SELECT (extract(epoch FROM duration) OPERATOR(pg_catalog.*) 1000)::pg_catalog.int8
$$;
