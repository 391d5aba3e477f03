-- pg_dump takes the rows of an extension's tables, and the numbers of its sequences, only where it is told to.
SELECT pg_catalog.pg_extension_config_dump('pgbatch.installation', '');
SELECT pg_catalog.pg_extension_config_dump('pgbatch.parallel_limit', '');
SELECT pg_catalog.pg_extension_config_dump('pgbatch.queue', '');
-- Not of roles that are gone: where it is restored, the name may be another role's.
SELECT pg_catalog.pg_extension_config_dump('pgbatch.queue_right',
    'WHERE role_id = pg_catalog.to_regrole(pg_catalog.quote_ident(role_name))');
SELECT pg_catalog.pg_extension_config_dump('pgbatch.action', '');
SELECT pg_catalog.pg_extension_config_dump('pgbatch.action_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('pgbatch.trigger', '');
SELECT pg_catalog.pg_extension_config_dump('pgbatch.watched_key', '');
SELECT pg_catalog.pg_extension_config_dump('pgbatch.kafka_trigger', '');
SELECT pg_catalog.pg_extension_config_dump('pgbatch.kafka_cursor', '');
SELECT pg_catalog.pg_extension_config_dump('pgbatch.schedule', '');
SELECT pg_catalog.pg_extension_config_dump('pgbatch.occurrence', '');
SELECT pg_catalog.pg_extension_config_dump('pgbatch.scaling', '');
SELECT pg_catalog.pg_extension_config_dump('pgbatch.demand', '');
SELECT pg_catalog.pg_extension_config_dump('pgbatch.demand_batch', '');
SELECT pg_catalog.pg_extension_config_dump('pgbatch.scaled_job', '');
SELECT pg_catalog.pg_extension_config_dump('pgbatch.batch', '');
SELECT pg_catalog.pg_extension_config_dump('pgbatch.batch_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('pgbatch.item', '');
SELECT pg_catalog.pg_extension_config_dump('pgbatch.run', '');
SELECT pg_catalog.pg_extension_config_dump('pgbatch.run_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('pgbatch.report', '');
SELECT pg_catalog.pg_extension_config_dump('pgbatch.retry', '');
SELECT pg_catalog.pg_extension_config_dump('pgbatch.pruning', '');
