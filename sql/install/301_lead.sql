-- The leader's lock: one dispatcher works for a database. It is an advisory lock of the session, so the server frees it
-- when the dispatcher's connection is gone.

-- pgbatch.leader_key: the key of the lock: "pgbatch" in ASCII.
CREATE FUNCTION pgbatch.leader_key() RETURNS bigint
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 31638869631066984
$$;

-- pgbatch.try_lead: takes the lock if nobody has it.
--
-- Returns:     whether the session has it now
-- Locks:       the leader's, until the session ends
CREATE FUNCTION pgbatch.try_lead() RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT pg_try_advisory_lock(pgbatch.leader_key())
$$;

-- pgbatch.lead: who this database is to a cluster.
--
-- Returns:     the id of the installation
-- Writes:      installation, the first time
CREATE FUNCTION pgbatch.lead() RETURNS uuid
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO pgbatch.installation DEFAULT VALUES ON CONFLICT DO NOTHING;
    SELECT i.id FROM pgbatch.installation i;
$$;
COMMENT ON FUNCTION pgbatch.try_lead IS 'Dispatcher: takes the leader''s lock if it is free';
COMMENT ON FUNCTION pgbatch.lead IS 'Dispatcher: the id of the installation';
