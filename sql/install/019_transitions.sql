-- pgbatch.transitions: every change of state there is, and which function makes it. The README's section "States" is this
-- table, and BatchState, ItemState and RunState::can_become() in dispatcher/core/src/state.rs are it in Rust; a test
-- compares the three. Whatever is not in it is refused by a trigger; those of items, whose state follows from their runs,
-- are compared with random lives by a test.
--
-- Returns:     kind        batch, item or run
--              from_state  NULL = it is made in to_state
--              to_state
--              set_by      the functions, separated by ", "
CREATE FUNCTION pgbatch.transitions() RETURNS TABLE (kind text, from_state text, to_state text, set_by text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT t.kind, f.state, s.state, t.set_by
    FROM (VALUES
        ('batch', '{NULL}',             '{waiting,pending}',                            'enqueue'),
        ('batch', '{waiting}',          '{pending}',                                    'observe'),
        ('batch', '{pending}',          '{running}',                                    'claim'),
        ('batch', '{pending}',          '{succeeded}',                                  'observe'),
        ('batch', '{running}',          '{succeeded,failed}',                           'finish_runs'),
        ('batch', '{failed}',           '{running}',                                    'retry_batch'),
        ('batch', '{waiting}',          '{cancelled}',                                  'cancel_batch, observe'),
        ('batch', '{pending}',          '{cancelled}',                                  'cancel_batch'),
        ('batch', '{running}',          '{cancelled}',                                  'cancel_batch, finish_runs'),
        ('item',  '{NULL}',             '{pending}',                                    'enqueue'),
        ('item',  '{pending,retrying}', '{running}',                                    'claim'),
        ('item',  '{running}',          '{succeeded}',                                  'complete_item, finish_runs'),
        ('item',  '{running}',          '{retrying,failed,cancelled}',                  'finish_runs'),
        ('item',  '{failed}',           '{retrying}',                                   'retry_batch'),
        ('item',  '{pending}',          '{cancelled}',                                  'cancel_batch, observe'),
        ('item',  '{retrying}',         '{cancelled}',                                  'cancel_batch'),
        ('run',   '{NULL}',             '{starting}',                                   'claim'),
        ('run',   '{starting}',         '{running}',                                    'start_runs'),
        ('run',   '{starting,running}', '{succeeded,failed,timed_out,lost,cancelled}',  'finish_runs')
    ) t (kind, from_states, to_states, set_by)
    CROSS JOIN LATERAL unnest(t.from_states::text[]) f (state)
    CROSS JOIN LATERAL unnest(t.to_states::text[]) s (state)
$$;
COMMENT ON FUNCTION pgbatch.transitions IS 'Every change of state of a batch, an item or a run, and who makes it';

-- pgbatch.allowed_changes: the same as words: "run starting running". Being immutable and without arguments it is asked once for a
-- plan, so that the trigger only looks a word up.
CREATE FUNCTION pgbatch.allowed_changes() RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT ARRAY(SELECT concat_ws(' ', t.kind, t.from_state, t.to_state)
        FROM pgbatch.transitions() t WHERE t.from_state IS NOT NULL)
$$;

-- pgbatch.check_transition: trigger function: refuses a change of state that is not in the table.
--
-- Errors:      23514
CREATE FUNCTION pgbatch.check_transition() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF concat_ws(' ', TG_TABLE_NAME, OLD.state, NEW.state) <> ALL (pgbatch.allowed_changes()) THEN
        RAISE EXCEPTION USING ERRCODE = 'check_violation',
            MESSAGE = format('%s %s is %s and cannot become %s', TG_TABLE_NAME, OLD.id, OLD.state, NEW.state),
            HINT = 'pgbatch.transitions() lists what can. States are changed by the functions, never by an UPDATE.';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER check_transition BEFORE UPDATE ON pgbatch.batch
    FOR EACH ROW WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION pgbatch.check_transition();

CREATE TRIGGER check_transition BEFORE UPDATE ON pgbatch.run
    FOR EACH ROW WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION pgbatch.check_transition();
