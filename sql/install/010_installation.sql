-- Who this database is to a cluster: Jobs carry the id as a label, so that two databases may share a namespace.
-- One row, made by create_queue() or lead() and not here: rows of the script would collide with those of a dump.
CREATE TABLE pgbatch.installation (
    singleton  boolean     PRIMARY KEY DEFAULT true CONSTRAINT installation_singleton CHECK (singleton),
    id         uuid        NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
    created_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
