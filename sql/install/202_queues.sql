-- The queues: policy, and the items of their open batches by state.
CREATE VIEW pgbatch.queues AS
SELECT q.name, q.paused, q.max_parallel,
    coalesce(o.pending, 0) AS pending,
    coalesce(o.running, 0) AS running,
    coalesce(o.retrying, 0) AS retrying,
    coalesce(o.failed, 0) + coalesce(e.failed, 0) AS failed,
    o.oldest_pending,
    q.job_template, q.sql, q.sql_role, q.limit_name, q.items_per_run, q.max_attempts, q.retry_backoff, q.retry_backoff_max, q.run_timeout,
    q.namespace, q.priority, q.max_per_key, q.max_starts, q.max_starts_per, q.keep_succeeded, q.keep_failed, q.retain,
    q.options, q.created_at, q.created_by,
    CASE WHEN q.template_checked THEN q.template_error ELSE 'it has not been checked yet: a dispatcher does that' END AS template_error
FROM pgbatch.queue q
CROSS JOIN LATERAL (
    SELECT sum(b.pending) AS pending, sum(b.running) AS running, sum(b.retrying) AS retrying, sum(b.failed) AS failed,
        min(b.created_at) FILTER (WHERE b.pending > 0 AND b.state <> 'waiting') AS oldest_pending
    FROM pgbatch.open_batch o JOIN pgbatch.batches b ON b.id = o.id
    WHERE o.queue = q.name) o
CROSS JOIN LATERAL (
    SELECT sum(b.failed) AS failed FROM pgbatch.batch b WHERE b.queue = q.name AND b.failed > 0) e;

COMMENT ON VIEW pgbatch.queues IS 'Every queue, with its policy and the number of items by state';
COMMENT ON COLUMN pgbatch.queues.sql_role IS 'As whom the runs of its statement log in; NULL = by a login of the dispatcher''s, for statements of the extension''s owner';
COMMENT ON COLUMN pgbatch.queues.options IS 'pending_pod_conditions: until a pod has these, a run counts as pending; spring_batch: where the tables of Spring Batch are, by which its runs end';
COMMENT ON COLUMN pgbatch.queues.template_error IS 'What is wrong with job_template, where there is no library that refuses it; until it is corrected, nothing starts';
COMMENT ON COLUMN pgbatch.queues.pending IS 'Items that no run has had yet, those of waiting batches included';
COMMENT ON COLUMN pgbatch.queues.retrying IS 'Items whose last run failed and that wait for the next one';
COMMENT ON COLUMN pgbatch.queues.failed IS 'Items that failed for good, of every batch that is still kept';
COMMENT ON COLUMN pgbatch.queues.oldest_pending IS 'When the oldest batch that has pending items and waits for nothing else was made';
