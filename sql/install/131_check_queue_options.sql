-- pgbatch.check_queue_options: checks the options of a queue. There are two:
--
--     pending_pod_conditions  KEDA's pendingPodConditions: ["Ready"]: to watch_count() and watch_kafka() a run counts as pending
--                             until a pod of it has all these conditions; else until a container of it runs
--     spring_batch            its runs are applications of Spring Batch 5 or 6, whose tables are in this database: true, or
--                             {"schema": "public", "table_prefix": "BATCH_"}. See judge_spring_runs().
--
-- Of the tables of Spring Batch some are written with the rights of the extension's owner, whatever triggers they have. So, as with
-- watch_rows(), he alone may ask for that, and the tables must be his; the application needs SELECT, INSERT and UPDATE on them.
--
-- Parameters:  options  what was given; NULL = none
--              old      what is stored; NULL = none. What somebody else was allowed, and stays as it is, is allowed
-- Returns:     what is to be stored: with schema and table_prefix; NULL = none. A WARNING for each index that is missed
-- Errors:      22023 with the JSON path; 42501 for a caller who is not the extension's owner, and for tables that are not his
CREATE FUNCTION pgbatch.check_queue_options(options jsonb, old jsonb) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    unknown text;
BEGIN
    IF options IS NULL THEN
        RETURN NULL;
    END IF;
    IF jsonb_typeof(options) <> 'object' THEN
        PERFORM pgbatch.reject(format('options is invalid: %s, expected a JSON object', jsonb_typeof(options)),
            'For example {"spring_batch": true}.');
    END IF;
    SELECT k INTO unknown FROM jsonb_object_keys(options) k
    WHERE k NOT IN ('pending_pod_conditions', 'spring_batch') ORDER BY k LIMIT 1;
    IF FOUND THEN
        PERFORM pgbatch.reject(format('options.%s is invalid: unknown option', unknown),
            'Known here: pending_pod_conditions, spring_batch.');
    END IF;
    RETURN nullif(jsonb_strip_nulls(jsonb_build_object(
        'pending_pod_conditions', pgbatch.check_pod_conditions(options -> 'pending_pod_conditions'),
        'spring_batch', CASE WHEN options -> 'spring_batch' = old -> 'spring_batch' THEN old -> 'spring_batch'
            ELSE pgbatch.check_spring_options(options -> 'spring_batch') END)), '{}');
END
$$;

