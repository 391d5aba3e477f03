-- pgbatch.check_number: checks a whole number.
--
-- Parameters:  argument its name, for the message
--              value    the number
--              minimum  the smallest allowed
-- Errors:      22023 where it is NULL or too small
CREATE FUNCTION pgbatch.check_number(argument text, value int, minimum int) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF value IS NULL OR value < minimum THEN
        PERFORM pgbatch.reject(
            format('%s must be at least %s, not %s', argument, minimum, coalesce(value::text, 'NULL')),
            format('Leave %s out for its default.', argument));
    END IF;
END
$$;

-- pgbatch.check_moment: checks a point in time. Later ones, and endless ones, are beyond the clocks of other programs: the
-- dispatcher's, for one.
--
-- Parameters:  argument its name, for the message
--              value    the point in time; NULL = none
--              hint     what to do instead
-- Errors:      22023 where it is infinite, or not before the year 9999
CREATE FUNCTION pgbatch.check_moment(argument text, value timestamptz, hint text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT isfinite(value) OR value >= '9999-01-01 00:00:00+00' THEN
        PERFORM pgbatch.reject(format('%s must be a point in time before the year 9999, not %s', argument, value), hint);
    END IF;
END
$$;

-- pgbatch.check_interval: checks a duration.
--
-- Parameters:  argument its name, for the message
--              value    the duration
--              minimum  the shortest allowed
-- Errors:      22023 where it is NULL, infinite, too short or longer than 100 years
CREATE FUNCTION pgbatch.check_interval(argument text, value interval, minimum interval) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF value IS NULL OR value < minimum OR value > '100 years' THEN
        PERFORM pgbatch.reject(
            format('%s must be from %s to 100 years, not %s', argument, minimum,
                coalesce(value::text, 'NULL')),
            'A duration is written like ''90 s'', ''5 min'' or ''1 h''.');
    END IF;
END
$$;
