-- pgbatch.caller: the role that the session acts as. Inside a SECURITY DEFINER function current_user is the owner, so it
-- is read from where SET ROLE left it.
--
-- Without SET, so that the planner puts it into the statement that asks: a call took as long as a third of an enqueue. Hence
-- each name in it has its schema.
--
-- Returns:     the name of the role
CREATE FUNCTION pgbatch.caller() RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN pg_catalog.current_setting('role') OPERATOR(pg_catalog.=) 'none' THEN session_user::text
        ELSE pg_catalog.current_setting('role') END
$$;
