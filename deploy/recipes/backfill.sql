-- Backfill: the days of last month once more, beside the daily work and behind it.
SELECT pgbatch.create_queue('days', '{"spec": {"template": {"spec": {"containers": [
    {"name": "day", "image": "shop/day", "args": ["$(PGBATCH_ARG_DAY)"]}]}}}}', max_parallel => 4);

-- Of any days: a lower priority lets today's work go first.
SELECT pgbatch.enqueue_query('days', $$SELECT day::date AS day
    FROM generate_series(timestamp '2026-01-01', timestamp '2026-01-31', '1 day') day ORDER BY day$$,
    label => 'January again', priority => -10);

-- Of a schedule: the occurrences that no batch was made of. A second call makes none.
SELECT pgbatch.schedule('daily', 'days', '0 3 * * *');
SELECT pgbatch.backfill('daily', '2026-02-01', '2026-03-01');
