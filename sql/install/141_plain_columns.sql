-- pgbatch.plain_columns: the columns of a table, each as a value of a type that comes with PostgreSQL.
--
-- What runs as the extension's owner must not touch values of other types: whoever made the type may have made a cast
-- for it, to json for example, whose function would then run as the owner. Domains are their base type, which no cast can
-- come between; all else is the text that the type writes by itself, as in COPY: an enum's label, (1,2) of a composite.
--
-- In PL/pgSQL, which keeps its plan: it is called for every statement that inserts.
--
-- Parameters:  source  a table
-- Returns:     number, name  of the column
--              type          as it is to be written in SQL
--              expression    its value, of a row `i`, under its name
CREATE FUNCTION pgbatch.plain_columns(source regclass)
RETURNS TABLE (number smallint, name name, type text, expression text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        WITH RECURSIVE base (number, name, type, is_domain) AS (
            SELECT a.attnum, a.attname, a.atttypid, false
            FROM pg_attribute a
            WHERE a.attrelid = plain_columns.source AND a.attnum > 0 AND NOT a.attisdropped
            UNION ALL
            SELECT b.number, b.name, t.typbasetype, true FROM base b JOIN pg_type t ON t.oid = b.type AND t.typtype = 'd'
        )
        SELECT b.number, b.name,
            CASE WHEN p.is_plain THEN format_type(b.type, -1) ELSE 'text' END,
            CASE WHEN NOT p.is_plain THEN format('CASE WHEN num_nulls(i.%1$I) = 0 THEN concat(i.%1$I) END AS %1$I', b.name)
                WHEN b.is_domain THEN format('i.%1$I::%2$s AS %1$I', b.name, format_type(b.type, -1))
                ELSE format('i.%I', b.name) END
        FROM base b
        JOIN pg_type t ON t.oid = b.type AND t.typtype <> 'd'
        -- 16384: the first number that PostgreSQL gives to what users make.
        CROSS JOIN LATERAL (SELECT b.type < 16384 AS is_plain) p
        ORDER BY b.number;
END
$$;
