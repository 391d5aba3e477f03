-- What comes of the records of the topic. Idempotent.
CREATE TABLE IF NOT EXISTS click (
    kafka_partition int    NOT NULL,
    kafka_offset    bigint NOT NULL,
    body            text,
    PRIMARY KEY (kafka_partition, kafka_offset)
);
