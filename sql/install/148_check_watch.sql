-- pgbatch.read_relations: what a view reads, through other views, and for each table its partitions and children.
--
-- From the parsed query and not from pg_depend, which leaves out what comes with PostgreSQL.
--
-- Parameters:  source  the view
-- Returns:     relations, the view included
CREATE FUNCTION pgbatch.read_relations(source regclass) RETURNS TABLE (relation regclass)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH RECURSIVE read (relation) AS (
        SELECT read_relations.source::oid
        UNION
        SELECT n.relation
        FROM read r
        CROSS JOIN LATERAL (
            SELECT m[1]::oid FROM pg_rewrite w CROSS JOIN LATERAL regexp_matches(w.ev_action::text, ':relid ([0-9]+)', 'g') m
            WHERE w.ev_class = r.relation AND w.rulename = '_RETURN'
            UNION ALL
            SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = r.relation
        ) n (relation)
    )
    SELECT r.relation::regclass FROM read r WHERE r.relation <> 0
$$;

-- pgbatch.check_watch: checks that PostgreSQL tells of every change of what a view returns.
--
-- Parameters:  source  the view
-- Errors:      22023 for what changes by itself or cannot be watched, 42501 for a table of another owner
CREATE FUNCTION pgbatch.check_watch(source regclass) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    relation record;
    part     text;
BEGIN
    FOR relation IN
        SELECT c.oid::regclass AS name, c.relkind, c.relowner, c.oid < 16384 AS is_system,
            c.relnamespace = 'pgbatch'::regnamespace AS is_own
        FROM pgbatch.read_relations(source) r JOIN pg_class c ON c.oid = r.relation
        WHERE c.oid <> source ORDER BY c.oid
    LOOP
        IF relation.is_system OR relation.is_own OR relation.relkind NOT IN ('r', 'p', 'v') THEN
            PERFORM pgbatch.reject(
                format('query is invalid: it reads %s, a %s, and nobody is told when that changes', relation.name, CASE
                    WHEN relation.is_system THEN 'system catalog' WHEN relation.is_own THEN 'relation of pgbatch'
                    WHEN relation.relkind = 'f' THEN 'foreign table' WHEN relation.relkind = 'm' THEN 'materialized view'
                    ELSE 'relation that is no table' END),
                'Read tables only, or call pgbatch.enqueue_query() when you know that something is new.');
        END IF;
        IF relation.relkind <> 'v' AND NOT pg_has_role(current_user, relation.relowner, 'USAGE') THEN
            RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
                MESSAGE = format('query is invalid: it reads %s, which is not of %s', relation.name, current_user),
                HINT = 'Triggers are put on the tables that it reads, and dropped again: they must be the extension''s owner''s.';
        END IF;
    END LOOP;
    IF NOT EXISTS (SELECT FROM pgbatch.read_relations(source) r JOIN pg_class c ON c.oid = r.relation
                   WHERE c.relkind IN ('r', 'p')) THEN
        PERFORM pgbatch.reject('query is invalid: it reads no table', 'Without one nothing ever changes.');
    END IF;
    SELECT p.part INTO part
    FROM pgbatch.read_relations(source) r
    JOIN pg_rewrite w ON w.ev_class = r.relation AND w.rulename = '_RETURN'
    CROSS JOIN LATERAL (SELECT pgbatch.changing_part(w.ev_action::text) AS part) p
    WHERE p.part IS NOT NULL LIMIT 1;
    IF FOUND THEN
        PERFORM pgbatch.reject('query is invalid: ' || part,
            'Nobody is told when that changes. Compare with columns of tables; for a time in the future enqueue with not_before.');
    END IF;
END
$$;

-- pgbatch.changing_part: looks through a parsed query for what changes by itself.
--
-- Of the functions that come with PostgreSQL and are STABLE those are allowed that depend on settings like TimeZone only; a
-- user's STABLE function reads tables that cannot be seen from here.
--
-- Parameters:  parsed  a pg_node_tree as text
-- Returns:     the first such part, in words; NULL = there is none
CREATE FUNCTION pgbatch.changing_part(parsed text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH called (function) AS (
        SELECT m[1]::oid FROM regexp_matches(parsed, ':(?:funcid|opfuncid|aggfnoid|winfnoid) ([0-9]+)', 'g') m
        UNION
        SELECT o.oprcode FROM regexp_matches(parsed, ':opno ([0-9]+)', 'g') m JOIN pg_operator o ON o.oid = m[1]::oid
    )
    (SELECT format(CASE WHEN p.provolatile = 'v' THEN '%s is volatile'
            WHEN p.oid < 16384 THEN 'the result of %s changes by itself'
            ELSE '%s is not immutable, so it may read what cannot be seen from here' END, p.oid::regprocedure)
     FROM called c JOIN pg_proc p ON p.oid = c.function
     WHERE p.provolatile <> 'i' AND NOT (p.provolatile = 's' AND p.oid < 16384 AND p.proname ~ (
         '^(concat|concat_ws|format|array_to_string|textanycat|anytextcat|quote_[a-z]+|length|convert[a-z_]*|money|numeric|xml'
         '|to_jsonb?|(row|array)_to_json|jsonb?_(agg|object_agg|build|populate|to|path)[a-z_]*'
         '|to_(char|date|number|timestamp|tsquery|tsvector)|[a-z]+_tsquery'
         '|date|date_part|date_trunc|extract|time|timetz|timestamp|timestamptz|timezone|make_timestamptz|overlaps|in_range'
         '|generate_series|enum_[a-z]+|[a-z]+_(cmp|eq|ne|lt|le|gt|ge|pl|mi)_[a-z]+)$'))
     ORDER BY p.oid LIMIT 1)
    UNION ALL
    (SELECT 'it depends on the time or the session, as CURRENT_DATE and CURRENT_USER do'
     WHERE parsed ~ '\{SQLVALUEFUNCTION ')
    UNION ALL
    (SELECT 'a sample of a table is another one each time' WHERE parsed ~ '\{TABLESAMPLECLAUSE ')
    UNION ALL
    (SELECT 'it locks rows' WHERE parsed ~ '\{ROWMARKCLAUSE ')
    LIMIT 1
$$;
