-- pgbatch.set_deadline: says when a batch must have finished. For people: it is shown beside what is expected, and nothing is stopped
-- or reordered by it. In the transaction that enqueues it is part of that:
--
--     SELECT pgbatch.set_deadline(pgbatch.enqueue_query('claps', 'SELECT ...'), 'tomorrow 06:00');
--
-- Parameters:  batch_id  which batch
--              deadline  when; NULL = whenever
-- Returns:     the id of the batch
-- Errors:      22023 for a time that is not finite, or not before the year 9999; 42704 for an unknown batch, 42501 for one of a queue that
--              the caller may neither enqueue into nor manage, 55000 for one that has ended
-- Locks:       the batch's row
-- Writes:      batch
CREATE FUNCTION pgbatch.set_deadline(batch_id bigint, deadline timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    b pgbatch.batch;
BEGIN
    IF NOT pgbatch.may((SELECT f.queue FROM pgbatch.batch f WHERE f.id = set_deadline.batch_id), 'manage') THEN
        PERFORM pgbatch.check_batch_right(batch_id, 'enqueue');
    END IF;
    PERFORM pgbatch.check_moment('deadline', deadline, 'NULL takes the deadline away.');
    b := pgbatch.lock_batch(batch_id);
    IF b.finished_at IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('batch %s has ended, and needs no deadline: %s', b.id, b.state),
            HINT = 'A deadline is for what is still to be done.';
    END IF;
    UPDATE pgbatch.batch u SET deadline = set_deadline.deadline WHERE u.id = b.id;
    -- What is enqueued is not an action of somebody's, and a later change is.
    IF b.ready_xact <> pg_current_xact_id() AND b.deadline IS DISTINCT FROM set_deadline.deadline THEN
        PERFORM pgbatch.note_action('set_deadline', b.queue,
            jsonb_build_object('deadline', jsonb_build_object('from', b.deadline, 'to', set_deadline.deadline)), b.id);
    END IF;
    RETURN b.id;
END
$$;
COMMENT ON FUNCTION pgbatch.set_deadline IS 'Says when a batch must have finished, for people; returns the batch''s id';
