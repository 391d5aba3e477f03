-- A run is the Spring Batch job of one range of keys. A psql variable fits it to its place:
--   container_env  JSON array, the container's env: where the database is (PGHOST, PGPORT, PGDATABASE, PGUSER, PGPASSWORD)
SELECT pgbatch.create_queue('invoices', jsonb_build_object('spec', jsonb_build_object('template', jsonb_build_object('spec',
        jsonb_build_object('containers', jsonb_build_array(jsonb_build_object(
            'name', 'invoices',
            'image', 'pgbatch/spring-batch:dev',
            'imagePullPolicy', 'IfNotPresent',
            'args', jsonb_build_array('-jar', '/app/ranges.jar',
                -- Name, value, type. The range is the identity of the JobInstance: the next attempt goes on with this one.
                'from=$(PGBATCH_ARG_FROM),java.lang.Long',
                'to=$(PGBATCH_ARG_TO),java.lang.Long',
                -- Not identifying: another one at each attempt. By it pgbatch finds the JobExecution.
                'pgbatch.run_id=$(PGBATCH_RUN_ID),java.lang.Long,false'),
            'env', :'container_env'::jsonb)))))),
    max_parallel => 2, max_attempts => 4, retry_backoff => '1 s', options => '{"spring_batch": true}');
