-- pgbatch.enqueue_ranges: makes a batch whose items are ranges of a table's key, about equally many rows each: {"from", "to"},
-- both inclusive and both keys that are there. Every row that the calling statement sees is in exactly one range, rows of
-- equal keys in the same one.
--
-- A small table is cut exactly. Of a large one a sample of its pages says where to cut, so gaps and skew do no harm and the
-- table is not read whole: about 30 pages are looked at for each range, a tenth of the table at most, and each cut is looked
-- up in the index of the key. Pages and not rows: those of a page often have neighbouring keys, and count as one. With that
-- many, a range in twenty is off by more than a third (binomial: 2 / sqrt(30)).
--
-- It runs as the caller, who needs SELECT on the table; row security holds.
--
-- Parameters:  queue          which queue
--              source         a table, a partitioned table, or a materialized view
--              key            its column; some index must begin with it
--              rows_per_item  rows in a range, from 1
--              the others as for enqueue()
-- Returns:     the id of the batch; an empty table makes an empty batch, which succeeds at once
-- Errors:      22023 for a bad argument, a key that no index begins with, or one with NULLs; 42703 for an unknown column;
--              42809 for what is no table; 42704 for an unknown queue or batch in `after`
-- Locks:       none that another enqueuer waits for, but one with the same unique key
-- Writes:      batch, item
CREATE FUNCTION pgbatch.enqueue_ranges(
    queue text, source regclass, key name, rows_per_item int,
    label text DEFAULT NULL, priority int DEFAULT 0, not_before timestamptz DEFAULT NULL, unique_key text DEFAULT NULL,
    batch_key text DEFAULT NULL, after bigint[] DEFAULT NULL, max_attempts int DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    less     text;
    percent  float8;
    kept     float8;
    has_null boolean;
BEGIN
    PERFORM pgbatch.check_ranges(source, key, rows_per_item);
    less := pgbatch.key_order(source, key);
    EXECUTE format('SELECT EXISTS (SELECT FROM %s t WHERE t.%I IS NULL)', source, key) INTO has_null;
    IF has_null THEN
        PERFORM pgbatch.reject(format('key is invalid: column %I of %s has NULLs, and such rows would be in no range', key, source),
            'Give a column without NULLs, or make the ranges with pgbatch.enqueue_query().');
    END IF;
    percent := pgbatch.sample_percent(source, rows_per_item);
    -- Of the rows of those pages 100 a range are enough, and soon sorted.
    kept := CASE WHEN percent < 100 THEN least(1, 100 / (rows_per_item * percent / 100)) ELSE 1 END;
    RETURN pgbatch.enqueue_query(queue, format($query$
        WITH sample AS (
            SELECT t.%2$I AS key FROM %1$s t %4$s
        ), cut AS (
            SELECT DISTINCT n.key FROM (SELECT s.key, row_number() OVER (ORDER BY s.key) AS n FROM sample s) n
            WHERE n.n %% %5$s = 1 %% %5$s
            UNION
            (SELECT t.%2$I FROM %1$s t ORDER BY t.%2$I LIMIT 1)
        ), range AS (
            SELECT c.key AS "from", lead(c.key) OVER (ORDER BY c.key) AS next FROM cut c
        )
        SELECT r."from", CASE WHEN r.next IS NULL
            THEN (SELECT t.%2$I FROM %1$s t ORDER BY t.%2$I DESC LIMIT 1)
            ELSE (SELECT t.%2$I FROM %1$s t WHERE t.%2$I %3$s r.next ORDER BY t.%2$I DESC LIMIT 1) END AS "to"
        FROM range r ORDER BY r."from"$query$,
        source, key, less,
        CASE WHEN percent < 100 THEN format('TABLESAMPLE SYSTEM (%s) WHERE random() < %s', percent, kept) END,
        greatest(1, round(rows_per_item * percent / 100 * kept))::bigint),
        label, priority, not_before, unique_key, batch_key, after, max_attempts);
END
$$;
COMMENT ON FUNCTION pgbatch.enqueue_ranges IS
    'Makes a batch of ranges of a table''s key, about rows_per_item rows each; it runs when the transaction has committed';

-- pgbatch.check_ranges: checks what enqueue_ranges() is to cut.
--
-- Parameters:  as enqueue_ranges()
-- Errors:      as enqueue_ranges()
CREATE FUNCTION pgbatch.check_ranges(source regclass, key name, rows_per_item int) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF source IS NULL OR key IS NULL THEN
        PERFORM pgbatch.reject(format('%s must not be NULL', CASE WHEN source IS NULL THEN 'source' ELSE 'key' END),
            'Give a table and one of its columns, for example ''orders'', ''id''.');
    END IF;
    PERFORM pgbatch.check_number('rows_per_item', rows_per_item, 1);
    IF NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = source AND c.relkind IN ('r', 'p', 'm')) THEN
        RAISE EXCEPTION USING ERRCODE = 'wrong_object_type', MESSAGE = format('source is invalid: %s is no table', source),
            HINT = 'Make the ranges of a view or a foreign table with pgbatch.enqueue_query().';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_attribute a
                   WHERE a.attrelid = source AND a.attname = key AND a.attnum > 0 AND NOT a.attisdropped) THEN
        RAISE EXCEPTION USING ERRCODE = 'undefined_column', MESSAGE = format('column %I of %s does not exist', key, source),
            HINT = 'key names the column to cut the table by.';
    END IF;
