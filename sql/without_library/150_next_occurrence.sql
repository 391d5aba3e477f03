-- When a cron expression occurs in a time zone: dispatcher/core/src/schedule.rs in SQL, with the patterns of the library croner, and
-- with its words where one is invalid. A test compares the two. The zones are PostgreSQL's own.

-- pgbatch.next_occurrence: the first occurrence after a moment.
--
-- Parameters:  cron      five fields, or six with seconds first
--              timezone  a name of the IANA time zone database
--              after     in seconds since 1970
-- Returns:     in seconds since 1970; NULL if there is none any more
-- Errors:      22023
CREATE FUNCTION pgbatch.next_occurrence(cron text, timezone text, after bigint) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    pattern CONSTANT jsonb := pgbatch.read_cron(cron);
BEGIN
    PERFORM pgbatch.check_zone(timezone);
    RETURN CASE WHEN (pattern ->> 'is_fixed')::boolean THEN pgbatch.next_time_of_day(pattern, timezone, after)
        ELSE pgbatch.next_shown(pattern, timezone, after) END;
END
$$;

-- pgbatch.latest_occurrence: the last occurrence of a span.
--
-- Parameters:  cron, timezone  as for next_occurrence()
--              since  before it, in seconds since 1970
--              upto   not before it, in seconds since 1970
-- Returns:     in seconds since 1970; NULL if there is none
-- Errors:      22023
CREATE FUNCTION pgbatch.latest_occurrence(cron text, timezone text, since bigint, upto bigint) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    span  bigint := 60;
    start bigint;
    found bigint;
    later bigint;
BEGIN
    LOOP
        start := greatest(upto - span, since);
        later := pgbatch.next_occurrence(cron, timezone, start);
        WHILE later <= upto LOOP
            found := later;
            later := pgbatch.next_occurrence(cron, timezone, found);
        END LOOP;
        EXIT WHEN found IS NOT NULL OR start = since;
        span := span * 2;
    END LOOP;
    RETURN found;
END
$$;

