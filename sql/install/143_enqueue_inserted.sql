-- pgbatch.enqueue_inserted: trigger function of enqueue_on_insert(): the rows that a statement has inserted are the items
-- of one batch. Set-based; what it needs of memory is bounded by work_mem.
--
-- It runs as the extension's owner, so that who inserts needs no right here: the right was its maker's, who is in
-- pgbatch.trigger with a table that was his to put triggers on. Nobody's code but PostgreSQL's runs in it: see
-- plain_columns() and check_condition(), which says why the settings are.
--
-- Arguments:   the trigger's name
-- Errors:      22023 for a row that is too large, or a column of the condition that has changed; 55000 where nobody has
--              made this trigger with enqueue_on_insert(); 42704 for an unknown queue
-- Locks:       none that another one who inserts waits for
-- Writes:      batch, item
CREATE FUNCTION pgbatch.enqueue_inserted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on SET DateStyle = 'ISO' SET IntervalStyle = 'postgres' SET extra_float_digits = 1
SET array_nulls = on AS $$
DECLARE
    t         pgbatch.trigger;
    source    text;
    total     bigint;
    batch     bigint;
    too_large int;
BEGIN
    SELECT f.* INTO t FROM pgbatch.trigger f WHERE f.name = TG_ARGV[0] AND f.source = TG_RELID AND f.kind = 'insert';
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('trigger %I on table %s was not made by pgbatch.enqueue_on_insert()', TG_NAME, TG_RELID::regclass),
            HINT = format('Drop it: DROP TRIGGER %I ON %s', TG_NAME, TG_RELID::regclass);
    END IF;
    source := format('(SELECT %s FROM inserted i) new',
        (SELECT string_agg(c.expression, ', ' ORDER BY c.number) FROM pgbatch.plain_columns(TG_RELID) c));
    IF t.condition IS NULL THEN
        total := (SELECT count(*) FROM inserted);
    ELSE
        PERFORM pgbatch.check_condition_columns(TG_RELID, t.condition_columns);
        source := format('%s WHERE %s', source, t.condition);
        EXECUTE 'SELECT count(*) FROM ' || source INTO total;
    END IF;
    IF total = 0 THEN
        RETURN NULL;
    END IF;
    -- One statement reads the queue and inserts, as in insert_batch().
    INSERT INTO pgbatch.batch AS b
        (queue, state, items, has_fresh, priority, max_attempts, label, trigger_name, created_by)
    SELECT q.name, 'pending', total, true, 0, q.max_attempts, t.name, t.name, pgbatch.caller()
    FROM pgbatch.queue q WHERE q.name = t.queue
    RETURNING b.id INTO batch;
    IF NOT FOUND THEN
        PERFORM pgbatch.reject_unknown_queue(t.queue);
    END IF;
    EXECUTE format('WITH added AS (
            INSERT INTO pgbatch.item (batch_id, item_no, item)
            SELECT $1, row_number() OVER (), to_jsonb(new.*) FROM %s
            RETURNING CASE WHEN octet_length(item::text) > 65536 THEN item_no END AS too_large)
        SELECT min(a.too_large) FROM added a', source)
    INTO too_large USING batch;
    IF too_large IS NOT NULL THEN
        PERFORM pgbatch.reject_item(format('items[%s]', too_large),
            (SELECT i.item FROM pgbatch.item i WHERE i.batch_id = batch AND i.item_no = too_large));
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION pgbatch.enqueue_inserted IS 'Trigger function of pgbatch.enqueue_on_insert()';
