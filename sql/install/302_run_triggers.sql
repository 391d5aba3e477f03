-- pgbatch.run_triggers: what the dispatcher's look does for triggers that need it: schedules, queries whose tables
-- have changed, and demand; in this order, as demand is what such a query returned.
--
-- Parameters:  epoch  of the dispatcher that asks
-- Returns:     when to come back at the latest; NULL = only when something changes
-- Errors:      55000 if another dispatcher leads
-- Writes:      as fire_schedules(), run_watches() and scale_queues()
CREATE FUNCTION pgbatch.run_triggers(epoch bigint) RETURNS timestamptz
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pgbatch.trigger) THEN
        RETURN NULL;
    END IF;
    RETURN least(pgbatch.fire_schedules(epoch), pgbatch.run_watches(epoch), pgbatch.scale_queues(epoch));
END
$$;
