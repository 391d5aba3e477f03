-- From a trigger: rows that are inserted are items, in the transaction that inserts them; who inserts needs no right here.
SELECT pgbatch.create_queue('ship', '{"spec": {"template": {"spec": {"containers": [
    {"name": "ship", "image": "shop/ship", "args": ["$(PGBATCH_ARG_ID)"]}]}}}}');
CREATE TABLE purchase (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, amount int NOT NULL, paid boolean NOT NULL DEFAULT false);
SELECT pgbatch.enqueue_on_insert('purchase', 'ship', 'amount > 100 AND paid');

-- An update: a trigger of your own. It runs with the rights of whoever updates, and he needs `enqueue` on the queue.
CREATE FUNCTION ship_when_paid() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pgbatch.enqueue('ship', jsonb_build_object('id', new.id));
    RETURN NULL;
END
$$;
CREATE TRIGGER ship_when_paid AFTER UPDATE OF paid ON purchase
    FOR EACH ROW WHEN (new.paid AND NOT old.paid) EXECUTE FUNCTION ship_when_paid();

INSERT INTO purchase (amount, paid) VALUES (50, true), (200, true), (300, false);
UPDATE purchase SET paid = true WHERE amount = 300;
