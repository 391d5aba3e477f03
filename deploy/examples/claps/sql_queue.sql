-- (a) A batch of pure SQL: each item is one call of a procedure, in a Job of its own.
-- The work and its outcome commit together, so a failed attempt leaves nothing behind but its error.
CREATE OR REPLACE PROCEDURE make_clap(item jsonb)
LANGUAGE plpgsql AS $$
DECLARE
    attempt int := current_setting('pgbatch.attempt')::int;  -- set by pgbatch, as are pgbatch.run_id, batch_id, item_no
    started timestamptz := clock_timestamp();
BEGIN
    PERFORM pg_sleep((item->>'duration_seconds')::int);
    IF attempt < 4 THEN
        RAISE EXCEPTION 'clap % did not sound, iteration %', item->>'id', attempt
            USING HINT = 'it does at the fourth';
    END IF;
    INSERT INTO clap (id, status, session_id, creation_date, creation_time, end_time, iteration)
    VALUES ((item->>'id')::int, 'SUCCESS', 'run ' || current_setting('pgbatch.run_id'),
            current_date, started, clock_timestamp(), attempt);
END $$;

SELECT pgbatch.create_queue('claps-sql', sql => 'CALL make_clap($1)',
    max_parallel => 30, max_attempts => 4, retry_backoff => '1 s', retry_backoff_max => '2 s',
    keep_succeeded => 10, keep_failed => 5);
