-- pgbatch.drop_queue: drops a queue. What ended of it stays to be read.
--
-- Parameters:  name   which queue
--              force  drop its open batches too, items and all
-- Errors:      42704 for an unknown queue, 42501 for one that is not the caller's, 55006 while a trigger feeds it, or it has open batches (without
--              force) or live runs,
--              55P03 if another transaction that has enqueued stays open for 5 seconds
-- Locks:       queue, against other creators; batch, so that no enqueuer slips in: that waits for enqueuing
--              transactions, and holds up later ones and the dispatcher, hence the limit
-- Writes:      queue, queue_right, trigger, batch, item, retry, run, report; privileges; the view drop_extension_guard
CREATE FUNCTION pgbatch.drop_queue(name text, force boolean DEFAULT false) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    open_batches bigint[];
BEGIN
    PERFORM pgbatch.check_right(name, 'own');
    LOCK TABLE pgbatch.queue IN SHARE ROW EXCLUSIVE MODE;
    LOCK TABLE pgbatch.batch IN SHARE ROW EXCLUSIVE MODE;
    DELETE FROM pgbatch.queue q WHERE q.name = drop_queue.name;
    IF NOT FOUND THEN
        PERFORM pgbatch.reject_unknown_queue(drop_queue.name);
    END IF;

    PERFORM pgbatch.refuse_fed_queue(drop_queue.name);
    -- Those left are of tables that are gone.
    PERFORM pgbatch.forget_trigger(t.name) FROM pgbatch.trigger t WHERE t.queue = drop_queue.name;

    open_batches := ARRAY(SELECT b.id FROM pgbatch.open_batch b WHERE b.queue = drop_queue.name);
    IF cardinality(open_batches) > 0 AND force IS NOT TRUE THEN
        RAISE EXCEPTION USING ERRCODE = 'object_in_use',
            MESSAGE = format('queue "%s" has %s open batches', name, cardinality(open_batches)),
            HINT = 'Wait for them, cancel them with pgbatch.cancel_batch(), or drop them too: force => true.';
    END IF;
    IF EXISTS (SELECT FROM pgbatch.run r
               WHERE r.batch_id = ANY (open_batches) AND r.state IN ('starting', 'running')) THEN
        RAISE EXCEPTION USING ERRCODE = 'object_in_use',
            MESSAGE = format('queue "%s" has live runs', name),
            HINT = 'Pause it with pgbatch.pause_queue(), cancel its batches with pgbatch.cancel_batch(), and drop it '
                'when its runs have stopped.';
    END IF;

    DELETE FROM pgbatch.report p USING pgbatch.run r WHERE r.batch_id = ANY (open_batches) AND p.run_id = r.id;
    DELETE FROM pgbatch.run r WHERE r.batch_id = ANY (open_batches);
    DELETE FROM pgbatch.retry t WHERE t.batch_id = ANY (open_batches);
    DELETE FROM pgbatch.item i WHERE i.batch_id = ANY (open_batches);
    DELETE FROM pgbatch.batch b WHERE b.id = ANY (open_batches);
    PERFORM pgbatch.forget_rights(drop_queue.name);
    PERFORM pgbatch.note_action('drop_queue', drop_queue.name, jsonb_build_object('open_batches', cardinality(open_batches)));
    PERFORM pgbatch.guard_extension();
    PERFORM pgbatch.ring();
    PERFORM pgbatch.ring_done();
END
$$;
COMMENT ON FUNCTION pgbatch.drop_queue IS 'Drops a queue; with force its open batches too';
