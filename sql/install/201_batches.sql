-- The batches, with their progress in items: the six counts add up to `items`.
CREATE VIEW pgbatch.batches AS
SELECT b.id, b.queue, b.label, b.state::text AS state, b.items,
    n.pending, n.running, n.retrying, n.succeeded, n.failed,
    b.items - n.pending - n.running - n.retrying - n.succeeded - n.failed AS cancelled,
    b.priority, b.key, b.unique_key, b.not_before, b.after, b.max_attempts,
    b.created_at, b.created_by, b.started_at, b.finished_at, b.cancel_requested_at, b.cancel_reason, b.deadline
FROM pgbatch.batch b
LEFT JOIN pgbatch.batch_progress p ON p.id = b.id AND b.state = 'running'
CROSS JOIN LATERAL (
    SELECT CASE WHEN b.finished_at IS NULL AND b.cancel_requested_at IS NULL
            THEN b.items - coalesce(p.claimed, 0) ELSE 0 END AS pending,
        coalesce(p.live - p.reported, 0) AS running,
        coalesce(p.retrying, 0) AS retrying,
        coalesce(b.succeeded, p.succeeded + p.reported, 0) AS succeeded,
        coalesce(b.failed, p.failed, 0) AS failed) n;

COMMENT ON VIEW pgbatch.batches IS 'Every batch, with its state and progress';
COMMENT ON COLUMN pgbatch.batches.state IS 'waiting, pending, running, succeeded, failed or cancelled';
COMMENT ON COLUMN pgbatch.batches.items IS 'Number of items; the six counts that follow add up to it';
COMMENT ON COLUMN pgbatch.batches.retrying IS 'Items whose last run failed and that wait for the next one';
COMMENT ON COLUMN pgbatch.batches.failed IS 'Items that failed for good, until retry_batch()';
COMMENT ON COLUMN pgbatch.batches.after IS 'The batches that must succeed first';
COMMENT ON COLUMN pgbatch.batches.deadline IS 'When it must have finished, by set_deadline() or the schedule''s finish_within; for people';
COMMENT ON COLUMN pgbatch.batches.cancel_requested_at IS 'Since when it is being cancelled; its live runs stop first';
