-- How far each running batch is, in items, from its runs; for the views "batches" and "queues".
--   claimed   had by some run          live       in live runs        reported  of these, reported as succeeded
--   retrying  wait for their next one  succeeded, failed              by ended runs
CREATE VIEW pgbatch.batch_progress AS
SELECT b.id, r.claimed, r.live, p.reported, t.retrying, r.succeeded, r.failed
FROM pgbatch.batch b
CROSS JOIN LATERAL (
    SELECT coalesce(max(r.last_item) FILTER (WHERE r.attempt = 1), 0) AS claimed,
        coalesce(sum(r.last_item - r.first_item + 1) FILTER (WHERE r.finished_at IS NULL), 0)::int AS live,
        coalesce(sum(r.succeeded), 0)::int AS succeeded,
        coalesce(sum(r.failed), 0)::int AS failed
    FROM pgbatch.run r WHERE r.batch_id = b.id) r
CROSS JOIN LATERAL (
    SELECT coalesce(sum(p.last_item - p.first_item + 1), 0)::int AS reported
    FROM pgbatch.run r JOIN pgbatch.report p ON p.run_id = r.id
    WHERE r.batch_id = b.id AND r.state IN ('starting', 'running') AND p.state = 'succeeded') p
CROSS JOIN LATERAL (
    SELECT coalesce(sum(t.last_item - t.first_item + 1), 0)::int AS retrying
    FROM pgbatch.retry t WHERE t.batch_id = b.id AND t.due_at IS NOT NULL) t
WHERE b.state = 'running';
