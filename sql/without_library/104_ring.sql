-- The doorbell without the library: NOTIFY pgbatch. It takes a lock of the whole cluster in each commit that rings, until that is
-- on disk; where many clients enqueue at once, the library is the faster way.

-- pgbatch.ring: wakes the dispatcher when, and only when, the current transaction commits; several calls ring once. A
-- transaction that has called it cannot be prepared (PREPARE TRANSACTION).
--
-- Errors:      42501 in a security-restricted operation
CREATE FUNCTION pgbatch.ring() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF pgbatch.in_restricted_operation() THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = 'pgbatch changes nothing within a security-restricted operation',
            HINT = 'Functions of indexes and materialized views are run in one, and row triggers by logical replication, unless '
                'the subscription has run_as_owner = true.';
    END IF;
    PERFORM pg_notify('pgbatch', '');
END
$$;

-- pgbatch.ring_on_insert: trigger function: ring().
CREATE FUNCTION pgbatch.ring_on_insert() RETURNS trigger
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pgbatch.ring();
    RETURN NULL;
END
$$;
