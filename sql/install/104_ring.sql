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
