-- pgbatch.resume_queue: lets a paused queue go on.
--
-- Parameters:  name  which queue
-- Errors:      42704 for an unknown queue, 42501 for one that the caller may not manage
-- Locks:       the queue's row
-- Writes:      queue
CREATE FUNCTION pgbatch.resume_queue(name text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pgbatch.check_right(name, 'manage');
    UPDATE pgbatch.queue q SET paused = false WHERE q.name = resume_queue.name;
    IF NOT FOUND THEN
        PERFORM pgbatch.reject_unknown_queue(resume_queue.name);
    END IF;
    PERFORM pgbatch.note_action('resume_queue', resume_queue.name);
    PERFORM pgbatch.ring();
END
$$;
COMMENT ON FUNCTION pgbatch.resume_queue IS 'Resumes a queue: it goes on where pause_queue() stopped it';
