-- Nobody but the owner may do anything, until he grants it.
REVOKE ALL ON ALL TABLES IN SCHEMA pgbatch FROM PUBLIC;
REVOKE ALL ON ALL ROUTINES IN SCHEMA pgbatch FROM PUBLIC;
