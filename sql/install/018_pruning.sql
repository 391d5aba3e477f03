-- A batch that has been deleted and whose items, runs and reports are being deleted, some at a time: see prune().
CREATE TABLE pgbatch.pruning (
    batch_id  bigint PRIMARY KEY,
    -- How many items it had, and up to which one all is gone.
    items     int    NOT NULL,
    gone_upto int    NOT NULL DEFAULT 0
);
