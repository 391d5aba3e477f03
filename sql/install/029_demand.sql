-- What a trigger of watch_count() has read.
CREATE TABLE pgbatch.demand (
    trigger_name text   PRIMARY KEY,
    queue        text   NOT NULL,
    target       float8 NOT NULL,
    activation   float8 NOT NULL,
    -- NULL: not read yet, or not to be read: it does not take part.
    value        float8
);

CREATE INDEX demand_queue ON pgbatch.demand (queue);
