-- The done bell: how wait_batch() sleeps until some batch ends, without polling and without a NOTIFY. It is a sequence
-- number and a condition variable in shared memory. Needs the library.

-- pgbatch.ring_done: rings the bell when, and only when, the current transaction commits.
CREATE FUNCTION pgbatch.ring_done() RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'ring_done_wrapper';

-- pgbatch.done_seq: how often the bell has rung. Read it before looking at what one waits for.
CREATE FUNCTION pgbatch.done_seq() RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'done_seq_wrapper';

-- pgbatch.await_done: sleeps until the bell has rung since `seq` was read. Can be cancelled.
--
-- Parameters:  seq         what done_seq() returned
--              timeout_ms  at most so long, in milliseconds; NULL = no limit
CREATE FUNCTION pgbatch.await_done(seq bigint, timeout_ms bigint) RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'await_done_wrapper';
