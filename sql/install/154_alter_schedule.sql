-- pgbatch.alter_schedule: changes a schedule. What has occurred stays as it is. With another expression or time zone, or when
-- it is enabled again, it goes on with the first occurrence after now.
--
-- Parameters:  name     which schedule
--              enabled  false: nothing occurs, and nothing counts as missed
--              the others as for schedule(); NULL = unchanged. finish_within '0': no deadline any more
-- Errors:      22023 for a bad argument, 42704 for an unknown schedule, 42501 if it is not the caller's
-- Locks:       the schedule's row
-- Writes:      schedule
CREATE FUNCTION pgbatch.alter_schedule(
    name text, cron text DEFAULT NULL, timezone text DEFAULT NULL, items jsonb[] DEFAULT NULL, missed text DEFAULT NULL,
    missed_window interval DEFAULT NULL, overlap text DEFAULT NULL, enabled boolean DEFAULT NULL,
    finish_within interval DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    old CONSTANT pgbatch.schedule := pgbatch.lock_schedule(name);
    new pgbatch.schedule := old;
BEGIN
    IF items IS NOT NULL AND EXISTS (SELECT FROM pgbatch.trigger t WHERE t.name = alter_schedule.name AND t.source IS NOT NULL) THEN
        PERFORM pgbatch.reject('items are those of the query', 'Drop the schedule with pgbatch.drop_trigger(), and make it again.');
    END IF;
    new.cron := coalesce(cron, old.cron);
    new.timezone := coalesce(timezone, old.timezone);
    new.items := coalesce(items, old.items);
    new.missed := coalesce(missed, old.missed);
    new.missed_window := coalesce(missed_window, old.missed_window);
    new.overlap := coalesce(overlap, old.overlap);
    new.enabled := coalesce(enabled, old.enabled);
    new.finish_within := nullif(coalesce(finish_within, old.finish_within), '0');
    PERFORM pgbatch.check_schedule(new);
    IF (new.cron, new.timezone, new.enabled) IS DISTINCT FROM (old.cron, old.timezone, old.enabled) THEN
        new.next_runs := CASE WHEN new.enabled THEN pgbatch.next_runs(new, now()) ELSE '{}' END;
    END IF;
    UPDATE pgbatch.schedule s SET cron = new.cron, timezone = new.timezone, items = new.items, missed = new.missed,
        missed_window = new.missed_window, overlap = new.overlap, enabled = new.enabled, finish_within = new.finish_within,
        next_runs = new.next_runs, due_at = new.next_runs[1], error = NULL, failures = 0
    WHERE s.trigger_name = alter_schedule.name;
    PERFORM pgbatch.note_action('alter_schedule', NULL, pgbatch.changes(to_jsonb(old) - 'next_runs', to_jsonb(new) - 'next_runs'),
        trigger_name => name);
    PERFORM pgbatch.ring();
END
$$;
COMMENT ON FUNCTION pgbatch.alter_schedule IS 'Changes a schedule; NULL leaves a setting as it is';

-- pgbatch.lock_schedule: locks a schedule that the caller may change.
--
-- Parameters:  name  which schedule
-- Returns:     its row
-- Errors:      42704 for an unknown schedule, 42501 if it is not the caller's
-- Locks:       the schedule's row
CREATE FUNCTION pgbatch.lock_schedule(name text) RETURNS pgbatch.schedule
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s     pgbatch.schedule;
    maker text;
BEGIN
    SELECT t.created_by INTO maker FROM pgbatch.live_triggers t WHERE t.name = lock_schedule.name AND t.kind = 'schedule';
    PERFORM pgbatch.check_trigger_right(name);
    IF maker IS NOT NULL THEN
        PERFORM pgbatch.check_trigger_maker(name, maker);
    END IF;
    SELECT d.* INTO s FROM pgbatch.schedule d WHERE d.trigger_name = lock_schedule.name AND maker IS NOT NULL FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM pgbatch.reject_unknown(format('schedule %s does not exist', coalesce('"' || name || '"', 'NULL')),
            'The view pgbatch.triggers lists them; make one with pgbatch.schedule().');
    END IF;
    RETURN s;
END
$$;
