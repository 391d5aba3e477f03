-- The work and what comes of it. Idempotent.
CREATE TABLE IF NOT EXISTS purchase (
    id       bigint PRIMARY KEY,
    customer text   NOT NULL,
    cents    bigint NOT NULL
);

CREATE TABLE IF NOT EXISTS invoice (
    purchase_id bigint PRIMARY KEY REFERENCES purchase,
    customer    text   NOT NULL,
    cents       bigint NOT NULL
);
