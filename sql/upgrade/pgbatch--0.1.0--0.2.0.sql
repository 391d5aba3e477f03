ALTER TABLE pgbatch.queue ADD COLUMN template_checked boolean NOT NULL DEFAULT true, ADD COLUMN template_error text;

CREATE TABLE pgbatch.action (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at           timestamptz NOT NULL DEFAULT pg_catalog.now(),
    role         text        NOT NULL,
    login        text        NOT NULL DEFAULT session_user,
    on_behalf_of text,
    action       text        NOT NULL,
    queue        text,
    batch_id     bigint,
    trigger_name text,
    detail       jsonb,
    reason       text
);
CREATE INDEX action_of_queue ON pgbatch.action (queue, id);
SELECT pg_catalog.pg_extension_config_dump('pgbatch.action', '');
SELECT pg_catalog.pg_extension_config_dump('pgbatch.action_id_seq', '');
ALTER TABLE pgbatch.batch ADD COLUMN traceparent text
    DEFAULT pg_catalog.substring(pg_catalog.current_setting('pgbatch.traceparent', true),
        '^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}');
DROP FUNCTION pgbatch.retry_batch(bigint);
DROP FUNCTION pgbatch.retry_failed_items(pgbatch.batch);

ALTER TABLE pgbatch.batch ADD COLUMN deadline timestamptz;
DROP INDEX pgbatch.batch_expires;
CREATE INDEX batch_expires ON pgbatch.batch (expires_at, deadline) WHERE expires_at IS NOT NULL OR deadline IS NOT NULL;
ALTER TABLE pgbatch.schedule ADD COLUMN finish_within interval;
DROP FUNCTION pgbatch.schedule(text, text, text, text, jsonb[], text, text, interval, text);
DROP FUNCTION pgbatch.register_schedule(text, text, text, text, jsonb[], text, interval, text, boolean);
DROP FUNCTION pgbatch.alter_schedule(text, text, text, jsonb[], text, interval, text, boolean);
