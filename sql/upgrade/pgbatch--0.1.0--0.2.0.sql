ALTER TABLE pgbatch.queue ADD COLUMN template_checked boolean NOT NULL DEFAULT true, ADD COLUMN template_error text;
