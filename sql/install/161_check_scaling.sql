-- pgbatch.check_scaling: checks how demand is to become runs, in the order of watch_count()'s arguments.
--
-- Parameters:  s  the row as it would be stored
-- Errors:      22023, one for the first problem found
CREATE FUNCTION pgbatch.check_scaling(s pgbatch.scaling) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF s.strategy IS NULL OR s.strategy NOT IN ('default', 'custom', 'accurate', 'eager') THEN
        PERFORM pgbatch.reject(format('strategy is invalid: %s', coalesce(quote_literal(s.strategy), 'NULL')),
            'Give ''default'', ''custom'', ''accurate'' or ''eager''.');
    END IF;
    IF s.strategy <> 'custom' AND (s.custom_deduction <> 0 OR s.custom_running_percentage IS NOT NULL) THEN
        PERFORM pgbatch.reject('custom_deduction and custom_running_percentage are for the strategy ''custom''',
            'Leave them out, or give strategy => ''custom''.');
    END IF;
    IF s.custom_deduction IS NULL OR s.strategy = 'custom' AND (s.custom_running_percentage BETWEEN 0 AND 1e6) IS NOT TRUE THEN
        PERFORM pgbatch.reject(CASE WHEN s.custom_deduction IS NULL THEN 'custom_deduction must not be NULL'
            ELSE format('custom_running_percentage must be at least 0, not %s', coalesce(s.custom_running_percentage::text, 'NULL'))
            END, 'For example custom_deduction => 0, custom_running_percentage => 0.5, for half of the running ones.');
    END IF;
    PERFORM pgbatch.check_number('min_runs', s.min_runs, 0);
    PERFORM pgbatch.check_number('max_runs', coalesce(s.max_runs, 1), 1);
    IF s.min_runs > s.max_runs OR greatest(s.min_runs, s.max_runs) > 10000 THEN
        PERFORM pgbatch.reject(format('min_runs and max_runs must be at most %s, not %s and %s',
            CASE WHEN s.min_runs > s.max_runs THEN 'max_runs' ELSE '10000' END, s.min_runs, coalesce(s.max_runs::text, 'NULL')),
            'min_runs are kept on top of the work, all together are at most max_runs.');
    END IF;
    IF s.combine IS NULL OR s.combine NOT IN ('max', 'min', 'avg', 'sum') THEN
        PERFORM pgbatch.reject(format('combine is invalid: %s', coalesce(quote_literal(s.combine), 'NULL')),
            'Give ''max'', ''min'', ''avg'' or ''sum''.');
    END IF;
END
$$;

-- pgbatch.store_scaling: checks and stores how the demand for a queue becomes runs. All its triggers say the same.
--
-- Parameters:  s  the row
-- Errors:      22023 for a bad one, or another one than that of the queue's other triggers
-- Writes:      scaling
CREATE FUNCTION pgbatch.store_scaling(s pgbatch.scaling) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    other text;
BEGIN
    PERFORM pgbatch.check_scaling(s);
    SELECT d.trigger_name INTO other
    FROM pgbatch.demand d JOIN pgbatch.scaling o ON o.queue = d.queue
    WHERE d.queue = s.queue
        AND (o.strategy, o.custom_deduction, o.custom_running_percentage, o.combine, o.min_runs, o.max_runs)
            IS DISTINCT FROM (s.strategy, s.custom_deduction, s.custom_running_percentage, s.combine, s.min_runs, s.max_runs)
    ORDER BY d.trigger_name LIMIT 1;
    IF FOUND THEN
        PERFORM pgbatch.reject(format('queue "%s" has another strategy, minimum, maximum or combination by trigger "%s"', s.queue, other),
            'The triggers of a queue are one demand: give all of them the same, or each a queue of its own.');
    END IF;
    INSERT INTO pgbatch.scaling (queue, strategy, custom_deduction, custom_running_percentage, combine, min_runs, max_runs)
    VALUES (s.queue, s.strategy, s.custom_deduction, s.custom_running_percentage, s.combine, s.min_runs, s.max_runs)
    ON CONFLICT DO NOTHING;
END
$$;