-- pgbatch.check_zone: refuses a name that the IANA time zone database does not have. PostgreSQL takes more: abbreviations, and
-- rules in the way of POSIX, which have digits. The list of all names is read only for what may be one of these, as it takes it 50 ms.
--
-- Errors:      22023
CREATE FUNCTION pgbatch.check_zone(timezone text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF timezone = 'UTC' THEN
        RETURN;
    ELSIF timezone ~ '^[A-Za-z_]+(/[A-Za-z_-]+)*$' AND NOT EXISTS (SELECT FROM pg_timezone_abbrevs a WHERE a.abbrev = upper(timezone)) THEN
        PERFORM to_timestamp(0) AT TIME ZONE timezone;
    ELSIF NOT EXISTS (SELECT FROM pg_timezone_names n WHERE lower(n.name) = lower(timezone)) THEN
        RAISE SQLSTATE '22023';
    END IF;
EXCEPTION WHEN invalid_parameter_value THEN
    PERFORM pgbatch.reject(format('timezone is invalid: "%s" is not known', timezone),
        'Give a name of the IANA time zone database, for example ''Europe/Paris''.');
END
$$;

-- pgbatch.face: what a clock of the zone shows, as seconds since it showed 1970.
CREATE FUNCTION pgbatch.face(timezone text, moment bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT date_part('epoch', to_timestamp(moment) AT TIME ZONE timezone)::bigint
$$;

-- pgbatch.first_change: the first moment after `low` at which the clock is set as it is at `high`; it is set once in between.
CREATE FUNCTION pgbatch.first_change(timezone text, low bigint, high bigint) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ahead CONSTANT bigint := pgbatch.face(timezone, high) - high;
    middle bigint;
BEGIN
    WHILE low + 1 < high LOOP
        middle := (low + high) / 2;
        IF pgbatch.face(timezone, middle) - middle = ahead THEN
            high := middle;
        ELSE
            low := middle;
        END IF;
    END LOOP;
    RETURN high;
END
$$;

-- pgbatch.next_time_of_day: next_occurrence() of an expression that means times of the day.
CREATE FUNCTION pgbatch.next_time_of_day(pattern jsonb, timezone text, after bigint) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    shown   bigint := pgbatch.face(timezone, after);
    moment  bigint;
    leap    bigint;
    earlier bigint;
BEGIN
    LOOP
        shown := pgbatch.next_face(pattern, shown, false);
        -- Of a time that is shown twice, PostgreSQL takes the second; of one that is left out, it goes on with the clock as it was.
        moment := date_part('epoch', (to_timestamp(shown) AT TIME ZONE 'UTC') AT TIME ZONE timezone);
        leap := pgbatch.face(timezone, moment) - shown;
        IF leap > 0 THEN
            moment := pgbatch.first_change(timezone, moment - leap, moment);
        ELSE
            earlier := moment - 86400;
            earlier := shown - (pgbatch.face(timezone, earlier) - earlier);
            IF earlier < moment AND pgbatch.face(timezone, earlier) = shown THEN
                moment := earlier;
            END IF;
        END IF;
        IF coalesce(moment > after, true) THEN
            RETURN moment;
        END IF;
    END LOOP;
END
$$;

-- pgbatch.next_shown: next_occurrence() of any other: as often as the clock shows it.
CREATE FUNCTION pgbatch.next_shown(pattern jsonb, timezone text, after bigint) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- Further than any zone's clock is set at once.
    leap_max CONSTANT bigint := 172800;
    start        bigint := after;
    is_inclusive boolean := false;
    ahead        bigint;
    moment       bigint;
BEGIN
    LOOP
        ahead := pgbatch.face(timezone, start) - start;
        moment := pgbatch.next_face(pattern, start + ahead, is_inclusive) - ahead;
        is_inclusive := true;
        start := greatest(start, moment - leap_max);
        CONTINUE WHEN pgbatch.face(timezone, start) - start <> ahead;
        IF coalesce(pgbatch.face(timezone, moment) - moment = ahead, true) THEN
            RETURN moment;
        END IF;
        start := pgbatch.first_change(timezone, start, moment);
    END LOOP;
END
$$;

-- pgbatch.next_face: the next time on the clock's face that a pattern matches, without any zone.
--
-- Parameters:  pattern       of read_cron()
--              shown         in seconds since the clock showed 1970
--              is_inclusive  whether that may be it
-- Returns:     in such seconds; NULL if there is none
CREATE FUNCTION pgbatch.next_face(pattern jsonb, shown bigint, is_inclusive boolean) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    start CONSTANT timestamp := to_timestamp(shown + CASE WHEN is_inclusive THEN 0 ELSE 1 END) AT TIME ZONE 'UTC';
    day   date := pgbatch.next_day(pattern, start::date);
    clock interval;
BEGIN
    IF day = start::date THEN
        clock := pgbatch.next_clock_time(pattern, start::time);
        IF clock IS NULL THEN
            day := pgbatch.next_day(pattern, start::date + 1);
        END IF;
    END IF;
    RETURN date_part('epoch', day + coalesce(clock, pgbatch.next_clock_time(pattern, '00:00')));
END
$$;

-- pgbatch.next_clock_time: the first time of a day, not before `start`; NULL if there is none.
CREATE FUNCTION pgbatch.next_clock_time(pattern jsonb, start time) RETURNS interval
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    hours   CONSTANT int[] := pgbatch.cron_values(pattern -> 'hours');
    minutes CONSTANT int[] := pgbatch.cron_values(pattern -> 'minutes');
    seconds CONSTANT int[] := pgbatch.cron_values(pattern -> 'seconds');
    hour    int := date_part('hour', start);
    minute  int := date_part('minute', start);
    second  int := date_part('second', start);
BEGIN
    second := CASE WHEN hour = ANY (hours) AND minute = ANY (minutes) THEN (SELECT min(s) FROM unnest(seconds) s WHERE s >= second) END;
    IF second IS NULL THEN
        second := (SELECT min(s) FROM unnest(seconds) s);
        minute := CASE WHEN hour = ANY (hours) THEN (SELECT min(m) FROM unnest(minutes) m WHERE m > minute) END;
    END IF;
    IF minute IS NULL THEN
        minute := (SELECT min(m) FROM unnest(minutes) m);
        hour := (SELECT min(h) FROM unnest(hours) h WHERE h > hour);
    END IF;
    RETURN make_interval(hours => hour, mins => minute, secs => second);
END
$$;

-- pgbatch.next_day: the first day that a pattern matches, not before `start`; NULL if there is none before the year 5000, or in 400
-- years, after which the calendar begins anew.
CREATE FUNCTION pgbatch.next_day(pattern jsonb, start date) RETURNS date
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    months   CONSTANT int[] := pgbatch.cron_values(pattern -> 'months');
    days     CONSTANT int[] := pgbatch.cron_values(pattern -> 'days');
    nearest  CONSTANT int[] := pgbatch.cron_values(pattern -> 'nearest');
    weekdays CONSTANT int[] := pgbatch.cron_values(pattern -> 'weekdays');
    nth      CONSTANT text[] := ARRAY(SELECT jsonb_array_elements_text(pattern -> 'nth'));
    last_day CONSTANT text := pattern ->> 'last_day';
    any_day     CONSTANT boolean := pattern -> 'any_day';
    any_weekday CONSTANT boolean := pattern -> 'any_weekday';
    all_match   CONSTANT boolean := pattern -> 'all_match';
    month  date := date_trunc('month', start);
    length int;
    found  date;
BEGIN
    FOR n IN 1..4801 LOOP
        EXIT WHEN date_part('year', month) >= 5000;
        IF date_part('month', month) = ANY (months) THEN
            length := (month + interval '1 month')::date - month;
            SELECT min(d.day) INTO found
            FROM (
                SELECT w.*,
                    w.number = ANY (days)
                        OR last_day = 'L' AND w.number = length
                        OR last_day = 'LW' AND w.number = length - greatest((w.first_weekday + length - 1 + 6) % 7 - 4, 0)
                        -- The weekday that is nearest to a day of the month, and in the same month.
                        OR EXISTS (
                            SELECT FROM unnest(nearest) t (day)
                            WHERE t.day <= length AND w.number = t.day + CASE (w.first_weekday + t.day - 1) % 7
                                WHEN 6 THEN CASE WHEN t.day > 1 THEN -1 ELSE 2 END
                                WHEN 0 THEN CASE WHEN t.day < length THEN 1 ELSE -2 END
                                ELSE 0 END) AS by_day,
                    w.weekday = ANY (weekdays)
                        OR w.weekday || '#' || (w.number + 6) / 7 = ANY (nth)
                        OR w.number + 7 > length AND w.weekday || '#L' = ANY (nth) AS by_weekday
                FROM (
                    SELECT month + g.number - 1 AS day, g.number, date_part('dow', month + g.number - 1)::int AS weekday,
                        date_part('dow', month)::int AS first_weekday
                    FROM generate_series(1, length) g (number)) w) d
            WHERE d.day >= start AND CASE
                WHEN any_day OR any_weekday THEN d.by_day AND any_weekday OR d.by_weekday AND any_day
                WHEN all_match THEN d.by_day AND d.by_weekday
                ELSE d.by_day OR d.by_weekday END;
            EXIT WHEN found IS NOT NULL;
        END IF;
        month := month + interval '1 month';
    END LOOP;
    RETURN found;
END
$$;

-- pgbatch.cron_values: a JSON array of numbers as an array.
CREATE FUNCTION pgbatch.cron_values(numbers jsonb) RETURNS int[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(array_agg(n::int), '{}') FROM jsonb_array_elements_text(numbers) n
$$;

-- pgbatch.read_cron: reads an expression of five fields, six with seconds first, or a nickname.
--
-- Returns:     {"seconds", "minutes", "hours", "days", "months", "weekdays": the values of each field, "nearest": days for whose
--              nearest weekday it is, "last_day": "L", "LW" or null, "nth": ["5#2", "0#L", ...], "any_day", "any_weekday": whether
--              the field is *, "all_match": whether a day must match both, "is_fixed": whether it means times of the day}
-- Errors:      22023
CREATE FUNCTION pgbatch.read_cron(cron text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    names CONSTANT text[] := '{-SUN,-7,SUN,0,MON,1,TUE,2,WED,3,THU,4,FRI,5,SAT,6,JAN,1,FEB,2,MAR,3,APR,4,MAY,5,JUN,6,JUL,7,AUG,8,'
        'SEP,9,OCT,10,NOV,11,DEC,12}';
    words  text := btrim(upper(cron), E' \t\n\r');
    parts  text[];
    plus   boolean;
    fields jsonb[];
    days   jsonb;
    week   jsonb;
BEGIN
    words := CASE words WHEN '@YEARLY' THEN '0 0 1 1 *' WHEN '@ANNUALLY' THEN '0 0 1 1 *' WHEN '@MONTHLY' THEN '0 0 1 * *'
        WHEN '@WEEKLY' THEN '0 0 * * 0' WHEN '@DAILY' THEN '0 0 * * *' WHEN '@HOURLY' THEN '0 * * * *' ELSE words END;
    IF words = '' THEN
        PERFORM pgbatch.reject_cron('it is empty');
    END IF;
    FOR n IN 1..cardinality(names) BY 2 LOOP
        words := replace(words, names[n], names[n + 1]);
    END LOOP;
    parts := regexp_split_to_array(words, '\s+');
    IF cardinality(parts) = 5 THEN
        parts := '0'::text || parts;
    ELSIF cardinality(parts) <> 6 THEN
        PERFORM pgbatch.reject_cron('Pattern must have 5 or 6 fields when years are disallowed');
    END IF;
    parts[4] := replace(parts[4], '?', '*');
    parts[6] := replace(parts[6], '?', '*');
    plus := starts_with(parts[6], '+');
    parts[6] := regexp_replace(parts[6], '^\+', '');
    FOR n IN 1..6 LOOP
        words := regexp_replace(parts[n], CASE n WHEN 4 THEN '[*/0-9,LW-]' WHEN 6 THEN '[*/0-9,#L-]' ELSE '[*/0-9,-]' END, '', 'g');
        IF words <> '' THEN
            PERFORM pgbatch.reject_cron(format('CronPattern contains illegal character ''%s'' in part ''%s''', left(words, 1), parts[n]));
        END IF;
    END LOOP;
    FOR n IN 1..6 LOOP
        fields[n] := pgbatch.read_cron_field(parts[n], ('{0,0,0,1,1,0}'::int[])[n], ('{59,59,23,31,12,7}'::int[])[n], n = 6);
    END LOOP;
    IF EXISTS (SELECT FROM unnest(fields) f WHERE f ->> 'last' IS NULL AND '[]' = ALL (ARRAY[f -> 'values', f -> 'nearest', f -> 'nth'])) THEN
        PERFORM pgbatch.reject_cron('a field names nothing');
    END IF;
    days := fields[4];
    week := fields[6];
    RETURN jsonb_build_object('seconds', fields[1] -> 'values', 'minutes', fields[2] -> 'values', 'hours', fields[3] -> 'values',
        'days', days -> 'values', 'months', fields[5] -> 'values', 'nearest', days -> 'nearest', 'last_day', days -> 'last',
        -- 7 is Sunday, as 0 is.
        'weekdays', (SELECT coalesce(jsonb_agg(DISTINCT v::int % 7), '[]') FROM jsonb_array_elements_text(week -> 'values') v),
        'nth', (SELECT coalesce(jsonb_agg(regexp_replace(v, '^7', '0')), '[]') FROM jsonb_array_elements_text(week -> 'nth') v),
        'any_day', parts[4] = '*', 'any_weekday', parts[6] = '*', 'all_match', plus,
        'is_fixed', NOT EXISTS (SELECT FROM unnest(fields[1:3]) f WHERE (f -> 'is_starred')::boolean));
END
$$;

-- pgbatch.read_cron_field: reads one field.
--
-- Parameters:  field         what it says
--              low, high     the numbers that it may have
--              is_weekday    whether it is that of the weekday
-- Returns:     {"values", "nearest", "last", "nth", "is_starred"}
-- Errors:      22023
CREATE FUNCTION pgbatch.read_cron_field(field text, low int, high int, is_weekday boolean) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    starred boolean := false;
    numbers int[] := '{}';
    nearest int[] := '{}';
    nth     text[] := '{}';
    last    text;
    part    text;
    place   text;
    bounds  text[];
    step    int;
    first   int;
    final   int;
BEGIN
    FOREACH part IN ARRAY string_to_array(CASE field WHEN '*' THEN '*/1' ELSE field END, ',') LOOP
        CONTINUE WHEN part = '';
        IF part ~ 'W' AND part !~ '[/-]' THEN
            IF part ~ '^LW' THEN
                last := 'LW';
            ELSE
                first := pgbatch.cron_number(split_part(part, 'W', 1), 'Invalid day for closest weekday');
                PERFORM pgbatch.reject_cron('Day for closest weekday out of bounds') WHERE first NOT BETWEEN low AND high;
                nearest := nearest || first;
            END IF;
            CONTINUE;
        ELSIF part = 'L' THEN
            last := coalesce(last, 'L');
            CONTINUE;
        ELSIF part ~ 'L$' AND part !~ '[#/-]' THEN
            part := replace(part, 'L', '#L');
        END IF;
        PERFORM pgbatch.reject_cron('Nth specifier # not allowed in the current field') WHERE NOT is_weekday AND part ~ '^[^/-]*#';
        PERFORM pgbatch.reject_cron('L not allowed in the current field') WHERE NOT is_weekday AND part ~ '^[^/-]*L[^/-]*$';
        place := CASE WHEN part ~ 'L$' THEN 'L' WHEN part ~ '#' THEN substr(part, strpos(part, '#') + 1) END;
        IF place <> 'L' THEN
            first := pgbatch.cron_number(place, 'Invalid nth specifier', 255);
            PERFORM pgbatch.reject_cron('Nth specifier out of bounds') WHERE first NOT BETWEEN 1 AND 5;
            place := first;
        END IF;
        part := split_part(part, '#', 1);
        step := 1;
        IF part ~ '/' THEN
            PERFORM pgbatch.reject_cron('Invalid stepped range syntax') WHERE part ~ '/.*/';
            step := pgbatch.cron_number(split_part(part, '/', 2), 'Invalid step');
            PERFORM pgbatch.reject_cron('Step cannot be zero') WHERE step = 0;
            part := split_part(part, '/', 1);
            bounds := string_to_array(part, '-');
            IF part = '*' THEN
                starred := true;
                first := low;
                final := high;
            ELSIF part ~ '-' THEN
                PERFORM pgbatch.reject_cron('Invalid range syntax in stepping') WHERE cardinality(bounds) <> 2;
                first := pgbatch.cron_number(bounds[1], 'Invalid range start');
                final := pgbatch.cron_number(bounds[2], 'Invalid range end');
            ELSE
                PERFORM pgbatch.reject_cron(CASE part
                    WHEN '' THEN format('Invalid step syntax: omitting the starting point like "/%1$s" is not allowed. Use "*/%1$s" for '
                        'wildcard steps or "X-Y/%1$s" for range steps', step)
                    ELSE format('Invalid step syntax: single number steps like "%s/%2$s" are not allowed. Use "*/%2$s" for wildcard '
                        'steps or "X-Y/%2$s" for range steps', part, step) END);
            END IF;
            PERFORM pgbatch.reject_cron('Range is out of bounds in stepping') WHERE first < low OR final > high OR first > final;
            PERFORM pgbatch.reject_cron('Value exceeded max after stepping') WHERE first + ((final - first) / step + 1) * step > 65535;
        ELSIF part ~ '-' THEN
            bounds := string_to_array(part, '-');
            PERFORM pgbatch.reject_cron('Invalid range syntax') WHERE cardinality(bounds) <> 2;
            first := pgbatch.cron_number(bounds[1], 'Invalid start of range');
            final := pgbatch.cron_number(bounds[2], 'Invalid end of range');
            PERFORM pgbatch.reject_cron('Range out of bounds') WHERE first < low OR final > high OR first > final;
        ELSE
            first := pgbatch.cron_number(part, 'Invalid number');
            final := first;
            PERFORM pgbatch.reject_cron('Number out of bounds') WHERE first NOT BETWEEN low AND high;
        END IF;
        IF place IS NULL THEN
            numbers := numbers || ARRAY(SELECT generate_series(first, final, step));
        ELSE
            nth := nth || ARRAY(SELECT n || '#' || place FROM generate_series(first, final, step) n);
        END IF;
    END LOOP;
    RETURN jsonb_build_object('values', numbers, 'nearest', nearest, 'last', last, 'nth', nth, 'is_starred', starred);
END
$$;

-- pgbatch.cron_number: reads a number of an expression; with what is said where it is none.
CREATE FUNCTION pgbatch.cron_number(digits text, problem text, most int DEFAULT 65535) RETURNS int
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF digits ~ '^[0-9]+$' AND digits::numeric <= most THEN
        RETURN digits;
    END IF;
    PERFORM pgbatch.reject_cron(problem);
END
$$;

-- pgbatch.reject_cron: raises the ERROR of a bad expression. VOLATILE, or PostgreSQL would call it once to see what it returns.
CREATE FUNCTION pgbatch.reject_cron(problem text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pgbatch.reject('cron is invalid: ' || problem,
        'Give minute, hour, day of the month, month and day of the week, for example ''0 2 * * MON-FRI''; seconds may come before them.');
END
$$;
