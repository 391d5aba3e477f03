-- pgbatch.observe_counts: what only PostgreSQL knows of what a dispatcher's /metrics shows. It is called for a scrape, where something
-- has changed since the last one. Its cost has a limit: that of peek_queues().
--
-- Returns:     queues    name, pending, running, retrying, failed, oldest_pending, as peek_queues()
--              triggers  kind, name, is_in_error, value, fired_at, as the view triggers, of a thousand at most; no value where
--                        it is no number
CREATE FUNCTION pgbatch.observe_counts() RETURNS json
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
    SELECT json_build_object(
        'queues', (
            SELECT coalesce(json_agg(json_build_object(
                'name', q.name, 'pending', q.pending, 'running', q.running, 'retrying', q.retrying, 'failed', q.failed,
                'oldest_pending', q.oldest_pending)), '[]')
            FROM pgbatch.peek_queues() q),
        'triggers', (
            SELECT coalesce(json_agg(json_build_object(
                'kind', t.kind, 'name', t.name, 'is_in_error', t.error IS NOT NULL,
                -- JSON has no word for the others.
                'value', CASE WHEN abs(t.last_value) < 'Infinity' THEN t.last_value END, 'fired_at', t.last_fired_at)), '[]')
            FROM (SELECT t.kind, t.name, t.error, t.last_value, t.last_fired_at FROM pgbatch.triggers t ORDER BY t.name LIMIT 1000) t))
$$;
COMMENT ON FUNCTION pgbatch.observe_counts IS 'Dispatcher: items by queue and state, and what became of each trigger, as JSON';
