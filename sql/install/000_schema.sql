-- The schema belongs to the extension: created here and not by CREATE EXTENSION, so that a schema of this name which
-- somebody else owns stops the installation instead of giving him a say in it, and DROP EXTENSION takes it away.
CREATE SCHEMA pgbatch;
COMMENT ON SCHEMA pgbatch IS 'Batches in PostgreSQL, run as Kubernetes Jobs';
