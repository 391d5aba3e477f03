-- pgbatch.in_restricted_operation: whether PostgreSQL runs somebody's code on another one's errand: a function of an index, of a
-- materialized view, a row trigger in a replication worker. There the session's role is not the caller's, so the session
-- may do nothing. Needs the library.
CREATE FUNCTION pgbatch.in_restricted_operation() RETURNS boolean
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'in_restricted_operation_wrapper';
