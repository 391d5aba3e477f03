-- pgbatch.scale_queues: evaluates the demand of queues where something was read, or where a run that demand had made has ended.
--
-- The value, the count of what is open and the items are one transaction, under the epoch: two dispatchers do not double it.
--
-- Parameters:  epoch  of the dispatcher that asks
-- Returns:     when to come back at the latest; NULL = only when something changes
-- Errors:      55000 if another dispatcher leads
-- Writes:      nothing when nothing has changed; else scaling, demand_batch, batch, item
CREATE FUNCTION pgbatch.scale_queues(epoch bigint) RETURNS timestamptz
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s pgbatch.scaling;
BEGIN
    FOR s IN
        -- A paused queue is evaluated when it is resumed.
        SELECT d.* FROM pgbatch.scaling d JOIN pgbatch.queue q ON q.name = d.queue
        WHERE NOT q.paused AND (d.is_stale AND coalesce(d.again_at <= clock_timestamp(), true) OR EXISTS (
            SELECT FROM pgbatch.demand_jobs(d.queue) j WHERE j.is_over OR j.new_succeeded > 0 OR j.new_failed > 0))
        ORDER BY d.queue
    LOOP
        PERFORM pgbatch.check_epoch(epoch);
        PERFORM pgbatch.scale_queue(s);
    END LOOP;
    RETURN (SELECT min(d.again_at) FROM pgbatch.scaling d JOIN pgbatch.queue q ON q.name = d.queue
            WHERE d.is_stale AND NOT q.paused);
END
$$;

-- pgbatch.is_started: whether a live run counts as a Job that is not pending: KEDA's ScaledJob, pendingPodConditions. Without a
-- search_path of its own, so that it is inlined; its operators are qualified by hand.
--
-- Parameters:  r  the run
--              q  its queue
CREATE FUNCTION pgbatch.is_started(r pgbatch.run, q pgbatch.queue) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN q.options OPERATOR(pg_catalog.?) 'pending_pod_conditions' THEN r.is_ready AND r.finished_at IS NULL
        ELSE r.state OPERATOR(pg_catalog.=) 'running' END
$$;

-- pgbatch.demand_jobs: the batches that demand has made for a queue.
--
-- Returns:     batch_id
--              open           items that have not ended: Jobs that KEDA would count
--              pending        of these, those without a running container; where the queue has options.pending_pod_conditions,
--                             those without a pod that has these
--              new_succeeded  items that have succeeded since the demand was last evaluated
--              new_failed     and failed
--              is_over        whether it has ended
CREATE FUNCTION pgbatch.demand_jobs(queue text)
RETURNS TABLE (batch_id bigint, open int, pending int, new_succeeded int, new_failed int, is_over boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT d.batch_id, o.open, greatest(o.open - r.started, 0), greatest(r.succeeded - d.succeeded, 0),
        greatest(r.failed - d.failed, 0), o.open = 0
    FROM pgbatch.demand_batch d
    LEFT JOIN pgbatch.batch b ON b.id = d.batch_id
    JOIN pgbatch.queue q ON q.name = d.queue
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(r.succeeded), 0)::int AS succeeded, coalesce(sum(r.failed), 0)::int AS failed,
            coalesce(sum(r.last_item - r.first_item + 1) FILTER (WHERE pgbatch.is_started(r, q)), 0)::int AS started
        FROM pgbatch.run r WHERE r.batch_id = d.batch_id) r
    CROSS JOIN LATERAL (
        SELECT CASE WHEN b.state IN ('waiting', 'pending', 'running') THEN b.items - r.succeeded - r.failed ELSE 0 END AS open) o
    WHERE d.queue = demand_jobs.queue
$$;

-- pgbatch.scale_queue: evaluates the demand of a queue, and enqueues what it asks for.
--
-- Parameters:  s  how
-- Writes:      scaling, demand_batch, batch, item
CREATE FUNCTION pgbatch.scale_queue(s pgbatch.scaling) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    jobs     record;
    readings jsonb;
    wanted   int;
