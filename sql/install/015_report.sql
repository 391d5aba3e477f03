-- A report: what a run itself said about some of its items, before it ended. Inserted by complete_item(), complete_items() and
-- fail_item(), never changed. Those of a run do not overlap: the one of an item is that with the least last_item from it on,
-- if it begins before it; an index lookup.
CREATE TABLE pgbatch.report (
    run_id      bigint      NOT NULL,
    first_item  int         NOT NULL,
    last_item   int         NOT NULL,
    state       text        NOT NULL,
    -- Whether a failed item is worth another attempt.
    retry       boolean     NOT NULL,
    -- Of each of these items.
    result      jsonb,
    error       text,
    reported_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (run_id, last_item),
    CONSTRAINT report_state CHECK (state = 'succeeded' AND NOT retry AND first_item <= last_item
        OR state = 'failed' AND first_item = last_item)
);
