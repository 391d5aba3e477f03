-- The triggers whose table, and PostgreSQL's own trigger on it, are there. Whoever drops either drops no row of
-- pgbatch.trigger; the rows left over are not seen here, and go when their name is used again.
CREATE VIEW pgbatch.live_triggers AS
SELECT t.*, p.tgname, p.tgenabled
FROM pgbatch.trigger t
JOIN pg_catalog.pg_trigger p ON p.tgrelid = t.source
    AND p.tgargs = pg_catalog.convert_to(t.name, pg_catalog.getdatabaseencoding()) || '\x00'
JOIN pg_catalog.pg_proc f ON f.oid = p.tgfoid
    AND f.proname = 'enqueue_inserted' AND f.pronamespace = 'pgbatch'::pg_catalog.regnamespace;
