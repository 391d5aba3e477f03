-- pgbatch.check_query_maker: refuses a query of somebody else than the extension's owner. Whose code a query is, his rights it
-- has: PostgreSQL runs the functions of a view as who reads it, and that is later the extension's owner.
--
-- Called by SECURITY DEFINER functions only, so current_user is the owner.
--
-- Parameters:  may      what only the owner may, for the message
--              instead  what to do instead, for the hint
-- Errors:      42501
CREATE FUNCTION pgbatch.check_query_maker(may text, instead text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF pgbatch.caller() <> current_user THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = format('%s by the extension''s owner only, by %I', may, current_user),
            HINT = format('The query runs with his rights. SET ROLE %I, if you may; or %s.', current_user, instead);
    END IF;
END
$$;

-- pgbatch.create_query_view: makes the view that is the query of a trigger.
--
-- It runs as the caller and with his search_path, as the query must; that is why every name here is qualified by hand.
--
-- Parameters:  view   its name
--              query  a SELECT
--              hint   what to give instead of a bad one
-- Errors:      22023 for a bad query
-- Writes:      the view
CREATE FUNCTION pgbatch.create_query_view(view text, query text, hint text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    problem pg_catalog.text;
BEGIN
    EXECUTE pg_catalog.format('CREATE VIEW pgbatch.%I AS %s', view, query);
EXCEPTION WHEN syntax_error_or_access_rule_violation OR feature_not_supported OR data_exception OR invalid_schema_name THEN
    GET STACKED DIAGNOSTICS problem = MESSAGE_TEXT;
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
        MESSAGE = pg_catalog.format('query is invalid: %s', problem), HINT = hint;
END
$$;

-- pgbatch.claim_trigger_name: checks the name of a new trigger, and frees it if a trigger had it that is gone.
--
-- Parameters:  name     the name
--              example  a call, for the hint
-- Errors:      22023 for a bad name, 42710 for one that is taken
-- Writes:      trigger
CREATE FUNCTION pgbatch.claim_trigger_name(name text, example text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF char_length(name) BETWEEN 1 AND 128 IS NOT TRUE THEN
        PERFORM pgbatch.reject(format('name must be of 1 to 128 characters, not %s', coalesce(char_length(name)::text, 'NULL')),
            format('For example %s.', example));
    END IF;
    IF EXISTS (SELECT FROM pgbatch.live_triggers t WHERE t.name = claim_trigger_name.name) THEN
        RAISE EXCEPTION USING ERRCODE = 'duplicate_object', MESSAGE = format('trigger "%s" exists already', name),
            HINT = 'The view pgbatch.triggers lists them; drop it first, with pgbatch.drop_trigger(), or give another name.';
    END IF;
    PERFORM pgbatch.forget_trigger(name);
END
$$;
