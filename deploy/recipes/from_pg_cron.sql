-- From pg_cron: for those who have it. pgbatch.schedule() needs no other extension, knows time zones and misses nothing. pg_cron runs
-- the command as the role that scheduled it, in UTC, and skips what comes while the server is down.
SELECT pgbatch.create_queue('tidy', '{"spec": {"template": {"spec": {"containers": [{"name": "tidy", "image": "shop/tidy"}]}}}}');

-- The unique key lets no second one start while the first is open.
SELECT cron.schedule('tidy', '*/15 * * * *', $$SELECT pgbatch.enqueue('tidy', '{"from": "pg_cron"}', unique_key => 'tidy')$$);
