-- Idempotent enqueue: a client that does not know whether its call arrived calls again. While a batch with the unique key is open its
-- id comes back, and nothing is made; when it has ended the key is free.
SELECT pgbatch.create_queue('reports', '{"spec": {"template": {"spec": {"containers": [{"name": "report", "image": "shop/report"}]}}}}');
SELECT pgbatch.enqueue('reports', '{"month": "2026-01"}', unique_key => 'report 2026-01');
SELECT pgbatch.enqueue('reports', '{"month": "2026-01"}', unique_key => 'report 2026-01');

-- Once for ever, also after its end: remember it in a table of your own, in the same transaction.
CREATE TABLE requested (request text PRIMARY KEY, batch bigint);
CREATE FUNCTION request_report(request text, item jsonb) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    batch bigint;
BEGIN
    INSERT INTO requested VALUES (request_report.request) ON CONFLICT DO NOTHING;
    IF FOUND THEN
        UPDATE requested r SET batch = pgbatch.enqueue('reports', item) WHERE r.request = request_report.request;
    END IF;
    SELECT r.batch INTO batch FROM requested r WHERE r.request = request_report.request;
    RETURN batch;
END
$$;
SELECT request_report('2026-02', '{"month": "2026-02"}');
SELECT request_report('2026-02', '{"month": "2026-02"}');
