-- The triggers, and what each made last.
CREATE VIEW pgbatch.triggers AS
SELECT t.name, t.kind, t.queue,
    coalesce(s.enabled, t.enabled) AS enabled,
    b.created_at AS last_fired_at,
    coalesce(k.lag::numeric, d.value::numeric, b.items) AS last_value,
    coalesce(r.error, k.error, s.error) AS error,
    t.source::text AS source, t.condition,
    CASE WHEN t.kind <> 'insert' THEN pg_catalog.pg_get_viewdef(t.source) END AS query, t.created_at, t.created_by,
    s.cron, s.timezone, s.next_runs, s.skipped_at, s.finish_within
FROM pgbatch.live_triggers t
LEFT JOIN pgbatch.watch_run r ON r.trigger_name = t.name
LEFT JOIN pgbatch.kafka_trigger k ON k.trigger_name = t.name
LEFT JOIN pgbatch.schedule s ON s.trigger_name = t.name
LEFT JOIN pgbatch.demand d ON d.trigger_name = t.name
LEFT JOIN LATERAL (
    SELECT b.created_at, b.items FROM pgbatch.batch b WHERE b.trigger_name = t.name ORDER BY b.id DESC LIMIT 1) b ON true;

COMMENT ON VIEW pgbatch.triggers IS 'Everything that adds work by itself';
COMMENT ON COLUMN pgbatch.triggers.kind IS 'insert: made by enqueue_on_insert(); rows: by watch_rows(); count: by watch_count(); kafka: by watch_kafka(); schedule: by schedule()';
COMMENT ON COLUMN pgbatch.triggers.enabled IS 'False where one of its tables has it disabled: ALTER TABLE ... DISABLE TRIGGER; or by alter_schedule()';
COMMENT ON COLUMN pgbatch.triggers.last_fired_at IS 'When the latest of its batches that are kept was made';
COMMENT ON COLUMN pgbatch.triggers.last_value IS 'Items of that batch; the lag of a consumer group of Kafka; what the query of watch_count() returned';
COMMENT ON COLUMN pgbatch.triggers.condition IS 'Which rows; NULL = all';
COMMENT ON COLUMN pgbatch.triggers.error IS 'Why its query failed the last time, or what is not noticed';
COMMENT ON COLUMN pgbatch.triggers.next_runs IS 'Its next occurrences; one that has passed is missed, or fails: see error';
COMMENT ON COLUMN pgbatch.triggers.skipped_at IS 'The latest occurrence that was left out because the batch before it was open';
COMMENT ON COLUMN pgbatch.triggers.finish_within IS 'How long after its occurrence a batch must have finished';
