-- pgbatch.check_batch_options: checks the shared options of the enqueue functions.
--
-- Parameters:  see enqueue()
-- Errors:      22023 for a bad argument, 42704 for a batch in `after` that is unknown, or of a queue on which the caller
--              has no right
-- Locks:       the rows of the batches in `after`, against their deletion
CREATE FUNCTION pgbatch.check_batch_options(
    label text, priority int, not_before timestamptz, unique_key text, key text, after bigint[], max_attempts int
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    unknown bigint;
BEGIN
    IF priority IS NULL THEN
        PERFORM pgbatch.reject('priority must not be NULL', 'Leave priority out for its default, 0.');
    END IF;
    PERFORM pgbatch.check_moment('not_before', not_before, 'To hold back everything of a queue, use pgbatch.pause_queue().');
    -- The label is part of a notification, which is limited; the keys are indexed.
    IF greatest(octet_length(label), octet_length(unique_key), octet_length(key)) > 1024 THEN
        PERFORM pgbatch.reject('label, unique_key and key must be at most 1024 bytes each',
            'Put what is longer into the item.');
    END IF;
    IF max_attempts < 1 THEN
        PERFORM pgbatch.reject(format('max_attempts must be at least 1, not %s', max_attempts),
            'Leave max_attempts out for the queue''s.');
    END IF;
    IF after IS NULL THEN
        RETURN;
    END IF;
    IF array_ndims(after) > 1 THEN
        PERFORM pgbatch.reject('after must be a list, not an array of several dimensions',
            'Give the ids of the batches to come after.');
    END IF;
    IF array_position(after, NULL) IS NOT NULL THEN
        PERFORM pgbatch.reject('after must not contain NULL', 'Give the ids of the batches to come after.');
    END IF;
    -- Locked: prune() must not delete one before the new batch, which waits for it, is there to be seen.
    PERFORM FROM pgbatch.batch b WHERE b.id = ANY (check_batch_options.after) ORDER BY b.id FOR KEY SHARE;
    SELECT a INTO unknown FROM unnest(after) a
    WHERE NOT EXISTS (SELECT FROM pgbatch.batch b WHERE b.id = a AND pgbatch.may(b.queue, NULL)) LIMIT 1;
    IF FOUND THEN
        PERFORM pgbatch.reject_unknown_batch(unknown);
    END IF;
END
$$;
