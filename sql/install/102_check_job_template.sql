-- pgbatch.check_job_template: checks a Job template strictly: unknown fields, wrong types, missing parts, bad names and
-- quantities, and what pgbatch sets itself. Needs the library.
--
-- Parameters:  job_template  a batch/v1 JobTemplateSpec
-- Errors:      22023 with the JSON path; the first problems of several are in the DETAIL
CREATE FUNCTION pgbatch.check_job_template(job_template jsonb) RETURNS void
LANGUAGE c IMMUTABLE STRICT AS 'MODULE_PATHNAME', 'check_job_template_wrapper';