-- pgbatch.check_pod_conditions: checks options.pending_pod_conditions of a queue.
--
-- Parameters:  conditions  what was given; NULL = nothing
-- Returns:     what is to be stored; NULL = none
-- Errors:      22023
CREATE FUNCTION pgbatch.check_pod_conditions(conditions jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Kubernetes' rule for the type of a condition.
    IF conditions IS NOT NULL AND (jsonb_typeof(conditions) <> 'array' OR jsonb_array_length(conditions) > 16 OR EXISTS (
        SELECT FROM jsonb_path_query(conditions, 'strict $[*]') c (value)
        WHERE jsonb_typeof(c.value) <> 'string' OR char_length(c.value #>> '{}') > 316
            OR c.value #>> '{}' !~ '^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$')) THEN
        PERFORM pgbatch.reject(format('options.pending_pod_conditions is invalid: %s', left(conditions::text, 100)),
            'Give types of conditions of pods, at most 16: {"pending_pod_conditions": ["Ready"]}.');
    END IF;
    RETURN nullif(conditions, '[]');
END
$$;

-- pgbatch.check_spring_options: checks options.spring_batch of a queue.
--
-- Parameters:  spring  what was given; NULL = nothing
-- Returns:     what is to be stored: with schema and table_prefix; NULL = none. A WARNING for each index that is missed
-- Errors:      22023 with the JSON path; 42501 for a caller who is not the extension's owner, and for tables that are not his
CREATE FUNCTION pgbatch.check_spring_options(spring jsonb) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    usual   CONSTANT jsonb := '{"schema": "public", "table_prefix": "BATCH_"}';
    example CONSTANT text := 'For example {"spring_batch": true}, or {"spring_batch": {"schema": "batch", "table_prefix": "BATCH_"}}.';
    unknown text;
BEGIN
    IF spring IS NULL OR spring = 'false' THEN
        RETURN NULL;
    END IF;
    IF jsonb_typeof(spring) <> 'object' AND spring <> 'true' THEN
        PERFORM pgbatch.reject(format('options.spring_batch is invalid: %s', spring), example);
    END IF;
    spring := usual || CASE jsonb_typeof(spring) WHEN 'object' THEN spring ELSE '{}' END;
    SELECT k INTO unknown FROM jsonb_object_keys(spring) k WHERE NOT usual ? k ORDER BY k LIMIT 1;
    IF FOUND THEN
        PERFORM pgbatch.reject(format('options.spring_batch.%s is invalid: unknown option', unknown),
            'Known here: schema, table_prefix.');
    END IF;
    SELECT k INTO unknown FROM jsonb_object_keys(spring) k WHERE jsonb_typeof(spring -> k) <> 'string' ORDER BY k LIMIT 1;
    IF FOUND THEN
        PERFORM pgbatch.reject(format('options.spring_batch.%s is invalid: %s, expected a string', unknown, spring -> unknown),
            example);
    END IF;
    -- Spring writes the names unquoted, and the longest one must fit into 63 bytes.
    IF spring ->> 'table_prefix' !~ '^[A-Za-z_][A-Za-z0-9_]{0,42}$' THEN
        PERFORM pgbatch.reject(format('options.spring_batch.table_prefix is invalid: %L', spring ->> 'table_prefix'),
            'At most 43 letters, digits and "_", first a letter; the schema is an option of its own.');
    END IF;
    IF pgbatch.caller() <> current_user THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = format('options.spring_batch may be given by the extension''s owner only, by %I', current_user),
            HINT = format('The tables of Spring Batch are written with his rights. SET ROLE %I, if you may.', current_user);
    END IF;
    PERFORM pgbatch.check_spring_tables(spring);
    PERFORM pgbatch.warn_of_spring_scans(spring);
    RETURN spring;
END
$$;

-- pgbatch.spring_table: the name of a table of Spring Batch, quoted as needed.
--
-- Parameters:  spring  {"schema", "table_prefix"}, checked
--              name    which one, without the prefix: job_execution
CREATE FUNCTION pgbatch.spring_table(spring jsonb, name text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('%I.%I', spring ->> 'schema', lower(spring ->> 'table_prefix') || name)
$$;

-- pgbatch.check_spring_tables: checks that the tables of Spring Batch are what they are to be: tables with the columns that
-- are used here, and of the extension's owner. Also each time before they are used, as somebody may have put another one, or
-- a view, in the place of one.
--
-- Called by SECURITY DEFINER functions only, so current_user is the owner.
--
-- Parameters:  spring  {"schema", "table_prefix"}, checked
-- Errors:      22023 for what is missing, 42501 for what is not the owner's
CREATE FUNCTION pgbatch.check_spring_tables(spring jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    used    record;
    stored  record;
    missing text;
BEGIN
    FOR used IN
        SELECT * FROM (VALUES
            ('job_instance', '{job_instance_id,job_name}'::text[]),
            ('job_execution', '{job_execution_id,job_instance_id,version,start_time,end_time,status,exit_code,exit_message,'
                'last_updated}'),
            ('job_execution_params', '{job_execution_id,parameter_name,parameter_value}'),
            ('step_execution', '{step_execution_id,job_execution_id,version,step_name,start_time,end_time,status,exit_code,'
                'exit_message,last_updated,read_count,write_count,filter_count,commit_count,rollback_count,read_skip_count,'
                'process_skip_count,write_skip_count}')) t (name, columns)
    LOOP
        SELECT c.oid, c.oid::regclass AS name, c.relkind, c.relowner INTO stored
        FROM pg_class c WHERE c.oid = to_regclass(pgbatch.spring_table(spring, used.name));
        IF NOT FOUND OR stored.relkind <> 'r' THEN
            PERFORM pgbatch.reject(
                format('options.spring_batch is invalid: there is no table %s', pgbatch.spring_table(spring, used.name)),
                'Make the tables of Spring Batch first, with org/springframework/batch/core/schema-postgresql.sql of '
                'spring-batch-core; or say where they are: {"spring_batch": {"schema": "batch", "table_prefix": "BATCH_"}}.');
        END IF;
        SELECT c INTO missing FROM unnest(used.columns) c
        WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = stored.oid AND a.attname = c AND a.attnum > 0)
        LIMIT 1;
        IF FOUND THEN
            PERFORM pgbatch.reject(format('options.spring_batch is invalid: %s has no column %s', stored.name, missing),
                'Spring Batch 5 and 6 are served.');
        END IF;
        IF stored.relowner <> to_regrole(quote_ident(current_user)) THEN
            RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
                MESSAGE = format('options.spring_batch is invalid: %s belongs to %s, and not to the extension''s owner',
                    stored.name, stored.relowner::regrole),
                HINT = format('It is written with his rights, and its triggers run with them. ALTER TABLE %s OWNER TO %I, and '
                    'GRANT SELECT, INSERT, UPDATE on it to the application.', stored.name, current_user);
        END IF;
    END LOOP;
END
$$;

-- pgbatch.warn_of_spring_scans: warns of a table of Spring Batch that the dispatcher would read whole at each end of a run, for
-- want of an index. Spring has none, and never deletes: with 300,000 JobExecutions an end then takes seconds.
--
-- Parameters:  spring  {"schema", "table_prefix"}, checked
CREATE FUNCTION pgbatch.warn_of_spring_scans(spring jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    searched record;
BEGIN
    FOR searched IN
        SELECT pgbatch.spring_table(spring, t.name) AS name, t.columns, t.condition
        FROM (VALUES ('job_execution_params', 'parameter_value', ' WHERE parameter_name = ''pgbatch.run_id'''),
                     ('step_execution', 'job_execution_id', '')) t (name, columns, condition)
        WHERE NOT EXISTS (
            SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
            WHERE i.indrelid = to_regclass(pgbatch.spring_table(spring, t.name)) AND a.attname = t.columns AND i.indisvalid)
    LOOP
        RAISE WARNING USING MESSAGE = format('%s has no index for %s, and is read whole at each end of a run', searched.name,
                searched.columns),
            HINT = format('CREATE INDEX ON %s (%s)%s;', searched.name, searched.columns, searched.condition);
    END LOOP;
END
$$;
