-- A mark: a transaction has changed what a trigger of watch_rows() reads. Inserted once a transaction, so that no
-- transaction waits for another one; deleted when the query is run. Not dumped: what it means is a number of this cluster.
CREATE TABLE pgbatch.watch_mark (
    xact         xid8 NOT NULL,
    trigger_name text NOT NULL,
    PRIMARY KEY (xact, trigger_name)
);
