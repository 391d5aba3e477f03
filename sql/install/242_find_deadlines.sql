-- pgbatch.find_deadlines: the open batches whose deadline has passed, and those whose deadline comes next.
--
-- Runs as its caller: row security leaves the batches that he may read. Ordered by expires_at too, which none of them has, as the index
-- is: else all of them would be read and sorted. PostgreSQL 18 does so all the same, unless it is told not to sort.
--
-- Parameters:  at_most  so many of each
-- Returns:     their ids: first those whose deadline has passed, the last one first; peek_batches() tells of them
CREATE FUNCTION pgbatch.find_deadlines(at_most int DEFAULT 20) RETURNS bigint[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET jit = off AS $$
    SELECT ARRAY(
            SELECT b.id FROM pgbatch.batch b
            WHERE b.expires_at IS NULL AND b.cancel_requested_at IS NULL AND b.deadline <= statement_timestamp()
            ORDER BY b.expires_at DESC, b.deadline DESC LIMIT at_most)
        || ARRAY(
            SELECT b.id FROM pgbatch.batch b
            WHERE b.expires_at IS NULL AND b.cancel_requested_at IS NULL AND b.deadline > statement_timestamp()
            ORDER BY b.expires_at, b.deadline LIMIT at_most)
$$;
COMMENT ON FUNCTION pgbatch.find_deadlines IS 'The open batches whose deadline has passed, and those whose deadline comes next';
