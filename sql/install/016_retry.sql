-- A retry: a range of items that waits for its next attempt. Inserted when a run ends, or by retry_batch(); deleted by
-- the claim. An item is in at most one row, so the ranges of a batch never overlap.
CREATE TABLE pgbatch.retry (
    batch_id    bigint NOT NULL,
    queue       text   NOT NULL,
    first_item  int    NOT NULL,
    last_item   int    NOT NULL,
    -- The number of the next attempt, and of the last one allowed.
    attempt     int    NOT NULL,
    max_attempt int    NOT NULL,
    -- As in the run that it becomes.
    disruptions int    NOT NULL DEFAULT 0,
    -- The batch's.
    key         text,
    -- NULL = never: the batch was cancelled, and the row says which of its items that hit.
    due_at      timestamptz,
    -- The transaction that inserted it: a look at what is new finds it by that.
    ready_xact  xid8   NOT NULL DEFAULT pg_catalog.pg_current_xact_id(),
    PRIMARY KEY (batch_id, first_item, attempt),
    CONSTRAINT retry_items CHECK (first_item > 0 AND last_item >= first_item),
    CONSTRAINT retry_attempt CHECK (attempt > 1 AND max_attempt >= attempt)
);

CREATE INDEX retry_due ON pgbatch.retry (queue, due_at) WHERE due_at IS NOT NULL;

-- The same, by when they came in. Of all rows, so that no plan takes the one above for it: see retry_heads().
CREATE INDEX retry_ready ON pgbatch.retry (ready_xact);

-- The same by key.
CREATE INDEX retry_due_key ON pgbatch.retry (queue, key, due_at) WHERE due_at IS NOT NULL AND key IS NOT NULL;
