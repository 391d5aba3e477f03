-- pgbatch.read_scaled_job: what a ScaledJob of KEDA becomes here: see dispatcher/core/src/scaled_job.rs. Needs the library.
--
-- Parameters:  manifest  one ScaledJob (keda.sh/v1alpha1), YAML or JSON
-- Returns:     {"steps": [{"what", "name", "path", "message", "statement"}, ...], "notes": [{"what", "path", "message", "hint",
--              "statement"}, ...]}
-- Errors:      22023 with the path in the manifest
CREATE FUNCTION pgbatch.read_scaled_job(manifest text) RETURNS jsonb
LANGUAGE c IMMUTABLE STRICT AS 'MODULE_PATHNAME', 'read_scaled_job_wrapper';
