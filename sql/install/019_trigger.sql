-- A trigger: what adds work by itself. No foreign key to queue: see there; drop_queue() refuses while one feeds it.
-- A row outlives the table that it is about until somebody looks: see the view live_triggers.
CREATE TABLE pgbatch.trigger (
    name              text        PRIMARY KEY
                      CONSTRAINT trigger_name CHECK (char_length(name) BETWEEN 1 AND 128),
    kind              text        NOT NULL CONSTRAINT trigger_kind CHECK (kind IN ('insert', 'rows', 'kafka', 'schedule', 'count')),
    queue             text        NOT NULL,
    -- Its table, or the view that is its query; dumped by name. NULL for what is outside of PostgreSQL, and a schedule of items.
    source            regclass    CONSTRAINT trigger_source CHECK ((source IS NULL) = (kind = 'kafka') OR kind = 'schedule'),
    -- Which of its rows, as PostgreSQL wrote it down when it had checked it; NULL = all.
    condition         text,
    -- The columns in it, with their types then: {"amount": "numeric"}.
    condition_columns jsonb,
    created_at        timestamptz NOT NULL DEFAULT pg_catalog.now(),
    created_by        text        NOT NULL,
    CONSTRAINT trigger_condition CHECK ((condition IS NULL) = (condition_columns IS NULL))
);
