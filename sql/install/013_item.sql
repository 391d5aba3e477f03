-- An item: one unit of work, numbered from 1 inside its batch. Inserted with the batch and never changed. The
-- one small item of an enqueue() is in the batch's own row: read the view.
CREATE TABLE pgbatch.item (
    batch_id bigint NOT NULL,
    item_no  int    NOT NULL,
    item     jsonb  NOT NULL,
    PRIMARY KEY (batch_id, item_no)
);

-- All items.
CREATE VIEW pgbatch.stored_item AS
SELECT i.batch_id, i.item_no, i.item FROM pgbatch.item i
UNION ALL
SELECT b.id, 1, b.item FROM pgbatch.batch b WHERE b.item IS NOT NULL;
