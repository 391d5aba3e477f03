-- A batch that demand has made, until its end has been seen: its open items are the Jobs that KEDA would count.
CREATE TABLE pgbatch.demand_batch (
    queue     text   NOT NULL,
    batch_id  bigint NOT NULL,
    -- How many of its items had ended when the demand was last evaluated.
    succeeded int    NOT NULL DEFAULT 0,
    failed    int    NOT NULL DEFAULT 0,
    PRIMARY KEY (queue, batch_id)
);
