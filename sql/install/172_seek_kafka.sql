-- pgbatch.seek_kafka: sets where a trigger of watch_kafka() goes on in a partition: after records that were lost, or back, to
-- make items of records once more.
--
-- Parameters:  name         which trigger, one without a consumer group
--              partition    which partition
--              next_offset  the offset of the first record that is to be in an item
-- Errors:      42704 for an unknown trigger, 42809 for one with a group, 22023 for a bad argument, 42501 if neither it nor
--              the extension is the caller's
-- Writes:      kafka_trigger, kafka_cursor
CREATE FUNCTION pgbatch.seek_kafka(name text, partition int, next_offset bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t record;
BEGIN
    PERFORM pgbatch.check_trigger_right(name);
    SELECT k.consumer_group, d.created_by INTO t
    FROM pgbatch.kafka_trigger k JOIN pgbatch.trigger d ON d.name = k.trigger_name
    -- Not while the dispatcher takes records.
    WHERE k.trigger_name = seek_kafka.name FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM pgbatch.reject_unknown(format('trigger %s does not exist', coalesce('"' || name || '"', 'NULL')),
            'The view pgbatch.triggers lists them; this is for those of pgbatch.watch_kafka().');
    END IF;
    PERFORM pgbatch.check_trigger_maker(name, t.created_by);
    IF t.consumer_group IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'wrong_object_type',
            MESSAGE = format('trigger "%s" follows the offsets of consumer group "%s"', name, t.consumer_group),
            HINT = 'Set the group''s offsets in Kafka: kafka-consumer-groups.sh --reset-offsets.';
    END IF;
    IF partition IS NULL OR partition < 0 OR next_offset IS NULL OR next_offset < 0 THEN
        PERFORM pgbatch.reject(format('%s must be at least 0, not %s',
            CASE WHEN partition IS NULL OR partition < 0 THEN 'partition' ELSE 'next_offset' END,
            coalesce(CASE WHEN partition IS NULL OR partition < 0 THEN partition ELSE next_offset END::text, 'NULL')),
            'Offsets and partitions count from 0.');
    END IF;
    INSERT INTO pgbatch.kafka_cursor AS c (trigger_name, partition, next_offset) VALUES (name, partition, next_offset)
    ON CONFLICT ON CONSTRAINT kafka_cursor_pkey DO UPDATE SET next_offset = excluded.next_offset;
    UPDATE pgbatch.kafka_trigger k SET changed_at = clock_timestamp() WHERE k.trigger_name = name;
    PERFORM pgbatch.note_action('seek_kafka', NULL, jsonb_build_object('partition', partition, 'next_offset', next_offset),
        trigger_name => name);
    PERFORM pgbatch.ring();
END
$$;
COMMENT ON FUNCTION pgbatch.seek_kafka IS 'Sets where a trigger of watch_kafka() goes on in a partition';
