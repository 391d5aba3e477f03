-- Dead letters: what failed for good, what it died of, and how it runs again. The failed items stay where they are for `retain`, so
-- there is no second queue to look after. `one_cause` asks, `retry_cause` acts.
SELECT pgbatch.create_queue('mails', '{"spec": {"template": {"spec": {"containers": [
    {"name": "mail", "image": "shop/mail", "args": ["$(PGBATCH_ARG_TO)"]}]}}}}', max_attempts => 2);

-- One cause or many? Numbers are taken out of the words.
CREATE VIEW one_cause AS
SELECT b.queue, regexp_replace(i.error, '[0-9]+', '0', 'g') AS cause, count(*) AS items, min(i.finished_at) AS since,
    array_agg(DISTINCT b.id ORDER BY b.id) AS batches
FROM pgbatch.batches b JOIN pgbatch.items i ON i.batch_id = b.id
WHERE b.failed > 0 AND i.state = 'failed'
GROUP BY b.queue, cause;
SELECT * FROM one_cause ORDER BY items DESC;

-- Those of one queue with this in their cause, as a new batch. For all failed items of a batch, in that batch: retry_batch(id).
CREATE FUNCTION retry_cause(queue text, cause text) RETURNS bigint LANGUAGE sql AS $$
    SELECT pgbatch.enqueue_batch(retry_cause.queue, array_agg(i.item ORDER BY i.batch_id, i.item_no),
        label => 'again: ' || retry_cause.cause)
    FROM pgbatch.batches b JOIN pgbatch.items i ON i.batch_id = b.id
    WHERE b.queue = retry_cause.queue AND b.failed > 0 AND i.state = 'failed' AND strpos(i.error, retry_cause.cause) > 0
    HAVING count(*) > 0
$$;
