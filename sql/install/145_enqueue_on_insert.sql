-- pgbatch.enqueue_on_insert: from now on, each row that is inserted into a table is an item: its columns are the keys. A
-- statement (COPY, INSERT ... SELECT) makes one batch of its rows, in the inserting transaction; one that inserts no
-- (matching) row makes none.
--
-- Columns of types that do not come with PostgreSQL are text in the item and in the condition, as COPY would write them.
-- An INSERT that names a partition passes the triggers of that partition, not those of the partitioned table.
--
-- It runs as the caller, who needs TRIGGER on the table, and for a condition TEMPORARY on the database. Dropping the
-- trigger again needs the table's owner.
--
-- Parameters:  source     a table, a partitioned one, or a partition
--              queue      which queue
--              condition  only rows for which this is true, for example 'amount > 100' or 'new.amount > 100'; with columns,
--                         constants and what comes with PostgreSQL and is IMMUTABLE
--              name       of the trigger; NULL = the table's name, "-", the queue's
-- Returns:     the name of the trigger
-- Errors:      22023 for a bad argument or condition, 42703 for an unknown column in it, 42704 for an unknown queue, 42809 for
--              what is no table, 42710 for a table that has one for the queue, or a name that is taken; 42501 for a
--              queue that the caller may not manage
-- Locks:       the table against writers, for a moment; queue, against other creators, not against enqueuers
-- Writes:      trigger; a trigger on the table
CREATE FUNCTION pgbatch.enqueue_on_insert(
    source regclass, queue text, condition text DEFAULT NULL, name text DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    prepared record := pgbatch.prepare_insert_trigger(source, queue, name);
    problem  text;
    code     text;
BEGIN
    IF condition IS NOT NULL THEN
        -- PostgreSQL's own check: a CHECK is parsed and stored, and nothing of it is run.
        BEGIN
            EXECUTE format(E'CREATE TEMPORARY TABLE new (%s CONSTRAINT condition CHECK (%s\n))', prepared.columns, condition);
        EXCEPTION
            WHEN insufficient_privilege OR duplicate_table THEN
                RAISE;
            WHEN syntax_error_or_access_rule_violation OR feature_not_supported OR data_exception THEN
                GET STACKED DIAGNOSTICS problem = MESSAGE_TEXT, code = RETURNED_SQLSTATE;
                RAISE EXCEPTION USING
                    ERRCODE = CASE code WHEN '42703' THEN code ELSE '22023' END,
                    MESSAGE = format('condition is invalid: %s',
                        replace(replace(problem, 'check constraint', 'condition'), 'argument of CHECK', 'it')),
                    HINT = 'Give a boolean expression over the columns of the table, for example ''amount > 100''.';
        END;
    END IF;
    EXECUTE format('CREATE TRIGGER %I AFTER INSERT ON %s REFERENCING NEW TABLE AS inserted
        FOR EACH STATEMENT EXECUTE FUNCTION pgbatch.enqueue_inserted(%L)', 'pgbatch_' || queue, source, prepared.trigger_name);
    PERFORM pgbatch.register_insert_trigger(source, queue, prepared.trigger_name,
        CASE WHEN condition IS NOT NULL THEN to_regclass('pg_temp.new') END);
    IF condition IS NOT NULL THEN
        DROP TABLE pg_temp.new;
    END IF;
    RETURN prepared.trigger_name;
END
$$;
COMMENT ON FUNCTION pgbatch.enqueue_on_insert IS
    'Each row that is inserted into the table is an item; a statement''s rows are one batch';
