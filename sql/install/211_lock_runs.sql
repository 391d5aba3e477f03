-- pgbatch.lock_runs: locks live runs against their own reports: a report commits before the run's end is written, or is
-- refused. As with lock_batches(), a report whose transaction stays open is waited for only a moment.
--
-- Parameters:  ids  the runs; unknown and ended ones are left out
-- Returns:     the ids that are locked now and still live
-- Locks:       the runs' rows; waits at most 0.5 s for each
CREATE FUNCTION pgbatch.lock_runs(ids bigint[]) RETURNS bigint[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
DECLARE
    locked bigint[];
    other  bigint;
BEGIN
    locked := ARRAY(SELECT r.id FROM pgbatch.run r WHERE r.id = ANY (ids) AND r.state IN ('starting', 'running')
        ORDER BY r.id FOR UPDATE SKIP LOCKED);
    FOR other IN
        SELECT r.id FROM pgbatch.run r
        WHERE r.id = ANY (ids) AND r.id <> ALL (locked) AND r.state IN ('starting', 'running') ORDER BY r.id
    LOOP
        BEGIN
            PERFORM FROM pgbatch.run r WHERE r.id = other AND r.state IN ('starting', 'running') FOR UPDATE;
            locked := CASE WHEN FOUND THEN locked || other ELSE locked END;
        EXCEPTION WHEN lock_not_available THEN
            CONTINUE;
        END;
    END LOOP;
    RETURN locked;
END
$$;

-- pgbatch.lock_starting_runs: locks runs that have not started, for what is noted of them: one that somebody has locked is
-- not waited for.
--
-- Parameters:  ids  the runs; unknown ones and those that have started are left out
-- Returns:     the ids that are locked now and still starting
-- Locks:       the runs' rows
CREATE FUNCTION pgbatch.lock_starting_runs(ids bigint[]) RETURNS bigint[]
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN (
        SELECT ARRAY(SELECT r.id FROM pgbatch.run r WHERE r.id = ANY (ids) AND r.state = 'starting'
            ORDER BY r.id FOR NO KEY UPDATE SKIP LOCKED));
END
$$;
