-- A key that a trigger of watch_rows() has enqueued, and as which item. Never changed, and kept for ever: what has been
-- enqueued once is not enqueued again.
CREATE TABLE pgbatch.watched_key (
    trigger_name text   NOT NULL,
    key          text   NOT NULL,
    batch_id     bigint NOT NULL,
    PRIMARY KEY (trigger_name, key)
);
