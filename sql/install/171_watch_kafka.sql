-- pgbatch.watch_kafka: a Kafka topic adds work.
--
-- Without a consumer group, new records become items {"topic", "partition", "from", "to"}: the offsets from `from` on and
-- before `to`, at most records_per_item of them. An item may have fewer records, or none, where the topic is compacted or
-- transactional: offsets are counted. What an open transaction has written is no item yet. How far a partition has been cut
-- is kept in PostgreSQL and moves in the transaction that inserts the items, so every record is in exactly one.
--
-- With one, its lag is demand for Jobs, as KEDA counts it: items {"topic", "consumer_group"}, no more at a time than lag /
-- lag_threshold, the partitions, and the queue's max_parallel.
--
-- The dispatcher does the watching. It reads credentials from files and environment variables of its own that are meant for
-- that, by name: none is stored here.
--
-- Parameters:  name              of the trigger
--              queue             which queue
--              bootstrap_servers host:port, several with commas
--              topic             which topic; NULL with a consumer group: those that it has committed offsets of
--              consumer_group    NULL = its records are items
--              lag_threshold     with a group: so much lag is one Job's
--              records_per_item  without one
--              options           see the README
-- Errors:      22023 for a bad argument, with its JSON path; 42704 for an unknown queue, 42710 for a name that is taken
-- Locks:       queue, against other creators and drop_queue(), not against enqueuers
-- Writes:      trigger, kafka_trigger
CREATE FUNCTION pgbatch.watch_kafka(
    name text, queue text, bootstrap_servers text, topic text, consumer_group text DEFAULT NULL,
    lag_threshold bigint DEFAULT 10, records_per_item bigint DEFAULT 1000, options jsonb DEFAULT '{}'
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pgbatch.check_right(queue, 'manage');
    IF char_length(name) BETWEEN 1 AND 128 IS NOT TRUE THEN
        PERFORM pgbatch.reject(format('name must be of 1 to 128 characters, not %s', coalesce(char_length(name)::text, 'NULL')),
            'For example pgbatch.watch_kafka(''orders'', ''claps'', ''kafka:9092'', ''orders'').');
    END IF;
    IF bootstrap_servers ~ '^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}( *, *([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5})*$'
        IS NOT TRUE OR char_length(bootstrap_servers) > 4096 THEN
        PERFORM pgbatch.reject(format('bootstrap_servers is invalid: %s',
            coalesce('"' || left(bootstrap_servers, 100) || '"', 'NULL')), 'Give host:port, several with commas: one:9092,two:9092.');
    END IF;
    IF topic IS NULL AND consumer_group IS NULL THEN
        PERFORM pgbatch.reject('topic must not be NULL without a consumer group', 'Its records become items.');
    END IF;
    IF topic !~ '^[A-Za-z0-9._-]{1,249}$' OR topic IN ('.', '..') THEN
        PERFORM pgbatch.reject(format('topic is invalid: "%s"', left(topic, 100)),
            'Kafka allows 1 to 249 letters, digits, dots, underscores and dashes.');
    END IF;
    IF char_length(consumer_group) NOT BETWEEN 1 AND 255 THEN
        PERFORM pgbatch.reject(format('consumer_group must be of 1 to 255 characters, not %s', char_length(consumer_group)),
            'Leave it out, and the records become items.');
    END IF;
    IF coalesce(lag_threshold, 0) < 1 OR coalesce(records_per_item, 0) < 1 THEN
        PERFORM pgbatch.reject(CASE WHEN coalesce(lag_threshold, 0) < 1
                THEN format('lag_threshold must be at least 1, not %s', coalesce(lag_threshold::text, 'NULL'))
                ELSE format('records_per_item must be at least 1, not %s', coalesce(records_per_item::text, 'NULL')) END,
            'Leave it out for its default.');
    END IF;
    PERFORM pgbatch.check_kafka_options(options, consumer_group IS NOT NULL, topic IS NOT NULL);
    LOCK TABLE pgbatch.queue IN SHARE ROW EXCLUSIVE MODE;
    IF NOT EXISTS (SELECT FROM pgbatch.queue q WHERE q.name = watch_kafka.queue) THEN
        PERFORM pgbatch.reject_unknown_queue(queue);
    END IF;
    IF EXISTS (SELECT FROM pgbatch.live_triggers t WHERE t.name = watch_kafka.name) THEN
        RAISE EXCEPTION USING ERRCODE = 'duplicate_object', MESSAGE = format('trigger "%s" exists already', name),
            HINT = 'The view pgbatch.triggers lists them; drop it first, with pgbatch.drop_trigger(), or give another name.';
    END IF;
    PERFORM pgbatch.check_combined(queue, options);
    PERFORM pgbatch.forget_trigger(name);
    INSERT INTO pgbatch.trigger (name, kind, queue, created_by) VALUES (name, 'kafka', queue, pgbatch.caller());
    INSERT INTO pgbatch.kafka_trigger (trigger_name, bootstrap_servers, topic, consumer_group, lag_threshold, records_per_item,
        options)
    VALUES (name, regexp_replace(bootstrap_servers, ' ', '', 'g'), topic, consumer_group, lag_threshold, records_per_item, options);
    PERFORM pgbatch.ring();
END
$$;
COMMENT ON FUNCTION pgbatch.watch_kafka IS
    'New records of a Kafka topic are items, {topic, partition, from, to}; or the lag of a consumer group is demand for Jobs';

-- pgbatch.combined_kafka: the triggers of a queue whose lags are one demand: those with options.combine, in their order.
CREATE VIEW pgbatch.combined_kafka AS
SELECT t.queue, t.created_at, k.*
FROM pgbatch.trigger t JOIN pgbatch.kafka_trigger k ON k.trigger_name = t.name
WHERE k.options ? 'combine';

-- pgbatch.check_combined: checks that triggers whose lags are to be one demand say the same about how.
--
-- Parameters:  queue    of the trigger
--              options  its options
-- Errors:      22023 for another combination or strategy than that of the queue's other triggers
CREATE FUNCTION pgbatch.check_combined(queue text, options jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    other text;
BEGIN
    SELECT c.trigger_name INTO other FROM pgbatch.combined_kafka c
    WHERE c.queue = check_combined.queue AND check_combined.options ? 'combine'
        AND (c.options ->> 'combine', coalesce(c.options ->> 'strategy', 'default'))
            <> (check_combined.options ->> 'combine', coalesce(check_combined.options ->> 'strategy', 'default'))
    ORDER BY c.trigger_name LIMIT 1;
    IF FOUND THEN
        PERFORM pgbatch.reject(format('queue "%s" has another combination or strategy by trigger "%s"', queue, other),
            'The triggers with options.combine are one demand: give all of them the same, or leave it out.');
    END IF;
END
$$;
