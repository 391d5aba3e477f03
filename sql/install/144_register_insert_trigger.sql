-- The two steps of enqueue_on_insert(), which runs as the caller: before and after he makes the trigger on his table.

-- pgbatch.prepare_insert_trigger: checks what enqueue_on_insert() is asked for, and frees the name that it gets if a
-- trigger had it that is gone.
--
-- Parameters:  as enqueue_on_insert()
-- Returns:     trigger_name  the name that it gets
--              columns       those of the table, with plain types, for a scratch table of the condition
-- Errors:      as enqueue_on_insert()
-- Writes:      trigger
CREATE FUNCTION pgbatch.prepare_insert_trigger(
    source regclass, queue text, name text, OUT trigger_name text, OUT columns text
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    taken text;
BEGIN
    IF source IS NULL THEN
        PERFORM pgbatch.reject('source must not be NULL', 'Give a table, for example ''orders''.');
    END IF;
    PERFORM pgbatch.check_right(queue, 'manage');
    PERFORM pgbatch.check_insert_source(source);
    IF NOT EXISTS (SELECT FROM pgbatch.queue q WHERE q.name = prepare_insert_trigger.queue) THEN
        PERFORM pgbatch.reject_unknown_queue(queue);
    END IF;
    SELECT coalesce(prepare_insert_trigger.name, format('%s-%s', c.relname, queue)) INTO trigger_name
    FROM pg_class c WHERE c.oid = source;
    IF char_length(trigger_name) NOT BETWEEN 1 AND 128 THEN
        PERFORM pgbatch.reject(format('name must be of 1 to 128 characters, not %s', char_length(trigger_name)),
            'Leave name out for the table''s name, "-" and the queue''s.');
    END IF;
    SELECT t.name INTO taken FROM pgbatch.live_triggers t
    WHERE t.kind = 'insert' AND t.source = prepare_insert_trigger.source AND t.queue = prepare_insert_trigger.queue;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'duplicate_object',
            MESSAGE = format('trigger "%s" enqueues the rows of %s to queue "%s" already', taken, source, queue),
            HINT = 'For another condition drop it first, with pgbatch.drop_trigger().';
    END IF;
    IF EXISTS (SELECT FROM pgbatch.live_triggers t WHERE t.name = trigger_name) THEN
        RAISE EXCEPTION USING ERRCODE = 'duplicate_object', MESSAGE = format('trigger "%s" exists already', trigger_name),
            HINT = 'The view pgbatch.triggers lists them; give another name => ....';
    END IF;
    PERFORM pgbatch.forget_trigger(trigger_name);
    SELECT string_agg(format('%I %s, ', p.name, p.type), '' ORDER BY p.number) INTO columns
    FROM pgbatch.plain_columns(source) p;
END
$$;

-- pgbatch.check_insert_source: checks that a relation is a table that can have the trigger.
--
-- Parameters:  source  the relation
-- Errors:      42704 if it does not exist, 42809 for what is no table, 22023 for a table of pgbatch itself
CREATE FUNCTION pgbatch.check_insert_source(source regclass) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    c pg_class;
BEGIN
    SELECT r.* INTO c FROM pg_class r WHERE r.oid = source;
    IF NOT FOUND THEN
        PERFORM pgbatch.reject_unknown(format('source is invalid: relation %s does not exist', source::oid),
            'Give a table, for example ''orders''.');
    END IF;
    IF c.relkind NOT IN ('r', 'p') THEN
        RAISE EXCEPTION USING ERRCODE = 'wrong_object_type',
            MESSAGE = format('source is invalid: %s is no table but a %s', source, CASE c.relkind WHEN 'v' THEN 'view'
                WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' ELSE 'relation of another kind' END),
            HINT = CASE c.relkind WHEN 'v' THEN 'Rows are inserted into the tables behind it: give one of those.'
                ELSE 'PostgreSQL does not tell what is inserted there: enqueue its rows with pgbatch.enqueue_query().' END;
    END IF;
    IF c.relnamespace = 'pgbatch'::regnamespace THEN
        PERFORM pgbatch.reject(format('source is invalid: %s belongs to pgbatch', source),
            'A batch would make the next one, for ever. To start one batch after another, enqueue it with after => ....');
    END IF;
END
$$;

-- pgbatch.register_insert_trigger: writes down the trigger that the caller has just made. That it is on the table says
-- that he may put it there.
--
-- Parameters:  source, queue, name  as enqueue_on_insert()
--              scratch  a table whose CHECK is the condition, see check_condition(); NULL = no condition
-- Errors:      as enqueue_on_insert(); 42501 if there is no such trigger
-- Locks:       queue, against other creators and drop_queue(), not against enqueuers
-- Writes:      trigger
CREATE FUNCTION pgbatch.register_insert_trigger(source regclass, queue text, name text, scratch regclass) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    LOCK TABLE pgbatch.queue IN SHARE ROW EXCLUSIVE MODE;
    -- Again, under the lock.
    PERFORM pgbatch.prepare_insert_trigger(source, queue, name);
    INSERT INTO pgbatch.trigger (name, kind, queue, source, created_by)
    VALUES (register_insert_trigger.name, 'insert', register_insert_trigger.queue, register_insert_trigger.source,
        pgbatch.caller());
    IF NOT EXISTS (SELECT FROM pgbatch.live_triggers t WHERE t.name = register_insert_trigger.name) THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = format('table %s has no trigger of pgbatch', source),
            HINT = 'Call pgbatch.enqueue_on_insert(), which makes one.';
    END IF;
    IF scratch IS NOT NULL THEN
        UPDATE pgbatch.trigger t SET (condition, condition_columns) = (
            SELECT c.condition, c.condition_columns
            FROM pgbatch.check_condition(scratch, register_insert_trigger.source) c)
        WHERE t.name = register_insert_trigger.name;
    END IF;
END
$$;

-- pgbatch.refuse_fed_queue: refuses to drop a queue that a trigger feeds.
--
-- Parameters:  queue  which queue
-- Errors:      55006
CREATE FUNCTION pgbatch.refuse_fed_queue(queue text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    feeder record;
BEGIN
    SELECT t.name, t.source INTO feeder FROM pgbatch.live_triggers t
    WHERE t.queue = refuse_fed_queue.queue ORDER BY t.name LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'object_in_use',
            MESSAGE = format('trigger "%s"%s feeds queue "%s"', feeder.name, ' on ' || feeder.source, queue),
            HINT = 'Drop it first, with pgbatch.drop_trigger().';
    END IF;
END
$$;
