ALTER TABLE pgbatch.queue ADD COLUMN template_checked boolean NOT NULL DEFAULT true, ADD COLUMN template_error text;
ALTER TABLE pgbatch.batch ADD COLUMN traceparent text
    DEFAULT pg_catalog.substring(pg_catalog.current_setting('pgbatch.traceparent', true),
        '^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}');
