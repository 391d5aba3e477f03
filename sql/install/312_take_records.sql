-- pgbatch.take_records: makes a batch of the records that a trigger of watch_kafka() has not cut into items yet, and moves its
-- cursors behind them, in one transaction: so every record is in exactly one item, whoever is killed when. At most 10,000
-- items a call.
--
-- A topic with another number than before was made again: all of it is new. A cursor outside of its log stays where it is, and
-- the error says so: the records are lost, or the log was cut; options.on_lost = "skip" goes on where the log begins.
--
-- Parameters:  epoch       of the dispatcher that says so
--              name        which trigger; one that is gone is passed over
--              topic_id    Kafka's number of the topic; NULL = the broker has none, or there is no topic
--              partitions  [{"partition", "start", "end"}, ...]: the first offset there is, and the last stable one
--              is_whole    a look at the whole topic, and not at what is new only: says what is wrong, or that nothing is
--              is_complete of that: these are all partitions that there are
--              only_full   leave what is no whole item
--              problem     what else is wrong, for people; NULL = nothing
-- Returns:     {"items": so many, "more": true if some are left that could be cut, "rest": if some are left of less than an
--              item, "lost": [for people, ...]}; NULL for a trigger that is gone
-- Errors:      55000 if another dispatcher leads
-- Locks:       the trigger's row and its cursors
-- Writes:      kafka_trigger, kafka_cursor, batch, item
CREATE FUNCTION pgbatch.take_records(
    epoch bigint, name text, topic_id text, partitions jsonb, is_whole boolean, is_complete boolean, only_full boolean,
    problem text
) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    t      pgbatch.kafka_trigger;
    taken  record;
    wrong  text;
    lost   jsonb;
    again  boolean;
BEGIN
    PERFORM pgbatch.check_epoch(epoch);
    SELECT k.* INTO t FROM pgbatch.kafka_trigger k
    WHERE k.trigger_name = name AND k.consumer_group IS NULL FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    again := coalesce(t.topic_id <> take_records.topic_id, false);
    IF again THEN
        DELETE FROM pgbatch.kafka_cursor c WHERE c.trigger_name = name;
    END IF;
    lost := pgbatch.place_cursors(t, partitions, again);
    taken := pgbatch.cut_records(t, partitions, only_full);
    IF is_whole THEN
        SELECT left(string_agg(w.words, '; '), 4096) INTO wrong FROM (
            SELECT problem WHERE problem IS NOT NULL
            UNION ALL SELECT pgbatch.misplaced_cursors(name, partitions)) w (words);
        UPDATE pgbatch.kafka_trigger k SET topic_id = coalesce(take_records.topic_id, k.topic_id),
            positioned = k.positioned OR is_complete, error = wrong
        WHERE k.trigger_name = name AND (again OR k.topic_id IS NULL AND take_records.topic_id IS NOT NULL
            OR is_complete AND NOT k.positioned OR k.error IS DISTINCT FROM wrong);
    END IF;
    RETURN jsonb_build_object('items', taken.items, 'more', taken.more, 'rest', taken.rest, 'lost', lost);
END
$$;
COMMENT ON FUNCTION pgbatch.take_records IS 'Dispatcher: makes items of new records, and moves the cursors behind them';

-- pgbatch.place_cursors: gives a cursor to each partition that has none, and, where the trigger skips lost records, moves those
-- that the log has left behind.
--
-- Parameters:  t           the trigger
--              partitions  as take_records()
--              from_start  all records are new
-- Returns:     what was skipped, for people
-- Writes:      kafka_cursor
CREATE FUNCTION pgbatch.place_cursors(t pgbatch.kafka_trigger, partitions jsonb, from_start boolean) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    lost jsonb;
BEGIN
    INSERT INTO pgbatch.kafka_cursor (trigger_name, partition, next_offset)
    SELECT t.trigger_name, p.partition,
        CASE WHEN from_start OR t.positioned OR t.options ->> 'offset_reset' = 'earliest' THEN p.start ELSE p."end" END
    FROM jsonb_to_recordset(partitions) p (partition int, start bigint, "end" bigint)
    ON CONFLICT DO NOTHING;
    IF t.options ->> 'on_lost' = 'skip' THEN
        WITH skipped AS (
            UPDATE pgbatch.kafka_cursor c SET next_offset = p.start
            FROM jsonb_to_recordset(partitions) p (partition int, start bigint)
            -- The old row, for what was there.
            JOIN pgbatch.kafka_cursor o ON o.trigger_name = t.trigger_name AND o.partition = p.partition
            WHERE c.trigger_name = t.trigger_name AND c.partition = p.partition AND c.next_offset < p.start
            RETURNING format('partition %s: records from offset %s to %s are lost', p.partition, o.next_offset, p.start - 1) AS words
        ) SELECT jsonb_agg(s.words) INTO lost FROM skipped s;
    END IF;
    RETURN coalesce(lost, '[]');
