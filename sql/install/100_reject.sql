-- pgbatch.reject: raises the ERROR of a bad argument.
--
-- Parameters:  message  what is wrong, beginning with the argument's name
--              hint     what to do about it
-- Returns:     never
-- Errors:      22023
CREATE FUNCTION pgbatch.reject(message text, hint text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = message, HINT = hint;
END
$$;

-- pgbatch.reject_unknown: raises the ERROR of a queue or batch that does not exist.
--
-- Parameters:  message  which one
--              hint     what to do about it
-- Returns:     never
-- Errors:      42704
CREATE FUNCTION pgbatch.reject_unknown(message text, hint text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'undefined_object', MESSAGE = message, HINT = hint;
END
$$;
