-- pgbatch.wait_batch: sleeps until a batch has ended, without polling. Needs the library.
--
-- Its statement's snapshot is held while it sleeps, as that of any running query: for waits of hours, listening on
-- channel pgbatch_done is kinder to VACUUM.
--
-- Parameters:  id       which batch
--              timeout  how long at most; NULL = for ever
-- Returns:     the state of the batch: a final one, or the present one when the time is over
-- Errors:      22023 for a negative timeout, 42704 for an unknown batch, 42501 for one of a queue that the caller may not
--              read, 55000 for one that the current transaction has
--              made and so keeps from starting, 25000 in a transaction that cannot see later commits
CREATE FUNCTION pgbatch.wait_batch(id bigint, timeout interval DEFAULT NULL) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    deadline CONSTANT timestamptz := clock_timestamp() + timeout;
    seq      bigint;
    b        record;
BEGIN
    PERFORM pgbatch.check_batch_right(id, 'read');
    IF timeout < '0 s' THEN
        PERFORM pgbatch.reject(format('timeout must not be negative: %s', timeout), 'Leave timeout out to wait for ever.');
    END IF;
    IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_transaction_state',
            MESSAGE = format('wait_batch() cannot see the end of a batch in a %s transaction',
                current_setting('transaction_isolation')),
            HINT = 'Call it in a transaction of isolation level READ COMMITTED.';
    END IF;
    LOOP
        -- The bell first, then a look with a new snapshot: what ends after the look has rung after the reading.
        seq := pgbatch.done_seq();
        SELECT found.state, found.finished_at,
            found.ready_xact IS NOT DISTINCT FROM pg_current_xact_id_if_assigned() AS own
        INTO b FROM pgbatch.batch found WHERE found.id = wait_batch.id;
        IF NOT FOUND THEN
            PERFORM pgbatch.reject_unknown_batch(id);
        END IF;
        IF b.own THEN
            RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
                MESSAGE = format('batch %s was made by this transaction and starts when it commits', id),
                HINT = 'Commit, then wait.';
        END IF;
        EXIT WHEN b.finished_at IS NOT NULL OR clock_timestamp() >= deadline;
        PERFORM pgbatch.await_done(seq, ceil(extract(epoch FROM deadline - clock_timestamp()) * 1000)::bigint);
    END LOOP;
    RETURN b.state;
END
$$;
COMMENT ON FUNCTION pgbatch.wait_batch IS 'Sleeps until a batch has ended or the timeout is over; returns its state';
