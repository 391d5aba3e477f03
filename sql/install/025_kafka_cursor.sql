-- How far a trigger of watch_kafka() has cut a partition into items: the offset of the first record that is in none. It moves in
-- the transaction that inserts the items, so every record is in exactly one.
CREATE TABLE pgbatch.kafka_cursor (
    trigger_name text   NOT NULL,
    partition    int    NOT NULL,
    next_offset  bigint NOT NULL,
    PRIMARY KEY (trigger_name, partition)
);
