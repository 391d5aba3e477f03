-- The extension is trusted: whoever may create objects in the database may install it, and the script then runs as the
-- superuser, who would own all of it. It must belong to the installer instead: its SECURITY DEFINER functions run as
-- him and not as a superuser, and his pg_dump may read the tables. Last of all, so that nothing can be forgotten.
DO $$
DECLARE
    relation pg_catalog.regclass;
    routine  pg_catalog.regprocedure;
BEGIN
    FOR relation IN
        -- Sequences of identity columns and indexes follow their tables.
        SELECT c.oid FROM pg_catalog.pg_class c
        WHERE c.relnamespace = 'pgbatch'::pg_catalog.regnamespace AND c.relkind IN ('r', 'v')
    LOOP
        EXECUTE pg_catalog.format('ALTER TABLE %s OWNER TO @extowner@', relation);
    END LOOP;
    FOR routine IN
        SELECT p.oid FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'pgbatch'::pg_catalog.regnamespace
    LOOP
        EXECUTE pg_catalog.format('ALTER ROUTINE %s OWNER TO @extowner@', routine);
    END LOOP;
    ALTER SCHEMA pgbatch OWNER TO @extowner@;
END
$$;
