-- The latest run of the query of a trigger of watch_rows(). Where there is no row it is run: a new trigger, a restored one.
CREATE TABLE pgbatch.watch_run (
    trigger_name text        PRIMARY KEY,
    -- Marks of earlier transactions are gone: it would be slow to look for marks among all that were deleted.
    marks_from   xid8        NOT NULL,
    ran_at       timestamptz NOT NULL,
    -- What is wrong, for people.
    error        text,
    -- Of a run that failed: how often in a row, and when to try again.
    failures     int         NOT NULL,
    retry_at     timestamptz,
    CONSTRAINT watch_run_retry CHECK ((retry_at IS NOT NULL) = (failures > 0))
);
