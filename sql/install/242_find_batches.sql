-- pgbatch.find_batches: the newest batches of some kind, a page of them, at a cost that has a limit.
--
-- Runs as its caller: row security leaves the batches that he may read.
--
-- Parameters:  queue       of this queue; NULL = of all
--              states      in one of these states; NULL = in any
--              label       whose label has this text in it, in upper or lower case; NULL = any or none
--              before      with lower ids than this. Not an expression of it below: row security would keep that out of the index
--              at_most     so many
--              looked_max  so many batches are looked at
-- Returns:     ids         newest first; peek_batches() tells of them
--              looked_to   where to go on: the next page is before this; NULL = there are no more
CREATE FUNCTION pgbatch.find_batches(
    queue text DEFAULT NULL, states text[] DEFAULT NULL, label text DEFAULT NULL, before bigint DEFAULT 9223372036854775807,
    at_most int DEFAULT 50, looked_max int DEFAULT 20000, OUT ids bigint[], OUT looked_to bigint)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
    SELECT f.ids[1:at_most],
        CASE WHEN cardinality(f.ids) > at_most THEN f.ids[at_most]
            -- Whatever comes after the last one that was looked at.
            ELSE (SELECT min(l.id) FROM (
                SELECT b.id FROM pgbatch.batch b WHERE b.id < before
                ORDER BY b.id DESC OFFSET looked_max - 1 LIMIT 1) l) END
    FROM (SELECT ARRAY(
        SELECT b.id FROM (
            SELECT b.id, b.queue, b.state::text AS state, b.label FROM pgbatch.batch b
            WHERE b.id < before ORDER BY b.id DESC LIMIT looked_max) b
        WHERE (find_batches.queue IS NULL OR b.queue = find_batches.queue)
            AND (states IS NULL OR b.state = ANY (states))
            AND (find_batches.label IS NULL OR strpos(lower(b.label), lower(find_batches.label)) > 0)
        ORDER BY b.id DESC LIMIT at_most + 1) AS ids) f
$$;
COMMENT ON FUNCTION pgbatch.find_batches IS 'The newest batches of a queue, in some states, with a label: a page of them';
