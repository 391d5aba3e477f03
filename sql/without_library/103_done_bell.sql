-- The done bell without the library: wait_batch() looks again and again. Programs that wait need not: LISTEN pgbatch_done.

-- pgbatch.ring_done: nothing, as nobody can sleep on it.
CREATE FUNCTION pgbatch.ring_done() RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS '';

-- pgbatch.done_seq: the same number always.
CREATE FUNCTION pgbatch.done_seq() RETURNS bigint
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS 'SELECT 0::bigint';

-- pgbatch.await_done: sleeps for a tenth of a second, or for less.
--
-- Parameters:  seq         what done_seq() returned
--              timeout_ms  at most so long, in milliseconds; NULL = no limit
CREATE FUNCTION pgbatch.await_done(seq bigint, timeout_ms bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_sleep(least(timeout_ms, 100) / 1000.0);
END
$$;
