-- Nightly chain: load, then one Job per region, then a mail. A step starts when the step before has succeeded; if that fails for
-- good, those behind it are cancelled, and `batches.cancel_reason` says why. To be run as the extension's owner.
SELECT pgbatch.create_queue('load', '{"spec": {"template": {"spec": {"containers": [{"name": "load", "image": "shop/load"}]}}}}'),
    pgbatch.create_queue('sums', '{"spec": {"template": {"spec": {"containers": [{"name": "sums", "image": "shop/sums"}]}}}}'),
    pgbatch.create_queue('mail', '{"spec": {"template": {"spec": {"containers": [{"name": "mail", "image": "shop/mail"}]}}}}');

-- The whole chain is one transaction: all of it is there, or nothing.
CREATE FUNCTION start_chain(item jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    night CONSTANT text := item ->> 'scheduled_for';
    load  bigint := pgbatch.enqueue('load', item, label => night);
    sums  bigint := pgbatch.enqueue_batch('sums', ARRAY['{"region": "north"}', '{"region": "south"}']::jsonb[],
        label => night, after => ARRAY[load]);
    mail  bigint := pgbatch.enqueue('mail', item, label => night, after => ARRAY[sums]);
BEGIN
    RETURN jsonb_build_object('load', load, 'sums', sums, 'mail', mail);
END
$$;

-- A queue of SQL starts it, exactly once a night: its statement and its outcome commit together.
SELECT pgbatch.create_queue('chains', sql => 'SELECT start_chain($1)');
SELECT pgbatch.schedule('nightly', 'chains', '30 2 * * *', 'Europe/Paris');
