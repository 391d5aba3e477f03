-- pgbatch.insert_items: checks items and inserts them.
--
-- Parameters:  batch_id  a batch made by the current transaction
--              first_no  the number of the first one
--              items     the items
-- Errors:      22023 with the JSON path of the first bad item
-- Writes:      item
CREATE FUNCTION pgbatch.insert_items(batch_id bigint, first_no int, items jsonb[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    bad record;
BEGIN
    SELECT i.item, insert_items.first_no - 1 + i.ordinality AS item_no INTO bad
    FROM unnest(insert_items.items) WITH ORDINALITY i (item, ordinality)
    WHERE i.item IS NULL OR jsonb_typeof(i.item) <> 'object' OR octet_length(i.item::text) > 65536
    ORDER BY i.ordinality LIMIT 1;
    IF FOUND THEN
        PERFORM pgbatch.reject_item(format('items[%s]', bad.item_no), bad.item);
    END IF;
    INSERT INTO pgbatch.item (batch_id, item_no, item)
    SELECT insert_items.batch_id, insert_items.first_no - 1 + i.ordinality, i.item
    FROM unnest(insert_items.items) WITH ORDINALITY i (item, ordinality);
END
$$;

-- pgbatch.reject_item: raises the ERROR of a bad item.
--
-- Parameters:  path  where it is, for the message; the first of an array is items[1], as it is item_no 1
--              item  the item
-- Returns:     never
-- Errors:      22023
CREATE FUNCTION pgbatch.reject_item(path text, item jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF jsonb_typeof(item) = 'object' THEN
        PERFORM pgbatch.reject(
            format('%s is too large: %s bytes as text, at most 65536 are allowed', path, octet_length(item::text)),
            'An item goes into environment variables. Store large data in a table and put its key into the item.');
    END IF;
    PERFORM pgbatch.reject(
        format('%s is invalid: %s, expected a JSON object', path, coalesce(jsonb_typeof(item), 'NULL')),
        'Give a JSON object, for example {"id": 7}.');
END
$$;
