-- The doorbell: everything that could give the dispatcher something to do calls ring(), and nothing else does it.

-- pgbatch.ring: wakes the dispatcher when the current transaction commits; several calls ring once.
--
-- Locks:       with NOTIFY, PostgreSQL's lock on the notification queue from the commit's beginning to its end
CREATE FUNCTION pgbatch.ring() RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT pg_notify('pgbatch', '')
$$;

-- pgbatch.ring_on_insert: trigger function.
CREATE FUNCTION pgbatch.ring_on_insert() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pgbatch.ring();
    RETURN NULL;
END
$$;

CREATE TRIGGER ring AFTER INSERT ON pgbatch.batch
    FOR EACH STATEMENT EXECUTE FUNCTION pgbatch.ring_on_insert();
