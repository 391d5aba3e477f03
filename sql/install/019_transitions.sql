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

-- pgbatch.check_transition: refuses a change of state that is not in the table.
--
-- Parameters:  kind        batch or run
--              id          which one, for the message
--              from_state, to_state
-- Errors:      23514
CREATE FUNCTION pgbatch.check_transition(kind text, id bigint, from_state text, to_state text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF concat_ws(' ', kind, from_state, to_state) <> ALL (pgbatch.allowed_changes()) THEN
        RAISE EXCEPTION USING ERRCODE = 'check_violation',
            MESSAGE = format('%s %s is %s and cannot become %s', kind, id, from_state, to_state),
            HINT = 'pgbatch.transitions() lists what can. States are changed by the functions, never by an UPDATE.';
    END IF;
END
$$;

-- pgbatch.reject_change: raises the ERROR of a row that contradicts itself.
--
-- Parameters:  kind, id  as in check_transition()
--              problem   in words
-- Returns:     never
-- Errors:      23514
CREATE FUNCTION pgbatch.reject_change(kind text, id bigint, problem text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'check_violation', MESSAGE = format('%s %s: %s', kind, id, problem),
        HINT = 'Only the functions of pgbatch change its tables. If one of them did this, please report it.';
END
$$;

-- pgbatch.check_batch_change: trigger function: what must be true of a batch when it has been changed.
--
-- Errors:      23514
CREATE FUNCTION pgbatch.check_batch_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ended CONSTANT boolean := NEW.finished_at IS NOT NULL;
BEGIN
    IF NEW.state <> OLD.state THEN
        PERFORM pgbatch.check_transition('batch', NEW.id, OLD.state, NEW.state);
    END IF;
    IF ended <> (NEW.state IN ('succeeded', 'failed', 'cancelled')) OR ended <> (NEW.expires_at IS NOT NULL) THEN
        PERFORM pgbatch.reject_change('batch', NEW.id, 'finished_at and expires_at are of an ended batch, and only of that');
    ELSIF num_nonnulls(NEW.succeeded, NEW.failed, NEW.cancelled) <> (CASE WHEN ended THEN 3 ELSE 0 END)
        OR NEW.succeeded + NEW.failed + NEW.cancelled <> NEW.items OR NEW.items < 0 THEN
        PERFORM pgbatch.reject_change('batch', NEW.id, 'an ended batch says of each item how it ended');
    ELSIF NEW.state = 'cancelled' AND NEW.cancel_requested_at IS NULL THEN
        PERFORM pgbatch.reject_change('batch', NEW.id, 'nobody has cancelled it');
    END IF;
    RETURN NEW;
END
$$;

-- pgbatch.check_run_change: the same of a run.
--
-- Errors:      23514
CREATE FUNCTION pgbatch.check_run_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ended CONSTANT boolean := NEW.finished_at IS NOT NULL;
BEGIN
    IF NEW.state <> OLD.state THEN
        PERFORM pgbatch.check_transition('run', NEW.id, OLD.state, NEW.state);
    END IF;
    IF ended = (NEW.state IN ('starting', 'running'))
        OR num_nonnulls(NEW.succeeded, NEW.failed) <> (CASE WHEN ended THEN 2 ELSE 0 END) THEN
        PERFORM pgbatch.reject_change('run', NEW.id, 'finished_at, succeeded and failed are of an ended run, and only of that');
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER check_change BEFORE UPDATE ON pgbatch.batch
    FOR EACH ROW EXECUTE FUNCTION pgbatch.check_batch_change();

CREATE TRIGGER check_change BEFORE UPDATE ON pgbatch.run
    FOR EACH ROW EXECUTE FUNCTION pgbatch.check_run_change();
