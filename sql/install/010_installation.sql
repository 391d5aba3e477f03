-- Who this database is to a cluster: Jobs carry the id as a label, so that two databases may share a namespace.
-- One row, made by create_queue() or try_lead() and not here: rows of the script would collide with those of a dump.
CREATE TABLE pgbatch.installation (
    singleton  boolean     PRIMARY KEY DEFAULT true CONSTRAINT installation_singleton CHECK (singleton),
    id         uuid        NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
    created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    -- Counts the dispatchers that have led. Each says its number with whatever it writes: see check_epoch().
    epoch      bigint      NOT NULL DEFAULT 0
);
