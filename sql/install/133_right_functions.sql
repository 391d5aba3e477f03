-- pgbatch.right_functions: the functions that a right brings EXECUTE on, steps of others included. The one list: grant(),
-- grant_dispatcher() and the tests read it.
--
-- Parameters:  what  as in queue_right; 'any' = what each of them brings
-- Returns:     names in the schema pgbatch
CREATE FUNCTION pgbatch.right_functions(what text) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE what
        -- From inside a run: its token is the right.
        WHEN 'any' THEN '{next_item,complete_item,complete_items,fail_item,heartbeat,run_statement,contract_version,version,transitions}'
        WHEN 'enqueue' THEN '{enqueue,enqueue_batch,enqueue_query,enqueue_ranges,open_query_batch,add_query_items,'
            'close_query_batch,check_ranges,check_number,key_order,sample_percent,reject,set_deadline}'
        WHEN 'manage' THEN '{alter_queue,reset_queue,pause_queue,resume_queue,cancel_batch,retry_batch,enqueue_on_insert,'
            'prepare_insert_trigger,register_insert_trigger,enqueue_inserted,watch_kafka,seek_kafka,schedule,register_schedule,'
            'alter_schedule,backfill,drop_trigger,trigger_drop,forget_trigger,withdraw_trigger,set_deadline}'
        WHEN 'read' THEN '{explain_item,explain_dispatcher,leader_key,wait_batch,spring_steps,peek_batches,peek_queues,peek_progress,find_batches,'
            'find_deadlines,batch_errors,error_kind,batch_map}'
        WHEN 'own' THEN '{grant,revoke,drop_queue}'
        -- The last four are for "pgbatch doctor": who leads, a try of the doorbell, and the version.
        WHEN 'dispatch' THEN '{await_lead,claim,claim_next,contract_version,doorbell_seq,finish_runs,kafka_items,kafka_triggers,next_attempts,note_kafka,'
            'note_runs,note_template,observe,observe_counts,over_runs,prune,ready_runs,run_specs,run_traces,start_runs,take_lag,take_records,try_lead,unchecked_templates,wait,'
            'explain_dispatcher,leader_key,ring,version}'
        WHEN 'scaled_jobs' THEN '{apply_scaled_job,keep_scaled_jobs}'
    END::text[]
$$;

-- pgbatch.right_relations: what rights bring SELECT on: the views, and what is behind them, whose rows are those of the role's
-- queues: see row_security.
--
-- Returns:     what      as right_functions()
--              relation  name in the schema pgbatch
--              columns   which of them; NULL = all
CREATE FUNCTION pgbatch.right_relations() RETURNS TABLE (what text, relation text, columns text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'any', r, NULL FROM unnest('{rights,queue_right}'::text[]) r
    UNION ALL
    SELECT 'read', r, NULL
    FROM unnest('{queues,batches,items,runs,limits,triggers,actions,action,batch_progress,open_batch,stored_item,live_triggers,queue,batch,'
        'item,report,retry,parallel_limit,trigger,watch_run,schedule,demand}'::text[]) r
    UNION ALL
    VALUES
        -- Not the token, which is the right of the run.
        ('read', 'run', 'id, queue, batch_id, first_item, last_item, attempt, max_attempt, disruptions, namespace, state, '
            'created_at, started_at, finished_at, exit_code, reason, message, result, heartbeat_at, disrupted, succeeded, failed'),
        ('read', 'kafka_trigger', 'trigger_name, lag, error')
$$;

-- pgbatch.settle_privileges: gives a role what its rights bring in PostgreSQL's own privileges, and takes what they do not bring
-- any more.
--
-- Parameters:  role_name  which role
-- Locks:       the caller must hold pgbatch.queue_right IN SHARE ROW EXCLUSIVE MODE: two at once would collide in the catalogs
CREATE FUNCTION pgbatch.settle_privileges(role_name text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    role     CONSTANT oid := to_regrole(quote_ident(role_name));
    rights   text[] := ARRAY(SELECT DISTINCT r.what FROM pgbatch.queue_right r
        WHERE r.role_id = role AND r.role_name = settle_privileges.role_name);
    brought  text[];
    routines text;
    taken    text;
    relation record;
BEGIN
    IF 'own' = ANY (rights) THEN
        rights := rights || '{enqueue,manage,read}';
    END IF;
    IF cardinality(rights) > 0 THEN
        rights := rights || 'any'::text;
    END IF;
    brought := ARRAY(SELECT f FROM unnest(rights) r CROSS JOIN LATERAL unnest(pgbatch.right_functions(r)) f);
    SELECT string_agg(p.oid::regprocedure::text, ', ') FILTER (WHERE p.proname = ANY (brought)),
        string_agg(p.oid::regprocedure::text, ', ') FILTER (WHERE p.proname <> ALL (brought))
    INTO routines, taken
    FROM pg_proc p
    WHERE p.pronamespace = 'pgbatch'::regnamespace AND p.proname IN (
        SELECT f FROM unnest('{any,enqueue,manage,read,own,dispatch,scaled_jobs}'::text[]) r
        CROSS JOIN LATERAL unnest(pgbatch.right_functions(r)) f);
    IF routines IS NOT NULL THEN
        EXECUTE format('GRANT USAGE ON SCHEMA pgbatch TO %I', role_name);
        EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO %I', routines, role_name);
    ELSE
        EXECUTE format('REVOKE USAGE ON SCHEMA pgbatch FROM %I', role_name);
    END IF;
    IF taken IS NOT NULL THEN
        EXECUTE format('REVOKE EXECUTE ON ROUTINE %s FROM %I', taken, role_name);
    END IF;
    FOR relation IN
        SELECT r.what, format('SELECT%s ON pgbatch.%I', ' (' || r.columns || ')', r.relation) AS privilege
        FROM pgbatch.right_relations() r
    LOOP
        EXECUTE CASE WHEN relation.what = ANY (rights) THEN format('GRANT %s TO %I', relation.privilege, role_name)
            ELSE format('REVOKE %s FROM %I', relation.privilege, role_name) END;
    END LOOP;
END
$$;
