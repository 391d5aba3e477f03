-- pgbatch.jobs_to_create: how many Jobs a demand asks for, as KEDA counts: see dispatcher/core/src/scaling.rs. Needs the library.
--
-- Parameters:  readings  [{"value", "target", "is_active"}, ...], in the order of the triggers
--              policy    {"strategy", "custom_deduction", "custom_running_percentage", "combine", "min", "max"}
--              running   Jobs that have not ended, those that are pending included
--              pending   of these, those that do not run yet
-- Errors:      22023 for what is neither
CREATE FUNCTION pgbatch.jobs_to_create(readings jsonb, policy jsonb, running int, pending int) RETURNS int
LANGUAGE c IMMUTABLE STRICT AS 'MODULE_PATHNAME', 'jobs_to_create_wrapper';
