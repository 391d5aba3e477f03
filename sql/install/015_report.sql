-- A report: what a run itself said about one of its items, before it ended. Inserted by complete_item() and
-- fail_item(), never changed.
CREATE TABLE pgbatch.report (
    run_id      bigint      NOT NULL,
    item_no     int         NOT NULL,
    state       text        NOT NULL CONSTRAINT report_state CHECK (state IN ('succeeded', 'failed')),
    -- Whether a failed item is worth another attempt.
    retry       boolean     NOT NULL,
    result      jsonb,
    error       text,
    reported_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (run_id, item_no),
    CONSTRAINT report_retry CHECK (state = 'failed' OR NOT retry)
);