BEGIN
    SELECT coalesce(sum(j.open), 0)::int AS open, coalesce(sum(j.pending), 0)::int AS pending,
        coalesce(sum(j.new_succeeded), 0) > 0 AS have_succeeded, coalesce(sum(j.new_failed), 0) > 0 AS have_failed
    INTO jobs FROM pgbatch.demand_jobs(s.queue) j;
    DELETE FROM pgbatch.demand_batch d USING pgbatch.demand_jobs(s.queue) j WHERE d.batch_id = j.batch_id AND j.is_over;
    UPDATE pgbatch.demand_batch d SET succeeded = d.succeeded + j.new_succeeded, failed = d.failed + j.new_failed
    FROM pgbatch.demand_jobs(s.queue) j WHERE d.batch_id = j.batch_id AND (j.new_succeeded > 0 OR j.new_failed > 0);
    IF jobs.have_succeeded THEN
        s.failures := 0;
        s.again_at := NULL;
    ELSIF jobs.have_failed THEN
        s.failures := s.failures + 1;
        s.again_at := clock_timestamp() + least(interval '1 s' * 2 ^ least(s.failures - 1, 20), interval '5 min');
    END IF;
    s.is_stale := s.again_at > clock_timestamp();
    IF s.is_stale IS NOT TRUE THEN
        s.again_at := NULL;
        SELECT coalesce(jsonb_agg(jsonb_build_object('value', d.value, 'target', d.target, 'is_active', d.value > d.activation)
            ORDER BY t.created_at, t.name), '[]') INTO readings
        FROM pgbatch.demand d JOIN pgbatch.trigger t ON t.name = d.trigger_name
        WHERE d.queue = s.queue AND d.value IS NOT NULL;
        LOOP
            wanted := pgbatch.jobs_to_create(readings, jsonb_strip_nulls(jsonb_build_object(
                'strategy', s.strategy, 'custom_deduction', s.custom_deduction,
                'custom_running_percentage', s.custom_running_percentage,
                'combine', s.combine, 'min', s.min_runs, 'max', s.max_runs)), jobs.open, jobs.pending);
            PERFORM pgbatch.enqueue_demand(s, wanted);
            -- As long as the minimum is not there the demand is ignored: KEDA's next poll sees to that, here nothing comes next.
            EXIT WHEN wanted = 0 OR jobs.open >= s.min_runs;
            jobs.open := jobs.open + wanted;
            jobs.pending := jobs.pending + wanted;
        END LOOP;
    END IF;
    UPDATE pgbatch.scaling d SET is_stale = coalesce(s.is_stale, false), failures = s.failures, again_at = s.again_at
    WHERE d.queue = s.queue;
END
$$;

-- pgbatch.enqueue_demand: enqueues items of a demand. They are said to be of the trigger that asks for most, or for 'min' for least.
--
-- Parameters:  s     how it came to be
--              jobs  how many; 0 = none
-- Writes:      demand_batch, batch, item
CREATE FUNCTION pgbatch.enqueue_demand(s pgbatch.scaling, jobs int) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t     record;
    batch bigint;
BEGIN
    IF jobs = 0 THEN
        RETURN;
    END IF;
    SELECT r.name, r.created_by, d.value INTO t
    FROM pgbatch.demand d JOIN pgbatch.trigger r ON r.name = d.trigger_name
    WHERE d.queue = s.queue
    ORDER BY coalesce(d.value > d.activation, false) DESC, CASE s.combine WHEN 'min' THEN -1 ELSE 1 END * d.value DESC NULLS LAST,
        r.created_at, r.name
    LIMIT 1;
    batch := (pgbatch.insert_batch(s.queue, jobs, t.name, 0, NULL, NULL, NULL, NULL, NULL)).id;
    INSERT INTO pgbatch.item (batch_id, item_no, item)
    SELECT batch, n, jsonb_build_object('trigger', t.name, 'value', t.value) FROM generate_series(1, jobs) n;
    UPDATE pgbatch.batch b SET trigger_name = t.name, created_by = t.created_by WHERE b.id = batch;
    INSERT INTO pgbatch.demand_batch (queue, batch_id) VALUES (s.queue, batch);
END
$$;

-- pgbatch.read_demand: reads the number of a trigger of watch_count().
--
-- Parameters:  t  the trigger
-- Errors:      22023 for what is not one number; the query's
-- Writes:      demand, scaling
CREATE FUNCTION pgbatch.read_demand(t pgbatch.trigger) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    total int;
    found float8;
BEGIN
    EXECUTE format('SELECT count(*), min(v.value) FROM (SELECT r.%I::float8 AS value FROM %s r LIMIT 2) v',
        (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = t.source AND a.attnum = 1), t.source) INTO total, found;
    IF total <> 1 OR found IS NULL OR found NOT BETWEEN -1e300 AND 1e300 THEN
        PERFORM pgbatch.reject(format('the query returned %s, not one number', CASE WHEN total = 0 THEN 'no row'
            WHEN total > 1 THEN 'more than one row' WHEN found IS NULL THEN 'NULL' ELSE found::text END),
            'Use an aggregate like count(*) or coalesce(max(...), 0).');
    END IF;
    PERFORM pgbatch.note_demand(t, found);
END
$$;

-- pgbatch.note_demand: notes what a trigger has read.
--
-- Parameters:  t      the trigger
--              value  the number; NULL = it could not be read, and does not take part
-- Writes:      demand, scaling
CREATE FUNCTION pgbatch.note_demand(t pgbatch.trigger, value float8) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    UPDATE pgbatch.demand d SET value = note_demand.value WHERE d.trigger_name = t.name;
    UPDATE pgbatch.scaling s SET is_stale = true WHERE s.queue = t.queue
$$;
