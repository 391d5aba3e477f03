-- The claps: make_it_clap is the work, clap is what came of it. Idempotent.
CREATE TABLE IF NOT EXISTS make_it_clap (
    id               serial PRIMARY KEY,
    duration_seconds int NOT NULL CHECK (duration_seconds >= 0)
);

CREATE TABLE IF NOT EXISTS clap (
    id            int PRIMARY KEY REFERENCES make_it_clap,
    status        text NOT NULL CHECK (status IN ('RUNNING', 'FAILED', 'SUCCESS')),
    session_id    text NOT NULL,            -- which run wrote it last
    creation_date date NOT NULL,
    creation_time timestamptz NOT NULL,     -- of the last attempt
    end_time      timestamptz,
    iteration     int NOT NULL              -- how many attempts there were
);
