-- pgbatch.caller: the role that the session acts as. Inside a SECURITY DEFINER function current_user is the owner, so it
-- is read from where SET ROLE left it.
--
-- Returns:     the name of the role
CREATE FUNCTION pgbatch.caller() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE current_setting('role') WHEN 'none' THEN session_user::text ELSE current_setting('role') END
$$;
