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
    -- One after the other, each by its key: see observe(). finished_at, not state: by that the index of live runs would serve
    -- too, and a plan may read all of it.
    locked := ARRAY(
        SELECT r.id FROM (SELECT DISTINCT i.id FROM unnest(ids) i (id) ORDER BY i.id) i
        CROSS JOIN LATERAL (
            SELECT r.id FROM pgbatch.run r WHERE r.id = i.id AND r.finished_at IS NULL LIMIT 1 FOR UPDATE SKIP LOCKED) r);
    FOR other IN
        SELECT r.id FROM (SELECT DISTINCT i.id FROM unnest(ids) i (id) WHERE i.id <> ALL (locked) ORDER BY i.id) i
        CROSS JOIN LATERAL (SELECT r.id FROM pgbatch.run r WHERE r.id = i.id AND r.finished_at IS NULL LIMIT 1) r
    LOOP
        BEGIN
            PERFORM FROM pgbatch.run r WHERE r.id = other AND r.finished_at IS NULL FOR UPDATE;
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
        -- In two steps, for the same reason as above; those that have started or ended are locked too, which hurts nobody.
        SELECT ARRAY(SELECT r.id FROM (
                SELECT r.id, r.state FROM pgbatch.run r WHERE r.id = ANY (ids)
                ORDER BY r.id OFFSET 0 FOR NO KEY UPDATE SKIP LOCKED) r
            WHERE r.state = 'starting'));
END
$$;
