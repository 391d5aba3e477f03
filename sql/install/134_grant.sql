-- pgbatch.grant: gives a role, and whoever is a member of it, a right on a queue, with all privileges on the schema, its functions
-- and its views that it needs.
--
-- The right is the role's: where a role of this name is dropped or renamed it holds for nobody, and a later role of the same
-- name has to be granted it again. DROP ROLE refuses until DROP OWNED BY has taken the privileges. A dump takes rights
-- along, and they hold for the roles that have the names where it is restored.
--
-- Parameters:  queue  which queue; '*' = each that there is or will be, by the extension's owner only
--              role   which role
--              what   enqueue  make batches
--                     manage   change it, its Job template included; pause, cancel, retry; make triggers, which go on when the
--                              right is revoked, and change one's own
--                     read     see it and what is in it: views, explain_item(), wait_batch(), spring_steps()
--                     own      all of it, change all triggers, grant, and drop it; by the extension's owner only. A role that
--                              may call create_queue() has it on what it makes
-- Errors:      22023 for a bad argument, 42704 for an unknown queue or role, 42501 for a caller who may not grant it
-- Locks:       queue_right, against other grants, not against anybody else
-- Writes:      queue_right; privileges
CREATE FUNCTION pgbatch.grant(queue text, role text, what text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pgbatch.check_grant(queue, role, what);
    IF to_regrole(quote_ident(role)) IS NULL THEN
        PERFORM pgbatch.reject_unknown(format('role "%s" does not exist', role), 'CREATE ROLE makes one.');
    END IF;
    PERFORM pgbatch.give(queue, role, what);
END
$$;
COMMENT ON FUNCTION pgbatch.grant IS
    'Gives a role a right on a queue: enqueue, manage, read or own; ''*'' = on all queues';

-- pgbatch.check_grant: checks what grant() or revoke() is asked for.
--
-- Parameters, Errors: as grant()
CREATE FUNCTION pgbatch.check_grant(queue text, role text, what text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF num_nulls(queue, role, what) > 0 THEN
        PERFORM pgbatch.reject(format('%s must not be NULL',
                CASE WHEN queue IS NULL THEN 'queue' WHEN role IS NULL THEN 'role' ELSE 'what' END),
            'For example pgbatch.grant(''claps'', ''shop'', ''enqueue'').');
    END IF;
    IF what NOT IN ('enqueue', 'manage', 'read', 'own') THEN
        PERFORM pgbatch.reject(format('what is invalid: %L', what), 'Give ''enqueue'', ''manage'', ''read'' or ''own''.');
    END IF;
    PERFORM pgbatch.check_right(CASE what WHEN 'own' THEN '*' ELSE queue END, 'own');
    IF queue <> '*' AND NOT EXISTS (SELECT FROM pgbatch.queue q WHERE q.name = check_grant.queue) THEN
        PERFORM pgbatch.reject_unknown_queue(queue);
    END IF;
END
$$;

-- pgbatch.give: writes a right down, and gives what it brings.
--
-- Parameters:  as grant(), or a right of queue_right that grant() does not give
-- Locks:       queue_right, against others that do so
-- Writes:      queue_right; privileges
CREATE FUNCTION pgbatch.give(queue text, role text, what text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    LOCK TABLE pgbatch.queue_right IN SHARE ROW EXCLUSIVE MODE;
    -- Of roles that are gone.
    DELETE FROM pgbatch.queue_right r WHERE r.role_id IS DISTINCT FROM to_regrole(quote_ident(r.role_name));
    INSERT INTO pgbatch.queue_right (queue, what, role_name, granted_by) VALUES (queue, what, role, pgbatch.caller())
    ON CONFLICT DO NOTHING;
    PERFORM pgbatch.note_action('grant', queue, jsonb_build_object('role', role, 'what', what));
    PERFORM pgbatch.settle_privileges(role);
END
$$;
