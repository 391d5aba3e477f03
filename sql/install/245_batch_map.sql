-- pgbatch.batch_map: the states of a batch's items, as a map of so many cells; the cost has a limit.
--
-- Runs as its caller: row security leaves the items that he may read.
--
-- Parameters:  batch_id  which batch
--              cells     at most so many; of a batch with more items each cell is a range of them
--              runs_max  at most so many of its runs are looked at for failures, those of the last attempts first
-- Returns:     first_item, last_item  the range
--              state                  failed, where a run among those that were looked at has failed one of its items for good; else
--                                     that of its first item
CREATE FUNCTION pgbatch.batch_map(batch_id bigint, cells int DEFAULT 1000, runs_max int DEFAULT 5000)
RETURNS TABLE (first_item int, last_item int, state text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
    WITH size AS MATERIALIZED (
        SELECT b.items, greatest(1, ceil(b.items::numeric / greatest(cells, 1)))::int AS range
        FROM pgbatch.batch b WHERE b.id = batch_map.batch_id),
    failed AS MATERIALIZED (
        SELECT DISTINCT (c - 1) / size.range AS cell
        FROM size
        CROSS JOIN LATERAL (
            SELECT r.first_item, r.last_item, r.failed FROM pgbatch.run r WHERE r.batch_id = batch_map.batch_id
            ORDER BY r.attempt DESC, r.first_item DESC LIMIT runs_max) r
        -- Which ones of a range is not looked up.
        CROSS JOIN LATERAL generate_series(r.first_item, r.last_item, greatest(1, r.last_item - r.first_item)) c
        WHERE size.range > 1 AND r.failed = r.last_item - r.first_item + 1)
    SELECT i.item_no, least(i.item_no + size.range - 1, size.items), CASE WHEN f.cell IS NULL THEN i.state ELSE 'failed' END
    FROM size
    JOIN pgbatch.items i ON i.batch_id = batch_map.batch_id
        AND i.item_no = ANY (ARRAY(SELECT generate_series(1, s.items, s.range) FROM size s))
    LEFT JOIN failed f ON f.cell = (i.item_no - 1) / size.range
    ORDER BY i.item_no
$$;
COMMENT ON FUNCTION pgbatch.batch_map IS 'The states of a batch''s items, as a map of cells, each a range of items';
