-- The limits, and how far each is used.
CREATE VIEW pgbatch.limits AS
SELECT l.name, l.max_parallel,
    (SELECT count(*)::int FROM pgbatch.run r JOIN pgbatch.queue q ON q.name = r.queue
     WHERE q.limit_name = l.name AND r.state IN ('starting', 'running')) AS running,
    ARRAY(SELECT q.name FROM pgbatch.queue q WHERE q.limit_name = l.name ORDER BY q.name) AS queues,
    l.created_at, l.created_by
FROM pgbatch.parallel_limit l;

COMMENT ON VIEW pgbatch.limits IS 'Every cap on the live runs of several queues together';
COMMENT ON COLUMN pgbatch.limits.running IS 'Live runs of all queues that name it';
