-- pgbatch.grant_dispatcher: gives a role what "pgbatch dispatch" needs, and nothing else. It need not be a superuser, and owns
-- nothing. Who connects as it can claim the items of every queue and say how they ended: let nobody else.
--
-- Parameters:  role         which role
--              scaled_jobs  for "dispatch --scaled-jobs": the ScaledJobs of the cluster become queues and triggers, whose queries
--                           run as the extension's owner
-- Errors:      22023 for a bad argument, 42704 for an unknown role, 42501 for a caller who is neither the extension's owner nor a
--              superuser
-- Locks:       queue_right, against other grants, not against anybody else
-- Writes:      queue_right; privileges
CREATE FUNCTION pgbatch.grant_dispatcher(role text, scaled_jobs boolean DEFAULT false) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF num_nulls(role, scaled_jobs) > 0 THEN
        PERFORM pgbatch.reject(format('%s must not be NULL', CASE WHEN role IS NULL THEN 'role' ELSE 'scaled_jobs' END),
            'For example pgbatch.grant_dispatcher(''dispatcher'').');
    END IF;
    PERFORM pgbatch.check_grant('*', role, 'own');
    IF to_regrole(quote_ident(role)) IS NULL THEN
        PERFORM pgbatch.reject_unknown(format('role "%s" does not exist', role), 'CREATE ROLE makes one.');
    END IF;
    PERFORM pgbatch.give('*', role, 'dispatch');
    IF scaled_jobs THEN
        PERFORM pgbatch.give('*', role, 'scaled_jobs');
    END IF;
END
$$;
COMMENT ON FUNCTION pgbatch.grant_dispatcher IS 'Gives a role what pgbatch dispatch needs';

-- pgbatch.revoke_dispatcher: takes from a role what grant_dispatcher() gave it.
--
-- Parameters, Errors, Locks, Writes: as grant_dispatcher()
CREATE FUNCTION pgbatch.revoke_dispatcher(role text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF role IS NULL THEN
        PERFORM pgbatch.reject('role must not be NULL', 'For example pgbatch.revoke_dispatcher(''dispatcher'').');
    END IF;
    PERFORM pgbatch.check_grant('*', role, 'own');
    PERFORM pgbatch.take('*', role, '{dispatch,scaled_jobs}');
END
$$;
COMMENT ON FUNCTION pgbatch.revoke_dispatcher IS 'Takes from a role what pgbatch.grant_dispatcher() gave it';
