-- The lead: one dispatcher works for a database. It has an advisory lock of its session, so the server frees it when the
-- dispatcher's connection is gone; and a number, its epoch, by which PostgreSQL refuses what a deposed one still says:
-- one whose pooler lost its lock, or whose call was on its way.

-- pgbatch.leader_key: the key of the lock: "pgbatch" in ASCII.
CREATE FUNCTION pgbatch.leader_key() RETURNS bigint
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 31638869631066984
$$;

-- pgbatch.try_lead: takes the lead if nobody has it.
--
-- Returns:     {"installation", "epoch"}: who this database is to a cluster, and the number of the new leader; NULL if
--              another one leads
-- Locks:       the leader's, until the session ends
-- Writes:      installation
CREATE FUNCTION pgbatch.try_lead() RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    lead jsonb;
BEGIN
    IF NOT pg_try_advisory_lock(pgbatch.leader_key()) THEN
        RETURN NULL;
    END IF;
    INSERT INTO pgbatch.installation DEFAULT VALUES ON CONFLICT DO NOTHING;
    -- Waits for the calls of earlier leaders that have begun; those that have not will be refused.
    UPDATE pgbatch.installation i SET epoch = i.epoch + 1
    RETURNING jsonb_build_object('installation', i.id, 'epoch', i.epoch) INTO lead;
    RETURN lead;
END
$$;
COMMENT ON FUNCTION pgbatch.try_lead IS 'Dispatcher: takes the lead if it is free';

-- pgbatch.check_epoch: refuses the call of a dispatcher that does not lead any more.
--
-- Parameters:  epoch  what try_lead() told it
-- Errors:      55000 if a later one leads
-- Locks:       the installation's row, shared, to the transaction's end: the next leader's first call waits for it
CREATE FUNCTION pgbatch.check_epoch(epoch bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM pgbatch.installation i WHERE i.epoch = check_epoch.epoch FOR SHARE;
    IF NOT FOUND THEN
        PERFORM pgbatch.reject_epoch(epoch);
    END IF;
END
$$;

-- pgbatch.reject_epoch: raises the ERROR of a dispatcher that does not lead.
--
-- Parameters:  epoch  what it said
-- Returns:     never
-- Errors:      55000
CREATE FUNCTION pgbatch.reject_epoch(epoch bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
        MESSAGE = format('the dispatcher of epoch %s does not lead, that of epoch %s does', coalesce(epoch::text, 'NULL'),
            coalesce((SELECT i.epoch FROM pgbatch.installation i), 0)),
        HINT = 'It reconnects and stands by. A pooler in transaction mode between the two loses the lead: connect directly.';
END
$$;