END
$$;

-- pgbatch.key_order: the operator "less than" of a column, as some index of it has it.
--
-- Parameters:  as enqueue_ranges()
-- Returns:     OPERATOR(schema.name)
-- Errors:      22023 where no index begins with the column, in the order of its type and whole
CREATE FUNCTION pgbatch.key_order(source regclass, key name) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    operator text;
BEGIN
    SELECT format('OPERATOR(%I.%s)', n.nspname, o.oprname) INTO operator
    FROM pg_index i
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attname = key_order.key AND a.attnum = i.indkey[0]
    JOIN pg_opclass c ON c.oid = i.indclass[0] AND c.opcdefault
    JOIN pg_am m ON m.oid = c.opcmethod AND m.amname = 'btree'
    -- 1: "less than", by the strategy numbers of btree.
    JOIN pg_amop s ON s.amopfamily = c.opcfamily AND s.amopstrategy = 1
        AND s.amoplefttype = c.opcintype AND s.amoprighttype = c.opcintype
    JOIN pg_operator o ON o.oid = s.amopopr
    JOIN pg_namespace n ON n.oid = o.oprnamespace
    WHERE i.indrelid = source AND i.indisvalid AND i.indpred IS NULL AND i.indcollation[0] = a.attcollation
    LIMIT 1;
    IF NOT FOUND THEN
        PERFORM pgbatch.reject(format('key is invalid: no index of %s begins with column %I', source, key),
            'Make one with CREATE INDEX, else every cut would read the whole table.');
    END IF;
    RETURN operator;
END
$$;

-- pgbatch.sample_percent: how much of a table to read to find where to cut it.
--
-- Parameters:  as enqueue_ranges()
-- Returns:     per cent of its pages; 100 = all of it, and the cuts are exact
CREATE FUNCTION pgbatch.sample_percent(source regclass, rows_per_item int) RETURNS float8
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    -- Exact where that costs little: few rows, or so small ranges that a sample would be a good part of the table.
    SELECT CASE WHEN t.rows < 100000 OR s.of_rows > 20 THEN 100
        ELSE least(10, greatest(s.of_rows, s.of_pages)) END
    FROM (
        -- What ANALYZE or VACUUM saw, at the size of today. A table that neither has seen: some 100 bytes a row.
        SELECT coalesce(sum(c.pages), 0) AS pages, coalesce(sum(c.pages * c.density), 0) AS rows
        FROM (
            SELECT pg_relation_size(c.oid) / current_setting('block_size')::float8 AS pages,
                CASE WHEN c.reltuples >= 0 AND c.relpages > 0 THEN c.reltuples / c.relpages
                    ELSE current_setting('block_size')::float8 / 100 END AS density
            FROM (SELECT source AS oid UNION SELECT p.relid FROM pg_partition_tree(source) p) p
            JOIN pg_class c ON c.oid = p.oid AND c.relkind IN ('r', 'm')) c) t
    CROSS JOIN LATERAL (
        SELECT 100 * greatest(30 * t.rows / sample_percent.rows_per_item, 10000) / nullif(t.rows, 0) AS of_rows,
            100 * 30 * t.rows / sample_percent.rows_per_item / nullif(t.pages, 0) AS of_pages) s
$$;
