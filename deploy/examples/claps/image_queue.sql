-- (b) A batch of an image: `psql` and a script (clap.sh). Two psql variables fit it to its place:
--   clap_command  JSON array, the container's command
--   clap_env      JSON array, the container's env: where the database is (PGHOST, PGPORT, PGDATABASE, PGUSER)
SELECT pgbatch.create_queue('claps', jsonb_build_object('spec', jsonb_build_object('template', jsonb_build_object('spec',
        jsonb_build_object('restartPolicy', 'Never', 'containers', jsonb_build_array(jsonb_build_object(
            'name', 'clap',
            'image', 'pgbatch/claps:dev',
            'imagePullPolicy', 'IfNotPresent',
            'command', :'clap_command'::jsonb,
            'env', :'clap_env'::jsonb)))))),
    max_parallel => 30, max_attempts => 4, retry_backoff => '1 s', retry_backoff_max => '2 s',
    keep_succeeded => 10, keep_failed => 5);
