-- The triggers that are there, with all that they need: the table or the view that is the query, if they have one. Whoever
-- drops that drops no row of pgbatch.trigger; the rows left over are not seen here, and go when their name is used again.
CREATE VIEW pgbatch.live_triggers AS
SELECT t.*, p.enabled, p.drops
FROM pgbatch.trigger t
LEFT JOIN pg_catalog.pg_class c ON c.oid = t.source
CROSS JOIN LATERAL (
    -- PostgreSQL's own triggers on tables.
    SELECT coalesce(pg_catalog.bool_and(p.tgenabled <> 'D'), t.source IS NULL) AS enabled,
        pg_catalog.string_agg(pg_catalog.format('DROP TRIGGER %I ON %s', p.tgname, p.tgrelid::pg_catalog.regclass), '; '
            ORDER BY p.tgrelid) AS drops
    FROM pg_catalog.pg_trigger p
    WHERE p.tgfoid = pg_catalog.to_regproc(
            CASE t.kind WHEN 'insert' THEN 'pgbatch.enqueue_inserted' ELSE 'pgbatch.mark_watched' END)
        AND p.tgargs = pg_catalog.convert_to(t.name, pg_catalog.getdatabaseencoding()) || '\x00'
        AND (t.kind <> 'insert' OR p.tgrelid = t.source)) p
WHERE CASE t.kind WHEN 'insert' THEN p.drops IS NOT NULL
    WHEN 'kafka' THEN true
    ELSE t.source IS NULL OR c.relkind = 'v' AND c.relnamespace = 'pgbatch'::pg_catalog.regnamespace END;
