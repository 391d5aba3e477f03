-- pgbatch.mark_cancelled: notes that a batch is to be cancelled, so that nothing of it is claimed any more.
--
-- Parameters:  batch_id  an open batch, whose row the caller has locked
--              reason    why, for people
-- Writes:      batch, retry
CREATE FUNCTION pgbatch.mark_cancelled(batch_id bigint, reason text) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    UPDATE pgbatch.batch b SET cancel_requested_at = now(), cancel_reason = mark_cancelled.reason
    WHERE b.id = mark_cancelled.batch_id;
    UPDATE pgbatch.retry t SET due_at = NULL WHERE t.batch_id = mark_cancelled.batch_id;
$$;
