-- A queue: what one of its runs is (a Job template or a statement), and its policy. Changed by people only.
-- No other table has a foreign key to it: that would put a shared row lock into the commit of every enqueuer.
CREATE TABLE pgbatch.queue (
    name              text        PRIMARY KEY
                      -- 40 characters: with "-" and the id of a run it is the name of a Job and a label (63).
                      CONSTRAINT queue_name CHECK (name ~ '^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$'),
    job_template      jsonb,
    sql               text,
    -- Who wrote the statement: its runs log in as that role. NULL: the extension's owner; or there is none.
    sql_role          text,
    max_parallel      int         NOT NULL CONSTRAINT queue_max_parallel CHECK (max_parallel > 0),
    -- A cap that it shares with other queues: see parallel_limit.
    limit_name        text,
    items_per_run     int         NOT NULL CONSTRAINT queue_items_per_run CHECK (items_per_run > 0),
    max_attempts      int         NOT NULL CONSTRAINT queue_max_attempts CHECK (max_attempts > 0),
    retry_backoff     interval    NOT NULL,
    retry_backoff_max interval    NOT NULL,
    run_timeout       interval,
    namespace         text,
    priority          int         NOT NULL,
    max_per_key       int         CONSTRAINT queue_max_per_key CHECK (max_per_key > 0),
    max_starts        int         CONSTRAINT queue_max_starts CHECK (max_starts > 0),
    max_starts_per    interval    NOT NULL,
    keep_succeeded    int         NOT NULL CONSTRAINT queue_keep_succeeded CHECK (keep_succeeded >= 0),
    keep_failed       int         NOT NULL CONSTRAINT queue_keep_failed CHECK (keep_failed >= 0),
    retain            interval    NOT NULL,
    paused            boolean     NOT NULL DEFAULT false,
    created_at        timestamptz NOT NULL DEFAULT pg_catalog.now(),
    created_by        text        NOT NULL,
    -- As check_queue_options() returns it: {"pending_pod_conditions": [...], "spring_batch": {"schema", "table_prefix"}}; NULL =
    -- nothing special.
    options           jsonb,
    -- Where there is no library, a dispatcher checks a Job template: whether one has, and what it found. Until it is right, nothing starts.
    template_checked  boolean     NOT NULL DEFAULT true,
    template_error    text,
    CONSTRAINT queue_one_kind CHECK ((job_template IS NULL) <> (sql IS NULL)),
    CONSTRAINT queue_sql_role CHECK (sql_role IS NULL OR sql IS NOT NULL)
);

-- Whether there is any such queue, in one look: finish_runs() asks each time.
CREATE INDEX queue_of_spring_batch ON pgbatch.queue (name) WHERE options ? 'spring_batch';
