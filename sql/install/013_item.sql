-- An item: one unit of work, numbered from 1 inside its batch. Inserted with the batch and never changed.
CREATE TABLE pgbatch.item (
    batch_id bigint NOT NULL,
    item_no  int    NOT NULL,
    item     jsonb  NOT NULL,
    PRIMARY KEY (batch_id, item_no)
);
