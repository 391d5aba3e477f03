-- pgbatch.mark_watched: trigger function of watch_rows(): notes that a table which the query reads has changed. It costs
-- the changing transaction one short row, however many statements and rows it changes, and it waits for nobody.
--
-- Arguments:   the trigger's name
-- Locks:       none that another transaction waits for
-- Writes:      watch_mark
CREATE FUNCTION pgbatch.mark_watched() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- A dropped view has left its triggers on tables.
    IF EXISTS (SELECT FROM pgbatch.trigger t WHERE t.name = TG_ARGV[0]) THEN
        INSERT INTO pgbatch.watch_mark VALUES (pg_current_xact_id(), TG_ARGV[0]) ON CONFLICT DO NOTHING;
        PERFORM pgbatch.ring();
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION pgbatch.mark_watched IS 'Trigger function of pgbatch.watch_rows()';
