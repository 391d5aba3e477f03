-- pgbatch.jobs_to_create: how many Jobs a demand asks for, as KEDA counts: dispatcher/core/src/scaling.rs in SQL, where each step
-- is explained. A test compares the two.
--
-- Parameters:  readings  [{"value", "target", "is_active"}, ...], in the order of the triggers
--              policy    {"strategy", "custom_deduction", "custom_running_percentage", "combine", "min", "max"}
--              running   Jobs that have not ended, those that are pending included
--              pending   of these, those that do not run yet
-- Errors:      22023 for what is neither
CREATE FUNCTION pgbatch.jobs_to_create(readings jsonb, policy jsonb, running int, pending int) RETURNS int
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    strategy   CONSTANT text := coalesce(policy ->> 'strategy', 'default');
    percentage CONSTANT float8 := policy ->> 'custom_running_percentage';
    given_max  CONSTANT bigint := policy ->> 'max';
    idle       CONSTANT bigint := least(coalesce((policy ->> 'min')::bigint, 0), given_max);
    most       CONSTANT bigint := coalesce(given_max - idle, 100);
    busy       CONSTANT bigint := running - idle;
    demand     record;
    share      bigint;
    room       bigint;
    wanted     bigint;
BEGIN
    IF jsonb_typeof(readings) <> 'array' THEN
        PERFORM pgbatch.reject('readings is invalid: it is no array', 'dispatcher/core/src/scaling.rs says what they are.');
    END IF;
    IF strategy NOT IN ('default', 'custom', 'accurate', 'eager') THEN
        PERFORM pgbatch.reject(format('policy is invalid: strategy %L', strategy),
            'dispatcher/core/src/scaling.rs says what they are.');
    END IF;
    demand := pgbatch.demand_of(readings, coalesce(policy ->> 'combine', 'max'), most);
    IF NOT demand.is_active AND idle = 0 THEN
        RETURN 0;
    END IF;
    -- As long as the idle Jobs are not there, the demand is ignored.
    IF running < idle THEN
        RETURN idle - running;
    END IF;
    share := ceil(least(demand.share, most));
    wanted := ceil(demand.length);
    IF strategy = 'custom' AND percentage IS NOT NULL THEN
        room := least(trunc(share - coalesce((policy ->> 'custom_deduction')::bigint, 0)
            - trunc(busy * percentage))::bigint, most);
    ELSIF strategy IN ('default', 'custom') THEN
        room := share - busy;
    ELSIF strategy = 'accurate' THEN
        room := CASE WHEN share + busy - pending > most THEN most - busy ELSE share - pending END;
    ELSE
        -- A pending Job is a running one too, so it counts twice.
        room := least(most - busy - pending, share);
        wanted := most;
    END IF;
    RETURN least(greatest(least(wanted, room), 0), 2147483647);
END
$$;

-- pgbatch.demand_of: what all triggers together ask for.
--
-- Parameters:  readings, combine  as for jobs_to_create()
--              most  Jobs at most
-- Returns:     is_active, length (of the work), share (length by target), one row
CREATE FUNCTION pgbatch.demand_of(readings jsonb, combine text, most bigint, OUT is_active boolean, OUT length float8, OUT share float8)
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    one   record;
    count int := 0;
BEGIN
    is_active := false;
    length := 0;
    share := 0;
    FOR one IN
        -- Values and targets go through Kubernetes' quantities: three decimals.
        SELECT r.length::float8, CASE WHEN r.target = 0 THEN 0 ELSE least(r.length::float8 / r.target::float8, most) END AS share
        FROM (SELECT e.n, round((e.reading ->> 'value')::numeric, 3) AS length, round((e.reading ->> 'target')::numeric, 3) AS target
              FROM jsonb_array_elements(readings) WITH ORDINALITY e (reading, n)
              WHERE (e.reading ->> 'is_active')::boolean) r
        ORDER BY r.n
    LOOP
        count := count + 1;
        CASE combine
            -- One of length 0 never counts, though it may be active.
            WHEN 'max' THEN CONTINUE WHEN one.length <= length;
            -- One of length 0 is forgotten as soon as another one comes.
            WHEN 'min' THEN CONTINUE WHEN length <> 0 AND one.length >= length;
            ELSE
                one.length := length + one.length;
                one.share := share + one.share;
        END CASE;
        is_active := true;
        length := one.length;
        share := one.share;
    END LOOP;
    IF combine = 'avg' AND count > 0 THEN
        length := length / count;
        share := share / count;
    ELSIF combine NOT IN ('max', 'min', 'sum', 'avg') THEN
        PERFORM pgbatch.reject(format('policy is invalid: combine %L', combine),
            'dispatcher/core/src/scaling.rs says what they are.');
    END IF;
END
$$;
