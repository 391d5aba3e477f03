-- The doorbell: everything that could give the dispatcher something to do calls ring(), and nothing else does it. It is
-- a sequence number and a condition variable in shared memory, so it takes no lock in anybody's commit: NOTIFY takes one
-- of the whole cluster, until the commit is on disk. Needs the library.

-- pgbatch.ring: wakes the dispatcher when, and only when, the current transaction commits; several calls ring once. A
-- transaction that has called it cannot be prepared (PREPARE TRANSACTION).
CREATE FUNCTION pgbatch.ring() RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'ring_wrapper';

-- pgbatch.ring_on_insert: trigger function: ring().
CREATE FUNCTION pgbatch.ring_on_insert() RETURNS trigger
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'ring_on_insert_wrapper';

-- Before, not after: what is called after a statement is queued first, which took an eighth of an enqueue's time. It rings
-- when the transaction commits in any case.
CREATE TRIGGER ring BEFORE INSERT ON pgbatch.batch
    FOR EACH STATEMENT EXECUTE FUNCTION pgbatch.ring_on_insert();
-- Also in sessions that are replicas: what a row trigger on a subscriber's table enqueues is work as any other.
ALTER TABLE pgbatch.batch ENABLE ALWAYS TRIGGER ring;

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
