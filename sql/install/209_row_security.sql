-- Whose rows one sees. The views run as who reads them (security_invoker), and row security leaves the rows of the queues that he
-- may read. For the owner there is none, so his plans, and those of the functions, are as if this file were not here; and it
-- is kept in place by PostgreSQL: no function in somebody's WHERE sees a row first.
--
-- Which queues these are is found once in a statement: the rights that one may see are one's own.
ALTER TABLE pgbatch.queue_right ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON pgbatch.queue_right FOR SELECT
    USING (role_id = pg_catalog.to_regrole(pg_catalog.quote_ident(role_name)) AND pg_catalog.pg_has_role(role_id, 'USAGE'));

DO $$
DECLARE
    readable CONSTANT text := 'ARRAY[queue, ''*''] && ARRAY(SELECT r.queue FROM pgbatch.queue_right r WHERE r.what IN (''read'', ''own''))';
    secured  record;
BEGIN
    FOR secured IN
        SELECT * FROM (VALUES
            ('queue', pg_catalog.replace(readable, 'ARRAY[queue,', 'ARRAY[name,')),
            ('batch', readable), ('run', readable), ('retry', readable), ('trigger', readable), ('demand', readable), ('action', readable),
            -- Of what one sees of those, each by its key: a plan may read the whole table for an EXISTS.
            ('item', '(SELECT true FROM pgbatch.batch b WHERE b.id = batch_id LIMIT 1)'),
            ('report', '(SELECT true FROM pgbatch.run r WHERE r.id = run_id LIMIT 1)'),
            ('parallel_limit', '(SELECT true FROM pgbatch.queue q WHERE q.limit_name = parallel_limit.name LIMIT 1)'),
            ('watch_run', '(SELECT true FROM pgbatch.trigger t WHERE t.name = trigger_name LIMIT 1)'),
            ('schedule', '(SELECT true FROM pgbatch.trigger t WHERE t.name = trigger_name LIMIT 1)'),
            ('kafka_trigger', '(SELECT true FROM pgbatch.trigger t WHERE t.name = trigger_name LIMIT 1)')) s (name, condition)
    LOOP
        EXECUTE pg_catalog.format('ALTER TABLE pgbatch.%I ENABLE ROW LEVEL SECURITY', secured.name);
        EXECUTE pg_catalog.format('CREATE POLICY readable ON pgbatch.%I FOR SELECT USING (%s)', secured.name, secured.condition);
    END LOOP;
    FOR secured IN
        SELECT c.oid::pg_catalog.regclass AS name FROM pg_catalog.pg_class c
        WHERE c.relnamespace = 'pgbatch'::pg_catalog.regnamespace AND c.relkind = 'v'
    LOOP
        EXECUTE pg_catalog.format('ALTER VIEW %s SET (security_invoker = true)', secured.name);
    END LOOP;
END
$$;
