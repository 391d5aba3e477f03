-- A limit: a cap on the live runs of several queues together, of those that name it. No foreign key from queue, so that
-- dropping a limit and altering a queue need not wait for each other; create_queue() and drop_limit() check.
CREATE TABLE pgbatch.parallel_limit (
    name         text        PRIMARY KEY
                 CONSTRAINT parallel_limit_name CHECK (name ~ '^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$'),
    max_parallel int         NOT NULL CONSTRAINT parallel_limit_max_parallel CHECK (max_parallel > 0),
    created_at   timestamptz NOT NULL DEFAULT pg_catalog.now(),
    created_by   text        NOT NULL
);
