-- What somebody has changed, of queues, rights, limits and triggers, and which batches he has cancelled or retried; who, when and
-- why. What is enqueued and what runs is not here: that are the batches and the runs.
CREATE TABLE pgbatch.action (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at           timestamptz NOT NULL DEFAULT pg_catalog.now(),
    -- As whom, and by whose login.
    role         text        NOT NULL,
    login        text        NOT NULL DEFAULT session_user,
    -- For whom that login acts, as it says itself: the dashboard's is one for all who use it.
    on_behalf_of text,
    -- The function that does it.
    action       text        NOT NULL,
    queue        text,
    batch_id     bigint,
    trigger_name text,
    detail       jsonb,
    reason       text
);

CREATE INDEX action_of_queue ON pgbatch.action (queue, id);
