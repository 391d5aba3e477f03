-- pgbatch.in_restricted_operation: whether PostgreSQL runs somebody's code on another one's errand: a function of an index, of a
-- materialized view, a row trigger in a replication worker. There the session's role is not the caller's, so the session
-- may do nothing. Without the library it tries something that is harmless, and refused there: see CheckRestrictedOperation()
-- in PostgreSQL's utility.c.
CREATE FUNCTION pgbatch.in_restricted_operation() RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UNLISTEN pgbatch_is_never_listened_to;
    RETURN false;
EXCEPTION WHEN insufficient_privilege THEN
    RETURN true;
END
$$;
