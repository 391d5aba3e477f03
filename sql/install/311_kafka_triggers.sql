-- pgbatch.kafka_change: what changes when a trigger of watch_kafka() is made, changed or dropped; NULL = there is none.
CREATE VIEW pgbatch.kafka_change AS
SELECT count(*) || ' ' || extract(epoch FROM max(k.changed_at)) AS change FROM pgbatch.kafka_trigger k;

-- pgbatch.kafka_triggers: the triggers of watch_kafka(), for the dispatcher that watches. Read again when observe() says
-- another "kafka" than before.
--
-- Parameters:  epoch  of the dispatcher that asks
-- Returns:     KafkaTriggers: see dispatcher/src/store/kafka.rs
-- Errors:      55000 if another dispatcher leads
CREATE FUNCTION pgbatch.kafka_triggers(epoch bigint) RETURNS SETOF jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pgbatch.check_epoch(epoch);
    RETURN QUERY SELECT jsonb_build_object(
        'name', k.trigger_name, 'bootstrap_servers', k.bootstrap_servers, 'topic', k.topic, 'consumer_group', k.consumer_group,
        'lag_threshold', k.lag_threshold, 'options', k.options, 'changed_at', k.changed_at)
    FROM pgbatch.kafka_trigger k ORDER BY k.trigger_name;
END
$$;
COMMENT ON FUNCTION pgbatch.kafka_triggers IS 'Dispatcher: the triggers of watch_kafka()';

-- pgbatch.note_kafka: notes what is wrong with a trigger of watch_kafka(); NULL = nothing any more.
--
-- Parameters:  epoch  of the dispatcher that says so
--              name   which trigger; one that is gone is passed over
--              error  for people
-- Errors:      55000 if another dispatcher leads
-- Writes:      kafka_trigger, when it says something else
CREATE FUNCTION pgbatch.note_kafka(epoch bigint, name text, error text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pgbatch.check_epoch(epoch);
    UPDATE pgbatch.kafka_trigger k SET error = left(note_kafka.error, 4096)
    WHERE k.trigger_name = name AND k.error IS DISTINCT FROM left(note_kafka.error, 4096);
END
$$;
COMMENT ON FUNCTION pgbatch.note_kafka IS 'Dispatcher: notes what is wrong with a trigger of watch_kafka()';
