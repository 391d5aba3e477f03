-- pgbatch.guard_extension: makes DROP EXTENSION without CASCADE refuse as long as there is a queue.
--
-- Tables of an extension are dropped with it silently, whatever is in them. A view that is no part of the extension and
-- reads one of its tables is an ordinary dependant: DROP EXTENSION then names it and stops, and pg_dump dumps and
-- restores it like any view. So it exists exactly while a queue does.
--
-- Locks:       the caller must hold pgbatch.queue IN SHARE ROW EXCLUSIVE MODE
-- Writes:      the view drop_extension_guard
CREATE FUNCTION pgbatch.guard_extension() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted  boolean := EXISTS (SELECT FROM pgbatch.queue);
    present boolean := to_regclass('pgbatch.drop_extension_guard') IS NOT NULL;
BEGIN
    IF wanted AND NOT present THEN
        CREATE VIEW pgbatch.drop_extension_guard WITH (security_invoker = true) AS SELECT name FROM pgbatch.queue;
        COMMENT ON VIEW pgbatch.drop_extension_guard IS
            'Makes DROP EXTENSION pgbatch refuse while there are queues; pgbatch.drop_queue() of the last one drops it';
    ELSIF present AND NOT wanted THEN
        DROP VIEW pgbatch.drop_extension_guard;
    END IF;
END
$$;
