-- Before, not after: what is called after a statement is queued first, which took an eighth of an enqueue's time. It rings
-- when the transaction commits in any case.
CREATE TRIGGER ring BEFORE INSERT ON pgbatch.batch
    FOR EACH STATEMENT EXECUTE FUNCTION pgbatch.ring_on_insert();
-- Also in sessions that are replicas: what a row trigger on a subscriber's table enqueues is work as any other.
ALTER TABLE pgbatch.batch ENABLE ALWAYS TRIGGER ring;
