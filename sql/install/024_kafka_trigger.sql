-- What a trigger of watch_kafka() watches, and how far it is. No password is in it: options name files and environment
-- variables of the dispatcher.
CREATE TABLE pgbatch.kafka_trigger (
    trigger_name      text        PRIMARY KEY,
    -- host:port, comma-separated.
    bootstrap_servers text        NOT NULL,
    -- NULL: the topics that the group has committed offsets of.
    topic             text,
    -- NULL: its records become items.
    consumer_group    text,
    lag_threshold     bigint      NOT NULL CONSTRAINT kafka_trigger_lag_threshold CHECK (lag_threshold > 0),
    records_per_item  bigint      NOT NULL CONSTRAINT kafka_trigger_records_per_item CHECK (records_per_item > 0),
    options           jsonb       NOT NULL,
    -- By which the dispatcher knows that it has to read this again.
    changed_at        timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    -- Whether the dispatcher has looked at the topic once: partitions that come later are read from their beginning.
    positioned        boolean     NOT NULL DEFAULT false,
    -- Kafka's own number of the topic: one that is made again under its name has another one. NULL where the broker has none.
    topic_id          text,
    -- The lag of the group at the last look.
    lag               bigint,
    -- With options.combine: what it asked for then, {"value", "target", "is_active"}; NULL = it takes no part.
    reading           jsonb,
    -- What is wrong, for people.
    error             text,
    CONSTRAINT kafka_trigger_reads CHECK (topic IS NOT NULL OR consumer_group IS NOT NULL)
);
