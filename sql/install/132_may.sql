-- Who may do what with a queue. EXECUTE on a function opens none: each asks here, or as here.

-- pgbatch.may: whether the caller has a right on a queue. One look-up in an index, whatever the plan.
--
-- Called by SECURITY DEFINER functions only, so current_user is the extension's owner.
--
-- Parameters:  queue  which queue; '*' = all of them
--              what   enqueue, manage, read or own; NULL = any
-- Returns:     also true for the extension's owner and a superuser, whether there is such a queue or not
CREATE FUNCTION pgbatch.may(queue text, what text) RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN NOT pgbatch.in_restricted_operation() AND (
        pg_has_role(pgbatch.caller(), current_user, 'USAGE')
        OR EXISTS (
            SELECT FROM pgbatch.queue_right r
            WHERE r.queue IN (may.queue, '*') AND (may.what IS NULL OR r.what IN (may.what, 'own', 'scaled_jobs'))
                AND r.role_id = to_regrole(quote_ident(r.role_name)) AND pg_has_role(pgbatch.caller(), r.role_id, 'USAGE')));
END
$$;

-- pgbatch.check_right: refuses a caller who has not a right on a queue. What he may not use is to him as if it were not there.
--
-- Parameters:  queue  which queue; NULL = of something that does not exist
--              what   as may()
--              named  what the caller has named, if that is not the queue: 'batch 7'
-- Errors:      42501
CREATE FUNCTION pgbatch.check_right(queue text, what text, named text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT pgbatch.may(queue, what) THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = CASE WHEN queue = '*' THEN format('role "%s" has not the right "%s" on all queues', pgbatch.caller(), what)
                ELSE format('%s does not exist, or role "%s" has not the right "%s" on %s',
                    coalesce(named, format('queue %s', coalesce('"' || queue || '"', 'NULL'))), pgbatch.caller(), what,
                    CASE WHEN named IS NULL THEN 'it' ELSE 'its queue' END) END,
            HINT = format('The view pgbatch.rights lists what the role has. An owner grants: SELECT pgbatch.grant(%s, %L, %L).',
                CASE WHEN named IS NULL THEN quote_nullable(queue) ELSE '...' END, pgbatch.caller(), what);
    END IF;
END
$$;

-- pgbatch.check_batch_right: the same for the queue of a batch.
--
-- Parameters:  batch_id  which batch; one that does not exist is refused unless the caller may do everything
--              what      as may()
-- Errors:      42501
CREATE FUNCTION pgbatch.check_batch_right(batch_id bigint, what text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pgbatch.check_right((SELECT b.queue FROM pgbatch.batch b WHERE b.id = batch_id), what,
        format('batch %s', coalesce(batch_id::text, 'NULL')));
END
$$;

-- pgbatch.check_trigger_right: the same for the queue of a trigger, which must be managed.
--
-- Parameters:  name  which trigger
-- Errors:      42501
CREATE FUNCTION pgbatch.check_trigger_right(name text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pgbatch.check_right((SELECT t.queue FROM pgbatch.trigger t WHERE t.name = check_trigger_right.name), 'manage',
        format('trigger %s', coalesce('"' || name || '"', 'NULL')));
END
$$;

-- pgbatch.sql_author: as whom the runs of a statement log in: as whoever wrote it, so that a statement can do no more than he.
--
-- Parameters:  queue  which queue is to have it; NULL = one that is being made
--              sql    the statement; NULL = none
-- Returns:     the role; NULL = there is no statement, or the caller is the extension's owner or a superuser
-- Errors:      42501 for a caller who does not own the queue; 22023 for a role that cannot log in
CREATE FUNCTION pgbatch.sql_author(queue text, sql text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF sql IS NULL OR pgbatch.may('*', 'own') THEN
        RETURN NULL;
    END IF;
    IF queue IS NOT NULL THEN
        PERFORM pgbatch.check_right(queue, 'own');
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = pgbatch.caller() AND r.rolcanlogin) THEN
        PERFORM pgbatch.reject(format('role "%s" cannot log in, and the runs of a statement log in as the role that wrote it',
            pgbatch.caller()), 'SET ROLE to one that can; or have the extension''s owner give the statement.');
    END IF;
    RETURN pgbatch.caller();
END
$$;

-- pgbatch.check_sql_login: refuses the statement of a queue to a session that has not logged in as the role that wrote it, or
-- where that role does not own the queue any more.
--
-- Parameters:  q  the queue
-- Errors:      42501
CREATE FUNCTION pgbatch.check_sql_login(q pgbatch.queue) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF q.sql_role <> session_user::text THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = format('the statement of queue "%s" is by role "%s", and this session logged in as "%s"', q.name, q.sql_role,
                session_user),
            HINT = 'The dispatcher''s --sql-secrets names the Secret with the login of each role.';
    ELSIF q.sql_role IS NOT NULL AND NOT EXISTS (
        SELECT FROM pgbatch.queue_right r
        WHERE r.queue IN (q.name, '*') AND r.what = 'own' AND r.role_id = to_regrole(quote_ident(r.role_name))
            AND pg_has_role(session_user, r.role_id, 'USAGE')) THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = format('the statement of queue "%s" is by role "%s", which does not own the queue any more', q.name,
                q.sql_role),
            HINT = 'Have an owner give the statement again, with pgbatch.alter_queue().';
    END IF;
END
$$;

-- pgbatch.check_confined: refuses settings of a queue that reach beyond it: a namespace may be another team's, a limit is shared
-- with other queues.
--
-- Parameters:  q    as it is to be
--              old  as it is; NULL = new
-- Errors:      42501 for a caller who is neither the extension's owner nor a superuser
CREATE FUNCTION pgbatch.check_confined(q pgbatch.queue, old pgbatch.queue) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    setting text;
BEGIN
    SELECT s.name INTO setting
    FROM (VALUES ('namespace', q.namespace, old.namespace), ('limit_name', q.limit_name, old.limit_name)) s (name, new, old)
    WHERE s.new IS DISTINCT FROM s.old LIMIT 1;
    IF FOUND AND NOT pgbatch.may('*', 'own') THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = format('%s may be set by the extension''s owner only, by %I', setting, current_user),
            HINT = format('It reaches beyond the queue. SET ROLE %I, if you may; or leave it as it is.', current_user);
    END IF;
END
$$;
