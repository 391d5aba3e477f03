-- How the demand that triggers of watch_count() read becomes runs of a queue: KEDA's ScaledJob; its triggers are in
-- pgbatch.demand. See dispatcher/core/src/scaling.rs.
CREATE TABLE pgbatch.scaling (
    queue                     text    PRIMARY KEY,
    strategy                  text    NOT NULL CONSTRAINT scaling_strategy
                              CHECK (strategy IN ('default', 'custom', 'accurate', 'eager')),
    custom_deduction          int     NOT NULL,
    custom_running_percentage float8,
    combine                   text    NOT NULL CONSTRAINT scaling_combine CHECK (combine IN ('max', 'min', 'avg', 'sum')),
    min_runs                  int     NOT NULL,
    -- NULL: 100 on top of min_runs.
    max_runs                  int,
    -- Whether a value has been read since it was last evaluated.
    is_stale                  boolean NOT NULL DEFAULT true,
    -- How many times in a row its runs have failed, with no success in between, and until when nothing is evaluated therefore.
    failures                  int     NOT NULL DEFAULT 0,
    again_at                  timestamptz
);
