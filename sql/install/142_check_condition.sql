-- pgbatch.check_condition: reads a condition from where PostgreSQL has parsed it, and checks that it may run as the
-- extension's owner: nothing in it may be anybody else's, or know more than the row.
--
-- PostgreSQL writes constants by the settings of the session, and enqueue_inserted() reads them in another one: where a
-- backslash meant something else, a constant would end somewhere else, and its rest would be SQL. So both functions have
-- the same settings.
--
-- Parameters:  scratch  a table of the caller whose only CHECK is the condition
--              source   the table that it is for
-- Returns:     condition          its text, as PostgreSQL writes it: whole, quoted, with the types of its constants
--              condition_columns  the columns in it with their plain types
-- Errors:      22023
CREATE FUNCTION pgbatch.check_condition(
    scratch regclass, source regclass, OUT condition text, OUT condition_columns jsonb
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on SET DateStyle = 'ISO' SET IntervalStyle = 'postgres' SET extra_float_digits = 1
SET array_nulls = on AS $$
DECLARE
    hint CONSTANT text := 'It may use columns, constants, and what comes with PostgreSQL and is IMMUTABLE. For anything else give '
        'the table a column, a generated one for example, and use that.';
    checks   int;
    parsed   text;
    keys     smallint[];
    culprit  text;
BEGIN
    SELECT count(*), min(c.conbin::text), min(pg_get_expr(c.conbin, c.conrelid)), min(c.conkey)
    INTO checks, parsed, condition, keys
    FROM pg_constraint c WHERE c.conrelid = scratch AND c.contype = 'c';
    IF checks <> 1 THEN
        PERFORM pgbatch.reject('condition is invalid: it is not one expression', 'Give one, for example ''amount > 100''.');
    END IF;
    culprit := pgbatch.foreign_part(parsed);
    IF culprit IS NOT NULL THEN
        PERFORM pgbatch.reject('condition is invalid: ' || culprit, hint);
    END IF;
    SELECT coalesce(jsonb_object_agg(a.attname, format_type(a.atttypid, -1)), '{}') INTO condition_columns
    FROM pg_attribute a WHERE a.attrelid = scratch AND a.attnum = ANY (keys);
    PERFORM pgbatch.check_condition_columns(source, condition_columns);
END
$$;

-- pgbatch.foreign_part: looks through a parsed expression for what must not be in a condition.
--
-- Parameters:  parsed  a pg_node_tree as text
-- Returns:     the first such part, in words; NULL = there is none
CREATE FUNCTION pgbatch.foreign_part(parsed text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH called (function) AS (
        SELECT m[1]::oid FROM regexp_matches(parsed, ':(?:funcid|opfuncid) ([0-9]+)', 'g') m
        UNION
        SELECT o.oprcode FROM regexp_matches(parsed, ':opno ([0-9]+)', 'g') m JOIN pg_operator o ON o.oid = m[1]::oid
        UNION
        SELECT o.oprcode
        FROM regexp_matches(parsed, ':opnos \(o ([0-9 ]+)\)', 'g') m
        CROSS JOIN LATERAL string_to_table(m[1], ' ') n
        JOIN pg_operator o ON o.oid = n::oid
    )
    (SELECT 'it names the row as a whole' WHERE parsed ~ ':varattno 0 ')
    UNION ALL
    (SELECT format('%s is not a part of PostgreSQL', p.oid::regprocedure)
     FROM called c JOIN pg_proc p ON p.oid = c.function WHERE p.oid >= 16384 ORDER BY p.oid LIMIT 1)
    UNION ALL
    (SELECT format('%s is not immutable: its result can differ for the same row', p.oid::regprocedure)
     FROM called c JOIN pg_proc p ON p.oid = c.function WHERE p.provolatile <> 'i' ORDER BY p.oid LIMIT 1)
    UNION ALL
    (SELECT format('type %s is not a part of PostgreSQL', m[1]::oid::regtype)
     FROM regexp_matches(parsed, ':[a-z_]*type(?:id)? ([0-9]+)', 'g') m WHERE m[1]::oid >= 16384 LIMIT 1)
    UNION ALL
    (SELECT 'it depends on the time or the session, as CURRENT_DATE and CURRENT_USER do'
     WHERE parsed ~ '\{SQLVALUEFUNCTION ')
    UNION ALL
    (SELECT format('it is more than an expression: %s', lower(m[1]))
     FROM regexp_matches(parsed,
         '\{(SUBLINK|SUBPLAN|QUERY|AGGREF|WINDOWFUNC|NEXTVALUEEXPR|COERCETODOMAIN|PARAM|CURRENTOFEXPR) ', 'g') m
     LIMIT 1)
    LIMIT 1
$$;

-- pgbatch.check_condition_columns: checks that the columns of a condition are still what it was checked with. With
-- another type, its operators would be other ones.
--
-- Parameters:  source  the table
--              condition_columns  as check_condition() returned them
-- Errors:      22023
CREATE FUNCTION pgbatch.check_condition_columns(source regclass, condition_columns jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    changed record;
BEGIN
    SELECT k.key AS name, k.value AS was, p.type AS is INTO changed
    FROM jsonb_each_text(condition_columns) k
    LEFT JOIN pgbatch.plain_columns(source) p ON p.name = k.key
    WHERE p.type IS DISTINCT FROM k.value
    ORDER BY k.key LIMIT 1;
    IF FOUND THEN
        PERFORM pgbatch.reject(
            format('the condition is about column %I of %s, which was of type %s and %s', changed.name, source, changed.was,
                coalesce('is of type ' || changed.is, 'is not there')),
            'Drop the trigger with pgbatch.drop_trigger(), and make it again with pgbatch.enqueue_on_insert().');
    END IF;
END
$$;
