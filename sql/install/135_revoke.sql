-- pgbatch.revoke: takes a right on a queue from a role, and the privileges that none of its other rights brings. What it has
-- enqueued stays, and triggers that it has made go on. A right that it has not is none to take.
--
-- Parameters:  as grant(); what it does not name stays: a right on '*' is one of its own
-- Errors:      as grant()
-- Locks:       queue_right, against other grants, not against anybody else
-- Writes:      queue_right; privileges
CREATE FUNCTION pgbatch.revoke(queue text, role text, what text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pgbatch.check_grant(queue, role, what);
    PERFORM pgbatch.take(queue, role, ARRAY[what]);
END
$$;
COMMENT ON FUNCTION pgbatch.revoke IS 'Takes a right on a queue from a role';

-- pgbatch.take: deletes rights of a role on a queue, and takes what they have brought.
--
-- Parameters:  as revoke(); what  the rights
-- Errors:      42704 for a role that neither exists nor has left anything
-- Locks:       queue_right, against others that do so
-- Writes:      queue_right; privileges
CREATE FUNCTION pgbatch.take(queue text, role text, what text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    LOCK TABLE pgbatch.queue_right IN SHARE ROW EXCLUSIVE MODE;
    PERFORM pgbatch.note_action('revoke', queue, jsonb_build_object('role', role, 'what', what));
    DELETE FROM pgbatch.queue_right r WHERE r.queue = take.queue AND r.role_name = take.role AND r.what = ANY (take.what);
    IF to_regrole(quote_ident(role)) IS NOT NULL THEN
        PERFORM pgbatch.settle_privileges(role);
    ELSIF NOT FOUND THEN
        PERFORM pgbatch.reject_unknown(format('role "%s" does not exist', role), 'The view pgbatch.rights lists who has one.');
    END IF;
END
$$;

-- pgbatch.forget_rights: deletes all rights on a queue that is dropped.
--
-- Parameters:  queue  which queue
-- Locks:       queue_right, against others that do so
-- Writes:      queue_right; privileges
CREATE FUNCTION pgbatch.forget_rights(queue text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    role text;
BEGIN
    LOCK TABLE pgbatch.queue_right IN SHARE ROW EXCLUSIVE MODE;
    FOR role IN
        WITH deleted AS (DELETE FROM pgbatch.queue_right r WHERE r.queue = forget_rights.queue RETURNING r.role_name, r.role_id)
        SELECT DISTINCT d.role_name FROM deleted d WHERE d.role_id = to_regrole(quote_ident(d.role_name))
    LOOP
        PERFORM pgbatch.settle_privileges(role);
    END LOOP;
END
$$;
