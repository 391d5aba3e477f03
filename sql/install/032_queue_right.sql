-- A right of a role on a queue, or on all of them ('*'). The owner of the extension, and superusers, need none.
--
-- The name is what a dump takes along. It is bound to the role that had it when the row came in, by a grant or a restore:
-- a right of a role that was dropped or renamed holds for nobody, and not for a later role of the same name either.
CREATE TABLE pgbatch.queue_right (
    queue      text        NOT NULL,
    -- dispatch and scaled_jobs are those of grant_dispatcher(), of all queues.
    what       text        NOT NULL
               CONSTRAINT queue_right_what CHECK (what IN ('enqueue', 'manage', 'read', 'own', 'dispatch', 'scaled_jobs')),
    role_name  text        NOT NULL,
    -- Set by the trigger. NULL: there was no such role.
    role_id    oid,
    granted_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    granted_by text        NOT NULL,
    PRIMARY KEY (queue, what, role_name)
);

-- pgbatch.bind_role: trigger function: the role that has the name now.
CREATE FUNCTION pgbatch.bind_role() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.role_id := to_regrole(quote_ident(NEW.role_name));
    RETURN NEW;
END
$$;

CREATE TRIGGER bind_role BEFORE INSERT ON pgbatch.queue_right
    FOR EACH ROW EXECUTE FUNCTION pgbatch.bind_role();
-- Also in sessions that are replicas, as some tools restore in.
ALTER TABLE pgbatch.queue_right ENABLE ALWAYS TRIGGER bind_role;
