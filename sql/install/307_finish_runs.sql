-- pgbatch.finish_runs: writes the ends of runs, decides on their items, and ends the batches that have nothing left.
--
-- Items that the run reported keep their fate. The others follow the run: it succeeded, or they get another attempt if
-- there is one left, else they failed. A run that was disrupted burns no attempt of theirs, ten times at most. Runs that
-- have ended before are skipped, so applying it twice changes nothing.
-- Runs whose batch, or whose own open report, another transaction keeps locked stay live: see lock_batches().
-- How a run of Spring Batch ended, its own tables say: see judge_spring_runs().
--
-- Parameters:  epoch     of the dispatcher that says so
--              outcomes  an array of Outcomes, see dispatcher/core/src/run.rs
-- Returns:     per batch that ended {"id", "queue", "label", "state"}
-- Errors:      22023 for a state that is no end, 55000 if another dispatcher leads
-- Locks:       the batches' rows, then the runs', in the order of their ids
-- Writes:      run, retry, batch
CREATE FUNCTION pgbatch.finish_runs(epoch bigint, outcomes jsonb) RETURNS SETOF jsonb
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    runs CONSTANT bigint[] := ARRAY(SELECT o.run FROM jsonb_to_recordset(outcomes) o (run bigint));
    locked bigint[];
    live bigint[];
BEGIN
    PERFORM pgbatch.check_epoch(epoch);
    IF EXISTS (SELECT FROM jsonb_to_recordset(outcomes) o (state text)
               WHERE o.state IS NULL OR o.state NOT IN ('succeeded', 'failed', 'timed_out', 'lost', 'cancelled')) THEN
        PERFORM pgbatch.reject('outcomes is invalid: state must be a final state of a run',
            'succeeded, failed, timed_out, lost or cancelled.');
    END IF;
    locked := pgbatch.lock_batches(ARRAY(
        SELECT DISTINCT r.batch_id FROM unnest(runs) i (id)
        CROSS JOIN LATERAL (
            SELECT r.batch_id FROM pgbatch.run r WHERE r.id = i.id AND r.finished_at IS NULL LIMIT 1) r), true);
    live := pgbatch.lock_runs(ARRAY(
        SELECT r.id FROM unnest(runs) i (id)
        CROSS JOIN LATERAL (SELECT r.id, r.batch_id FROM pgbatch.run r WHERE r.id = i.id LIMIT 1) r
        WHERE r.batch_id = ANY (locked)));
    IF EXISTS (SELECT FROM pgbatch.queue q WHERE q.options ? 'spring_batch') THEN
        outcomes := pgbatch.judge_spring_runs(outcomes, live);
    END IF;
    PERFORM pgbatch.end_runs(outcomes, live);
    RETURN QUERY SELECT pgbatch.close_batches(locked);
END
$$;
COMMENT ON FUNCTION pgbatch.finish_runs IS 'Dispatcher: writes the ends of runs; returns the batches that ended, as JSON';

-- pgbatch.end_runs: writes the ends of runs and the retries of their items. Each row is found by its key, whatever the plan:
-- hence LIMIT, and an UPDATE for each run; see observe().
--
-- Parameters:  outcomes  as for finish_runs()
--              live      the runs of it that have not ended; the caller has locked them and their batches
-- Writes:      run, retry
CREATE FUNCTION pgbatch.end_runs(outcomes jsonb, live bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- A node pool that evicts for ever must not keep an item for ever.
    disruptions_max CONSTANT int := 10;
    ended record;
BEGIN
    FOR ended IN WITH outcome AS (
        SELECT DISTINCT ON (o.run) o.*
        FROM jsonb_to_recordset(outcomes) o (run bigint, state text, started_at timestamptz, finished_at timestamptz,
            exit_code int, reason text, message text, result jsonb, retry_in_ms bigint, disrupted boolean)
        WHERE o.run = ANY (live)
        ORDER BY o.run
    ), fate AS MATERIALIZED (
        -- Of ranges, as they were reported, and of what lies between them.
        SELECT r.id AS run_id, r.batch_id, r.queue, b.key, r.attempt, r.max_attempt + g.given AS max_attempt,
            r.disruptions + g.given AS disruptions, o.retry_in_ms, p.first_item, p.last_item,
            p.last_item - p.first_item + 1 AS items,
            CASE
                WHEN coalesce(p.state, o.state) = 'succeeded' THEN 'succeeded'
                WHEN p.state IS NULL AND o.state = 'cancelled' THEN 'cancelled'
                WHEN coalesce(p.retry, true) AND r.attempt < r.max_attempt + g.given AND b.cancel_requested_at IS NULL
                    THEN 'retrying'
                ELSE 'failed' END AS fate
        FROM outcome o
        CROSS JOIN LATERAL (SELECT r.* FROM pgbatch.run r WHERE r.id = o.run LIMIT 1) r
        CROSS JOIN LATERAL (
            SELECT b.key, b.cancel_requested_at FROM pgbatch.batch b WHERE b.id = r.batch_id LIMIT 1) b
        CROSS JOIN LATERAL (
            SELECT p.first_item, p.last_item, p.state, p.retry FROM pgbatch.report p WHERE p.run_id = r.id
            UNION ALL
            SELECT n.first_item, n.last_item, NULL, NULL
            FROM (SELECT coalesce(lag(p.last_item) OVER (ORDER BY p.last_item), r.first_item - 1) + 1 AS first_item,
                      p.first_item - 1 AS last_item
                  FROM (SELECT p.first_item, p.last_item FROM pgbatch.report p WHERE p.run_id = r.id
                        UNION ALL
                        SELECT r.last_item + 1, r.last_item + 1) p) n
            WHERE n.first_item <= n.last_item) p
        CROSS JOIN LATERAL (
            SELECT (coalesce(o.disrupted, false) AND p.state IS NULL AND r.disruptions < disruptions_max)::int AS given) g
    ), retry AS (
        INSERT INTO pgbatch.retry (batch_id, queue, first_item, last_item, attempt, max_attempt, disruptions, key,
            due_at)
        SELECT f.batch_id, f.queue, min(f.first_item), max(f.last_item), f.attempt + 1, f.max_attempt, f.disruptions, f.key,
            now() + f.retry_in_ms * interval '1 ms'
        FROM (SELECT f.*,
                  f.last_item - sum(f.items) OVER (PARTITION BY f.run_id, f.disruptions ORDER BY f.first_item) AS island
              FROM fate f WHERE f.fate = 'retrying') f
        GROUP BY f.run_id, f.island, f.batch_id, f.queue, f.key, f.attempt, f.max_attempt, f.disruptions, f.retry_in_ms
    )
    SELECT o.*, f.succeeded, f.failed
    FROM outcome o
    JOIN (SELECT f.run_id, coalesce(sum(f.items) FILTER (WHERE f.fate = 'succeeded'), 0) AS succeeded,
              coalesce(sum(f.items) FILTER (WHERE f.fate = 'failed'), 0) AS failed
          FROM fate f GROUP BY f.run_id) f ON f.run_id = o.run
    LOOP
        UPDATE pgbatch.run r SET
            state = ended.state, started_at = coalesce(r.started_at, ended.started_at),
            finished_at = coalesce(ended.finished_at, now()), exit_code = ended.exit_code,
            disrupted = coalesce(ended.disrupted, false), reason = ended.reason, message = left(ended.message, 4096),
            result = ended.result, succeeded = ended.succeeded, failed = ended.failed
        WHERE r.id = ended.run;
    END LOOP;
END
$$;
