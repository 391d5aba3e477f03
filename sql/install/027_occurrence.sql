-- An occurrence of a schedule that has become a batch: never another time, be it due, missed or backfilled. Kept as long as
-- the schedule is, though its batch may be deleted.
CREATE TABLE pgbatch.occurrence (
    trigger_name  text        NOT NULL,
    scheduled_for timestamptz NOT NULL,
    batch_id      bigint      NOT NULL,
    PRIMARY KEY (trigger_name, scheduled_for)
);