END
$$;

-- pgbatch.cut_records: the items.
--
-- Parameters:  t           the trigger
--              partitions  as take_records()
--              only_full   leave what is no whole item
-- Returns:     as take_records()
-- Writes:      kafka_cursor, batch, item
CREATE FUNCTION pgbatch.cut_records(
    t pgbatch.kafka_trigger, partitions jsonb, only_full boolean, OUT items int, OUT more boolean, OUT rest boolean
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at_most CONSTANT int := 10000;
    batch   bigint;
    ranges  jsonb;
BEGIN
    SELECT jsonb_agg(jsonb_build_object('p', r.partition, 'f', r."from", 't', r."to") ORDER BY r.place, r.partition) INTO ranges
    FROM (
        SELECT p.partition, s."from", s."from" + least(t.records_per_item, p."end" - s."from") AS "to", s.place
        FROM jsonb_to_recordset(partitions) p (partition int, start bigint, "end" bigint)
        JOIN pgbatch.kafka_cursor c ON c.trigger_name = t.trigger_name AND c.partition = p.partition
            AND c.next_offset BETWEEN p.start AND p."end" - 1
        CROSS JOIN LATERAL (
            -- Numbered, not counted up by records_per_item: that may be as large as a bigint.
            SELECT c.next_offset + n * t.records_per_item AS "from", n AS place
            FROM generate_series(0, least((p."end" - 1 - c.next_offset) / t.records_per_item, at_most)) n) s
        WHERE NOT (only_full AND p."end" - s."from" < t.records_per_item)
        -- In turn, so that one long partition does not keep the others waiting.
        ORDER BY s.place, p.partition LIMIT at_most) r;
    items := coalesce(jsonb_array_length(ranges), 0);
    IF items > 0 THEN
        INSERT INTO pgbatch.batch (queue, state, items, has_fresh, priority, max_attempts, label, trigger_name, created_by)
        SELECT q.name, 'pending', cut_records.items, true, 0, q.max_attempts, d.name, d.name, d.created_by
        FROM pgbatch.trigger d JOIN pgbatch.queue q ON q.name = d.queue
        WHERE d.name = t.trigger_name RETURNING id INTO batch;
        INSERT INTO pgbatch.item (batch_id, item_no, item)
        SELECT batch, r.place, jsonb_build_object('topic', t.topic, 'partition', r.range -> 'p', 'from', r.range -> 'f',
            'to', r.range -> 't')
        FROM jsonb_array_elements(ranges) WITH ORDINALITY r (range, place);
        UPDATE pgbatch.kafka_cursor c SET next_offset = r.done
        FROM (SELECT r.p, max(r.t) AS done FROM jsonb_to_recordset(ranges) r (p int, t bigint) GROUP BY r.p) r
        WHERE c.trigger_name = t.trigger_name AND c.partition = r.p;
    END IF;
    SELECT coalesce(bool_or(p."end" - c.next_offset >= CASE WHEN only_full THEN t.records_per_item ELSE 1 END), false),
        coalesce(bool_or(p."end" - c.next_offset > 0), false)
    INTO more, rest
    FROM jsonb_to_recordset(partitions) p (partition int, start bigint, "end" bigint)
    JOIN pgbatch.kafka_cursor c ON c.trigger_name = t.trigger_name AND c.partition = p.partition
        AND c.next_offset BETWEEN p.start AND p."end" - 1;
END
$$;

-- pgbatch.misplaced_cursors: what is wrong with the cursors of a trigger.
--
-- Parameters:  name        which trigger
--              partitions  as take_records()
-- Returns:     for people, in words; the first ten
CREATE FUNCTION pgbatch.misplaced_cursors(name text, partitions jsonb) RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN c.next_offset < p.start
        THEN format('partition %s: records from offset %s to %s are lost, its log begins at %s now; go on with '
            'pgbatch.seek_kafka(%L, %s, %s)', p.partition, c.next_offset, p.start - 1, p.start, name, p.partition, p.start)
        ELSE format('partition %s ends at offset %s, before %s, which was to be next: its log was cut; go on with '
            'pgbatch.seek_kafka(%L, %s, %s)', p.partition, p."end", c.next_offset, name, p.partition, p."end") END
    FROM jsonb_to_recordset(partitions) p (partition int, start bigint, "end" bigint)
    JOIN pgbatch.kafka_cursor c ON c.trigger_name = name AND c.partition = p.partition
    WHERE c.next_offset NOT BETWEEN p.start AND p."end"
    ORDER BY p.partition LIMIT 10
$$;
