-- pgbatch.check_kafka_keys: checks an object of options: no unknown key, and every value of its kind.
--
-- Parameters:  path   where it is, for the message
--              given  the object
--              known  what each key takes: "boolean", "count", "ms", "text", "file", "env", "object", or words, as in "a|b"
-- Errors:      22023 with the JSON path
CREATE FUNCTION pgbatch.check_kafka_keys(path text, given jsonb, known jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    bad record;
BEGIN
    IF jsonb_typeof(given) IS DISTINCT FROM 'object' THEN
        PERFORM pgbatch.reject(format('%s is invalid: %s, expected a JSON object', path, coalesce(jsonb_typeof(given), 'NULL')),
            'Leave it out for the defaults.');
    END IF;
    SELECT o.key INTO bad FROM jsonb_object_keys(given) o (key) WHERE NOT known ? o.key ORDER BY o.key LIMIT 1;
    IF FOUND THEN
        PERFORM pgbatch.reject(format('%s.%s is invalid: unknown option', path, bad.key),
            CASE WHEN bad.key IN ('password', 'token', 'key_password', 'key', 'cert', 'ca')
                THEN format('Nothing secret is stored here: put it into a file of the dispatcher''s and name that in %s_file.', bad.key)
                ELSE format('Known here: %s.', (SELECT string_agg(k, ', ' ORDER BY k) FROM jsonb_object_keys(known) k)) END);
    END IF;
    SELECT o.key, o.value, e.expected INTO bad
    FROM jsonb_each(given) o
    CROSS JOIN LATERAL (SELECT known ->> o.key AS kind, o.value #>> '{}' AS words, jsonb_typeof(o.value) AS type) v
    CROSS JOIN LATERAL (SELECT
        CASE v.kind
            WHEN 'boolean' THEN 'true or false'
            WHEN 'object' THEN 'a JSON object'
            WHEN 'count' THEN 'a whole number from 0 on'
            WHEN 'ms' THEN 'milliseconds, from 0 to 86400000'
            WHEN 'text' THEN 'a text of 1 to 256 characters'
            WHEN 'file' THEN 'the name of a file below the dispatcher''s --kafka-credentials'
            WHEN 'env' THEN 'the name of an environment variable that begins with PGBATCH_KAFKA_CREDENTIAL_'
            ELSE 'one of ' || replace(v.kind, '|', ', ') END AS expected,
        CASE v.kind
            WHEN 'boolean' THEN v.type = 'boolean'
            WHEN 'object' THEN v.type = 'object'
            WHEN 'count' THEN v.type = 'number' AND v.words ~ '^[0-9]{1,15}$'
            WHEN 'ms' THEN v.type = 'number' AND v.words ~ '^[0-9]{1,8}$' AND v.words::int <= 86400000
            WHEN 'text' THEN v.type = 'string' AND char_length(v.words) BETWEEN 1 AND 256
            -- The dispatcher looks again, and follows links.
            WHEN 'file' THEN v.type = 'string' AND v.words ~ '^[A-Za-z0-9_-][A-Za-z0-9._/-]{0,255}$' AND v.words !~ '(^|/)[.]'
            WHEN 'env' THEN v.type = 'string' AND v.words ~ '^PGBATCH_KAFKA_CREDENTIAL_[A-Z0-9_]{1,100}$'
            ELSE v.type = 'string' AND v.words = ANY (string_to_array(v.kind, '|')) END AS is_right) e
    WHERE NOT e.is_right ORDER BY o.key LIMIT 1;
    IF FOUND THEN
        PERFORM pgbatch.reject(format('%s.%s is invalid: %s, expected %s', path, bad.key, left(bad.value::text, 100), bad.expected),
            'Leave it out for its default.');
    END IF;
END
$$;

-- pgbatch.check_kafka_security: checks options.tls and options.sasl.
--
-- Parameters:  options  those of watch_kafka()
-- Errors:      22023 with the JSON path
CREATE FUNCTION pgbatch.check_kafka_security(options jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tls  CONSTANT jsonb := options -> 'tls';
    sasl CONSTANT jsonb := options -> 'sasl';
BEGIN
    IF tls IS NOT NULL AND jsonb_typeof(tls) <> 'boolean' THEN
        PERFORM pgbatch.check_kafka_keys('options.tls', tls, '{"ca_file": "file", "cert_file": "file", "key_file": "file",
            "key_password_file": "file", "key_password_env": "env"}');
        IF (tls ? 'cert_file') <> (tls ? 'key_file') THEN
            PERFORM pgbatch.reject('options.tls is invalid: cert_file and key_file go together',
                'A client certificate and its key; leave both out where the broker asks for none.');
        END IF;
        IF (tls ? 'key_password_file' OR tls ? 'key_password_env') AND NOT tls ? 'key_file' THEN
            PERFORM pgbatch.reject('options.tls is invalid: a password of a key, and no key_file', 'Name the key too.');
        END IF;
    END IF;
    IF sasl IS NULL THEN
        RETURN;
    END IF;
    PERFORM pgbatch.check_kafka_keys('options.sasl', sasl, '{"mechanism": "PLAIN|SCRAM-SHA-256|SCRAM-SHA-512|OAUTHBEARER",
        "username": "text", "username_file": "file", "username_env": "env", "password_file": "file", "password_env": "env",
        "token_file": "file"}');
    IF NOT sasl ? 'mechanism' THEN
        PERFORM pgbatch.reject('options.sasl.mechanism must be given', 'PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER.');
    END IF;
    IF sasl ->> 'mechanism' = 'OAUTHBEARER' THEN
        IF (SELECT array_agg(k ORDER BY k) FROM jsonb_object_keys(sasl) k) <> '{mechanism,token_file}' THEN
            PERFORM pgbatch.reject('options.sasl is invalid: OAUTHBEARER takes token_file, and nothing else',
                'A file with the token, renewed by whoever issues it; it is read again for every login.');
        END IF;
    ELSIF num_nonnulls(sasl -> 'username', sasl -> 'username_file', sasl -> 'username_env') <> 1
        OR num_nonnulls(sasl -> 'password_file', sasl -> 'password_env') <> 1 OR sasl ? 'token_file' THEN
        PERFORM pgbatch.reject(format('options.sasl is invalid: %s takes one of username, username_file and username_env, '
            'and one of password_file and password_env', sasl ->> 'mechanism'),
            'For example {"mechanism": "SCRAM-SHA-512", "username": "app", "password_file": "password"}.');
    END IF;
END
$$;

-- pgbatch.check_kafka_options: checks the options of watch_kafka().
--
-- Parameters:  options            as watch_kafka()
--              is_group, is_topic whether there is a consumer group, and a topic
-- Errors:      22023 with the JSON path
CREATE FUNCTION pgbatch.check_kafka_options(options jsonb, is_group boolean, is_topic boolean) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    for_all     CONSTANT jsonb := '{"offset_reset": "latest|earliest", "doorbell": "boolean", "poll_ms": "ms",
        "refresh_ms": "ms", "tls": "object",
        "sasl": "object"}';
    for_records CONSTANT jsonb := '{"on_lost": "stop|skip", "linger_ms": "ms"}';
    for_groups  CONSTANT jsonb := '{"activation_lag_threshold": "count", "allow_idle_consumers": "boolean",
        "scale_to_zero_on_invalid_offset": "boolean", "exclude_persistent_lag": "boolean",
        "limit_to_partitions_with_lag": "boolean", "ensure_even_distribution_of_partitions": "boolean",
        "partition_limitation": "text", "strategy": "default|accurate|eager",
        "combine": "max|min|avg|sum", "keda_parity": "boolean"}';
    wrong text;
BEGIN
    IF is_group AND options ?| ARRAY(SELECT jsonb_object_keys(for_records))
        OR NOT is_group AND options ?| ARRAY(SELECT jsonb_object_keys(for_groups)) THEN
        SELECT k INTO wrong FROM jsonb_object_keys(options) k
        WHERE CASE WHEN is_group THEN for_records ELSE for_groups END ? k ORDER BY k LIMIT 1;
        PERFORM pgbatch.reject(format('options.%s is invalid: it is for triggers %s a consumer group', wrong,
            CASE WHEN is_group THEN 'without' ELSE 'with' END), 'Leave it out, or make a trigger of the other form.');
    END IF;
    -- true is short for an object without a file.
    PERFORM pgbatch.check_kafka_keys('options', CASE WHEN jsonb_typeof(options -> 'tls') = 'boolean' THEN options - 'tls'
        ELSE options END, for_all || for_records || for_groups);
    SELECT k INTO wrong FROM unnest(ARRAY['poll_ms', 'refresh_ms']) k WHERE (options ->> k)::int < 100;
    IF FOUND THEN
        PERFORM pgbatch.reject(format('options.%s must be at least 100', wrong),
            'Leave it out for its default, and mind that the doorbell needs no period.');
    END IF;
    IF options ->> 'partition_limitation' !~ '^[0-9]{1,6}(-[0-9]{1,6})?( *, *[0-9]{1,6}(-[0-9]{1,6})?)*$' THEN
        PERFORM pgbatch.reject('options.partition_limitation is invalid: it must be of numbers and ranges',
            'For example "1,2,10-20".');
    END IF;
    SELECT k INTO wrong FROM jsonb_object_keys(options) k
    WHERE NOT is_topic AND k IN ('partition_limitation', 'limit_to_partitions_with_lag', 'ensure_even_distribution_of_partitions')
    ORDER BY k LIMIT 1;
    IF FOUND THEN
        PERFORM pgbatch.reject(format('options.%s is invalid: it is of one topic, and none is given', wrong), 'Give a topic.');
    END IF;
    IF options @> '{"limit_to_partitions_with_lag": true}'
        AND (options @> '{"allow_idle_consumers": true}' OR options @> '{"ensure_even_distribution_of_partitions": true}') THEN
        PERFORM pgbatch.reject('options.limit_to_partitions_with_lag is invalid: it excludes allow_idle_consumers and '
            'ensure_even_distribution_of_partitions', 'It means no more Jobs than partitions with lag.');
    END IF;
    PERFORM pgbatch.check_kafka_security(options);
END
$$;
