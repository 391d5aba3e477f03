-- How the dispatcher sleeps on the doorbell. Needs the library.

-- pgbatch.doorbell_seq: how often the doorbell has rung. Read it before looking for work.
CREATE FUNCTION pgbatch.doorbell_seq() RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'doorbell_seq_wrapper';

-- pgbatch.wait: sleeps until the doorbell has rung since `after` was read. Commits first, so that it holds no snapshot
-- while it sleeps. Can be cancelled.
--
-- Parameters:  after       what doorbell_seq() returned
--              timeout_ms  at most so long, in milliseconds; NULL = no limit
CREATE PROCEDURE pgbatch.wait(after bigint, timeout_ms bigint DEFAULT NULL)
LANGUAGE c AS 'MODULE_PATHNAME', 'wait_wrapper';

COMMENT ON PROCEDURE pgbatch.wait IS 'Dispatcher: sleeps until somebody commits work';
COMMENT ON FUNCTION pgbatch.doorbell_seq IS 'Dispatcher: how often the doorbell has rung';
