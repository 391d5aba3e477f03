-- Without the library a Job template is checked by the dispatcher: strictly, as the library would, but after the call. Until
-- then, and for as long as it is invalid, the queue starts nothing, and pgbatch.queues.template_error says why.

-- pgbatch.check_job_template: refuses what cannot be a Job template at all.
--
-- Parameters:  job_template  a batch/v1 JobTemplateSpec
-- Errors:      22023
CREATE FUNCTION pgbatch.check_job_template(job_template jsonb) RETURNS void
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF jsonb_typeof(job_template) <> 'object' THEN
        PERFORM pgbatch.reject(format('job_template is invalid at $: it is %s, not an object', jsonb_typeof(job_template)),
            'A job_template is the JobTemplateSpec of batch/v1: "metadata" and "spec" of a Job.');
    END IF;
END
$$;

-- pgbatch.uncheck_template: trigger function: a template that is new has not been checked.
CREATE FUNCTION pgbatch.uncheck_template() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' OR NEW.job_template IS DISTINCT FROM OLD.job_template THEN
        NEW.template_checked := NEW.job_template IS NULL;
        NEW.template_error := NULL;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER uncheck_template BEFORE INSERT OR UPDATE ON pgbatch.queue
    FOR EACH ROW EXECUTE FUNCTION pgbatch.uncheck_template();
