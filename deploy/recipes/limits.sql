-- Limits: how many at a time, and how many in an hour. They hold exactly, also while a second dispatcher takes over. A shared limit
-- is given by the extension's owner.
SELECT pgbatch.create_limit('mail-server', 3);
SELECT pgbatch.create_queue('letters', '{"spec": {"template": {"spec": {"containers": [{"name": "letter", "image": "shop/letter"}]}}}}',
    max_parallel => 2, limit_name => 'mail-server');                       -- 2 at a time
SELECT pgbatch.create_queue('parcels', '{"spec": {"template": {"spec": {"containers": [{"name": "parcel", "image": "shop/parcel"}]}}}}',
    limit_name => 'mail-server');                                          -- and with the letters 3
SELECT pgbatch.create_queue('api-calls', '{"spec": {"template": {"spec": {"containers": [{"name": "call", "image": "shop/call"}]}}}}',
    max_starts => 4, max_starts_per => '1 h');                             -- 4 starts in any hour

SELECT pgbatch.enqueue_query(queue, 'SELECT i FROM generate_series(1, 10) i') FROM unnest('{letters,parcels,api-calls}'::text[]) queue;

-- A limit is changed while it works; the next look of the dispatcher obeys.
SELECT pgbatch.alter_limit('mail-server', 5);
SELECT name, running, max_parallel FROM pgbatch.limits;
