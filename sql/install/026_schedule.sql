-- A schedule: when it occurs, and what is done then; its row in pgbatch.trigger has the queue and the query, if it has one.
CREATE TABLE pgbatch.schedule (
    trigger_name  text        PRIMARY KEY,
    cron          text        NOT NULL,
    timezone      text        NOT NULL,
    -- NULL: those of the query, or {} where there is none.
    items         jsonb[],
    missed        text        NOT NULL CONSTRAINT schedule_missed CHECK (missed IN ('skip', 'run_once', 'run_all')),
    missed_window interval    NOT NULL,
    overlap       text        NOT NULL CONSTRAINT schedule_overlap CHECK (overlap IN ('allow', 'skip')),
    enabled       boolean     NOT NULL DEFAULT true,
    -- The first occurrences that nothing is decided about. Decided occurrences are before them, however the clock is set.
    next_runs     timestamptz[] NOT NULL,
    -- When the dispatcher has to see to it: the first of them, or later where it failed; NULL = never.
    due_at        timestamptz,
    -- The latest occurrence that was left out because the batch before it was open.
    skipped_at    timestamptz,
    -- Why the next one fails, for people, and how often in a row it did.
    error         text,
    failures      int         NOT NULL DEFAULT 0,
    -- How long after its occurrence a batch must have finished; NULL = whenever.
    finish_within interval
);

-- What is due.
CREATE INDEX schedule_due ON pgbatch.schedule (due_at) WHERE due_at IS NOT NULL;
