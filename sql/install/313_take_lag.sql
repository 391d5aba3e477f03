-- pgbatch.kafka_items: what a trigger of watch_kafka() with a consumer group has made that has not ended.
--
-- With options.combine it is asked of all the queue's triggers that have it: they are one demand.
--
-- Parameters:  epoch  of the dispatcher that asks
--              name   which trigger
-- Returns:     {"open": its items that have not ended: Jobs that KEDA would count, "pending": of these, those that
--              demand_jobs() counts as pending, "most": its queue's max_parallel, "combined": [{"name", "reading"}, ...], what those triggers
--              asked for last, in their order}; NULL for a trigger that is gone
-- Errors:      55000 if another dispatcher leads
CREATE FUNCTION pgbatch.kafka_items(epoch bigint, name text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    PERFORM pgbatch.check_epoch(epoch);
    RETURN (
        SELECT jsonb_build_object('open', coalesce(sum(n.open), 0), 'pending', coalesce(sum(n.open - n.started), 0),
            'most', min(q.max_parallel), 'combined', min(m.combined::text)::jsonb)
        FROM pgbatch.trigger t
        JOIN pgbatch.queue q ON q.name = t.queue
        CROSS JOIN LATERAL (
            SELECT coalesce(array_agg(c.trigger_name) FILTER (WHERE o.is_one), ARRAY[t.name]) AS names,
                coalesce(jsonb_agg(jsonb_build_object('name', c.trigger_name, 'reading', c.reading)
                    ORDER BY c.created_at, c.trigger_name) FILTER (WHERE o.is_one), '[]') AS combined
            FROM pgbatch.combined_kafka c
            CROSS JOIN LATERAL (SELECT EXISTS (
                SELECT FROM pgbatch.combined_kafka i WHERE i.trigger_name = t.name) AS is_one) o
            WHERE c.queue = t.queue) m
        LEFT JOIN pgbatch.open_batch o ON o.queue = t.queue
        LEFT JOIN LATERAL (
            SELECT b.items - r.ended AS open, r.started
            FROM pgbatch.batch b
            CROSS JOIN LATERAL (
                SELECT coalesce(sum(r.succeeded + r.failed), 0) AS ended,
                    coalesce(sum(r.last_item - r.first_item + 1) FILTER (WHERE pgbatch.is_started(r, q)), 0) AS started
                FROM pgbatch.run r WHERE r.batch_id = b.id) r
            WHERE b.id = o.id AND b.trigger_name = ANY (m.names)) n ON true
        WHERE t.name = kafka_items.name AND t.kind = 'kafka'
        HAVING count(*) > 0);
END
$$;
COMMENT ON FUNCTION pgbatch.kafka_items IS 'Dispatcher: what a trigger of a consumer group has made that has not ended';

-- pgbatch.take_lag: notes the lag of the consumer group of a trigger of watch_kafka(), and makes items of it. Where lags are
-- combined, they are said to be of the trigger that asks for most, or for 'min' for least.
--
-- Parameters:  epoch    of the dispatcher that says so
--              name     which trigger; one that is gone is passed over
--              lag      the lag of the group
--              reading  what of it asks for Jobs, {"value", "target", "is_active"}; NULL = it is not known well enough
--              items    how many Jobs are asked for beside those there are
--              problem  what is wrong, for people; NULL = nothing
-- Errors:      55000 if another dispatcher leads
-- Locks:       the trigger's row
-- Writes:      kafka_trigger, when it says something else; batch, item
CREATE FUNCTION pgbatch.take_lag(epoch bigint, name text, lag bigint, reading jsonb, items int, problem text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    t     pgbatch.kafka_trigger;
    batch bigint;
BEGIN
    PERFORM pgbatch.check_epoch(epoch);
    SELECT k.* INTO t FROM pgbatch.kafka_trigger k
    WHERE k.trigger_name = name AND k.consumer_group IS NOT NULL FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE pgbatch.kafka_trigger k
    SET lag = take_lag.lag, error = left(problem, 4096), positioned = true,
        reading = CASE WHEN k.options ? 'combine' THEN take_lag.reading END
    WHERE k.trigger_name = name
        AND (k.lag, k.error, k.positioned, k.reading) IS DISTINCT FROM (take_lag.lag, left(problem, 4096), true,
            CASE WHEN k.options ? 'combine' THEN take_lag.reading END);
    IF take_lag.items = 0 THEN
        RETURN;
    END IF;
    SELECT k.* INTO t
    FROM pgbatch.kafka_trigger k
    LEFT JOIN pgbatch.combined_kafka c ON c.trigger_name = k.trigger_name
    CROSS JOIN LATERAL (SELECT (c.reading ->> 'is_active')::boolean AS is_active, (c.reading ->> 'value')::float8
        * CASE c.options ->> 'combine' WHEN 'min' THEN -1 ELSE 1 END AS value) r
    WHERE k.trigger_name = name OR c.queue = (SELECT o.queue FROM pgbatch.combined_kafka o WHERE o.trigger_name = name)
    ORDER BY coalesce(r.is_active, false) DESC, r.value DESC NULLS LAST, c.created_at, k.trigger_name
    LIMIT 1;
    INSERT INTO pgbatch.batch (queue, state, items, has_fresh, priority, max_attempts, label, trigger_name, created_by)
    SELECT q.name, 'pending', take_lag.items, true, 0, q.max_attempts, d.name, d.name, d.created_by
    FROM pgbatch.trigger d JOIN pgbatch.queue q ON q.name = d.queue
    WHERE d.name = t.trigger_name RETURNING id INTO batch;
    INSERT INTO pgbatch.item (batch_id, item_no, item)
    SELECT batch, n, jsonb_strip_nulls(jsonb_build_object('topic', t.topic, 'consumer_group', t.consumer_group))
    FROM generate_series(1, take_lag.items) n;
END
$$;
COMMENT ON FUNCTION pgbatch.take_lag IS 'Dispatcher: notes the lag of a consumer group, and makes items of it';
