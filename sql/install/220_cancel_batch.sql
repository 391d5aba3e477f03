-- pgbatch.cancel_batch: cancels what has not ended of a batch. Nothing of it is started any more; its live runs are
-- stopped by the dispatcher, and the batch is final when they have.
--
-- Parameters:  id  which batch
-- Errors:      42704 for an unknown batch, 42501 for one of a queue that the caller may not manage; a NOTICE for one that has ended
-- Locks:       the batch's row
-- Writes:      batch, retry
CREATE FUNCTION pgbatch.cancel_batch(id bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    b pgbatch.batch;
BEGIN
    PERFORM pgbatch.check_batch_right(id, 'manage');
    b := pgbatch.lock_batch(id);
    IF b.finished_at IS NOT NULL THEN
        RAISE NOTICE 'batch % has ended already: %', id, b.state;
        RETURN;
    END IF;
    IF b.cancel_requested_at IS NULL THEN
        PERFORM pgbatch.mark_cancelled(id, format('cancelled by %s', pgbatch.caller()));
        PERFORM pgbatch.note_action('cancel_batch', b.queue, batch_id => id);
    END IF;
    PERFORM pgbatch.close_batches(ARRAY[id]);
    PERFORM pgbatch.ring();
END
$$;
COMMENT ON FUNCTION pgbatch.cancel_batch IS 'Cancels what has not ended of a batch, and stops its live runs';
