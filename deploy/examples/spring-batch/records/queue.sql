-- A run is the Spring Batch job of one range of a partition's offsets. A psql variable fits it to its place:
--   container_env  JSON array, the container's env: where the database is (PGHOST, PGPORT, PGDATABASE, PGUSER, PGPASSWORD), and
--                  KAFKA_BOOTSTRAP_SERVERS
SELECT pgbatch.create_queue('clicks', jsonb_build_object('spec', jsonb_build_object('template', jsonb_build_object('spec',
        jsonb_build_object('containers', jsonb_build_array(jsonb_build_object(
            'name', 'clicks',
            'image', 'pgbatch/spring-batch:dev',
            'imagePullPolicy', 'IfNotPresent',
            'args', jsonb_build_array('-jar', '/app/records.jar',
                'topic=$(PGBATCH_ARG_TOPIC)',
                'partition=$(PGBATCH_ARG_PARTITION),java.lang.Long',
                'from=$(PGBATCH_ARG_FROM),java.lang.Long',
                'to=$(PGBATCH_ARG_TO),java.lang.Long',
                'pgbatch.run_id=$(PGBATCH_RUN_ID),java.lang.Long,false'),
            'env', :'container_env'::jsonb)))))),
    max_parallel => 2, max_attempts => 4, retry_backoff => '1 s', options => '{"spring_batch": true}');
