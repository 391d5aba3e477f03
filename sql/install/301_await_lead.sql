-- pgbatch.await_lead: sleeps until the session has the lock that try_lead() takes. Commits first, so that it holds no
-- snapshot while it sleeps. Can be cancelled. Needs the library.
--
-- Locks:       the leader's, until the session ends
CREATE PROCEDURE pgbatch.await_lead()
LANGUAGE c AS 'MODULE_PATHNAME', 'await_lead_wrapper';
COMMENT ON PROCEDURE pgbatch.await_lead IS 'Dispatcher: sleeps until the lead is free, and locks it';
