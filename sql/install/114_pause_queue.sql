-- pgbatch.pause_queue: starts nothing of a queue until it is resumed; its live runs go on.
--
-- Parameters:  name  which queue
-- Errors:      42704 for an unknown queue, 42501 for one that the caller may not manage
-- Locks:       the queue's row
-- Writes:      queue
CREATE FUNCTION pgbatch.pause_queue(name text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pgbatch.check_right(name, 'manage');
    UPDATE pgbatch.queue q SET paused = true WHERE q.name = pause_queue.name;
    IF NOT FOUND THEN
        PERFORM pgbatch.reject_unknown_queue(pause_queue.name);
    END IF;
    PERFORM pgbatch.note_action('pause_queue', pause_queue.name);
    PERFORM pgbatch.ring();
END
$$;
COMMENT ON FUNCTION pgbatch.pause_queue IS 'Pauses a queue: nothing of it is started, its live runs go on';
