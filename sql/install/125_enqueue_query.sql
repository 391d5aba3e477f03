-- pgbatch.enqueue_query: makes a batch whose items are the rows of a query: the columns are the keys. A single column
-- that holds a JSON object is taken as it is.
--
-- It runs as the caller and with his search_path, as the query must; that is why every name here is qualified by hand.
-- The query is the text of a cursor and never becomes a part of another statement.
--
-- Parameters:  queue  which queue
--              query  one SELECT (or other statement that returns rows); no row at all is allowed
--              the others as for enqueue()
-- Returns:     the id of the batch
-- Errors:      22023 for a bad argument or item, 42704 for an unknown queue or batch in `after`, and the query's own
-- Locks:       those of the query; none that another enqueuer waits for, but one with the same unique key
-- Writes:      batch, item
CREATE FUNCTION pgbatch.enqueue_query(
    queue text, query text,
    label text DEFAULT NULL, priority int DEFAULT 0, not_before timestamptz DEFAULT NULL, unique_key text DEFAULT NULL,
    key text DEFAULT NULL, after bigint[] DEFAULT NULL, max_attempts int DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    -- Items handed on at a time: bounds the memory, to 64 MB for items of the largest size.
    chunk_items CONSTANT int := 1000;
    batch       record;
    source_row  record;
    item        pg_catalog.jsonb;
    chunk       pg_catalog.jsonb[] := '{}';
    rows        int := 0;
    columns     pg_catalog.text[];
    one_column  pg_catalog.text;
BEGIN
    IF query IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'query must not be NULL',
            HINT = 'Give a SELECT; each of its rows becomes an item.';
    END IF;
    batch := pgbatch.open_query_batch(queue, label, priority, not_before, unique_key, key, after, max_attempts);
    IF NOT batch.inserted THEN
        RETURN batch.id;
    END IF;
    FOR source_row IN EXECUTE query LOOP
        item := pg_catalog.to_jsonb(source_row);
        -- Once: an expression with a subquery is a statement of its own, which took more time than all the rest.
        IF rows OPERATOR(pg_catalog.=) 0 THEN
            columns := ARRAY(SELECT pg_catalog.jsonb_object_keys(item));
            one_column := CASE WHEN pg_catalog.cardinality(columns) OPERATOR(pg_catalog.=) 1 THEN columns[1] END;
        END IF;
        IF one_column IS NOT NULL
            AND pg_catalog.jsonb_typeof(item OPERATOR(pg_catalog.->) one_column) OPERATOR(pg_catalog.=) 'object' THEN
            item := item OPERATOR(pg_catalog.->) one_column;
        END IF;
        chunk := pg_catalog.array_append(chunk, item);
        rows := rows OPERATOR(pg_catalog.+) 1;
        IF rows OPERATOR(pg_catalog.%) chunk_items OPERATOR(pg_catalog.=) 0 THEN
            PERFORM pgbatch.add_query_items(
                batch.id, rows OPERATOR(pg_catalog.-) chunk_items OPERATOR(pg_catalog.+) 1, chunk);
            chunk := '{}';
        END IF;
    END LOOP;
    PERFORM pgbatch.add_query_items(
        batch.id, rows OPERATOR(pg_catalog.-) pg_catalog.cardinality(chunk) OPERATOR(pg_catalog.+) 1, chunk);
    PERFORM pgbatch.close_query_batch(batch.id, rows);
    RETURN batch.id;
END
$$;
COMMENT ON FUNCTION pgbatch.enqueue_query IS
    'Makes a batch of the rows of a query, which runs as the caller; it runs when the transaction has committed';
