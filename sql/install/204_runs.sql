-- The runs, without what fences them.
CREATE VIEW pgbatch.runs AS
SELECT r.id, r.queue, r.batch_id, r.first_item, r.last_item, r.attempt, r.state::text AS state,
    r.queue || '-' || r.id AS job_name, r.namespace,
    r.created_at, r.started_at, r.finished_at, r.exit_code, r.reason, r.message, r.result,
    r.disrupted, r.heartbeat_at
FROM pgbatch.run r
-- Those of a batch that is being deleted are not to be seen any more.
WHERE EXISTS (SELECT FROM pgbatch.batch b WHERE b.id = r.batch_id);

COMMENT ON VIEW pgbatch.runs IS 'Every run: one attempt at one or more items of a batch, one Kubernetes Job';
COMMENT ON COLUMN pgbatch.runs.state IS 'starting, running, succeeded, failed, timed_out, lost or cancelled';
COMMENT ON COLUMN pgbatch.runs.namespace IS 'Where its Job lives; NULL = the dispatcher''s own namespace';
COMMENT ON COLUMN pgbatch.runs.exit_code IS 'Of the container that decided the outcome; 128 + n for signal n';
COMMENT ON COLUMN pgbatch.runs.reason IS 'Why it does not start, while it is starting; how it ended';
COMMENT ON COLUMN pgbatch.runs.message IS 'What Kubernetes says of that, or the termination message';
COMMENT ON COLUMN pgbatch.runs.disrupted IS 'It was evicted, drained or preempted, which burns no attempt';
COMMENT ON COLUMN pgbatch.runs.heartbeat_at IS 'Its last call of heartbeat()';
