-- pgbatch.note_action: notes that the caller does something. Why, he says before by: SET LOCAL pgbatch.reason = '...'; and a
-- program that acts for somebody, for whom, by: SET LOCAL pgbatch.on_behalf_of = '...'.
--
-- Nobody waits for the table to be tidied, so each note deletes a few that are older than a year.
--
-- Parameters:  action  the function's name
--              queue   about which queue; NULL = that of the trigger, or not about a single one
--              detail  what else there is to know: for a change {"setting": {"from", "to"}}
--              batch_id, trigger_name  about which batch or trigger
-- Writes:      action
CREATE FUNCTION pgbatch.note_action(action text, queue text, detail jsonb DEFAULT NULL, batch_id bigint DEFAULT NULL,
    trigger_name text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO pgbatch.action (role, on_behalf_of, action, queue, batch_id, trigger_name, detail, reason)
    VALUES (pgbatch.caller(), left(nullif(current_setting('pgbatch.on_behalf_of', true), ''), 200), action,
        coalesce(queue, (SELECT t.queue FROM pgbatch.trigger t WHERE t.name = note_action.trigger_name)), batch_id, trigger_name, detail,
        left(nullif(current_setting('pgbatch.reason', true), ''), 1000));
    DELETE FROM pgbatch.action a
    USING (SELECT o.id, o.at FROM pgbatch.action o ORDER BY o.id LIMIT 10) o
    WHERE a.id = o.id AND o.at < now() - interval '1 year';
END
$$;

-- pgbatch.changes: what is different in two versions of a row.
--
-- Parameters:  old, new  as to_jsonb() makes them
-- Returns:     {"setting": {"from", "to"}}; of a template or a statement, which may be long, and may hold what should not be copied,
--              only that it is another one: {"job_template": {}}; NULL if nothing is
CREATE FUNCTION pgbatch.changes(old jsonb, new jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT jsonb_object_agg(n.key, CASE WHEN n.key IN ('job_template', 'sql', 'items') THEN '{}'
        ELSE jsonb_build_object('from', old -> n.key, 'to', n.value) END)
    FROM jsonb_each(new) n WHERE n.value IS DISTINCT FROM old -> n.key
$$;

-- pgbatch.note_trigger: trigger function: notes that a trigger is made or dropped. One that is restored from a dump was made earlier.
CREATE FUNCTION pgbatch.note_trigger() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM pgbatch.note_action('drop_trigger', OLD.queue, jsonb_build_object('kind', OLD.kind), trigger_name => OLD.name);
    ELSIF NEW.created_at >= now() THEN
        PERFORM pgbatch.note_action('create_trigger', NEW.queue, jsonb_build_object('kind', NEW.kind), trigger_name => NEW.name);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER note_trigger AFTER INSERT OR DELETE ON pgbatch.trigger
    FOR EACH ROW EXECUTE FUNCTION pgbatch.note_trigger();
