-- Fan-out and fan-in: an item for each row of a query, and one more that starts when all of them have succeeded and reads what they
-- returned (a container's termination message in JSON, or complete_item()).
SELECT pgbatch.create_queue('count-words', '{"spec": {"template": {"spec": {"containers": [
    {"name": "count", "image": "shop/count-words", "args": ["$(PGBATCH_ARG_NAME)"]}]}}}}', max_parallel => 30);
SELECT pgbatch.create_queue('add-up', sql => $$SELECT jsonb_build_object('words', sum((i.result ->> 'words')::bigint))
    FROM pgbatch.items i WHERE i.batch_id = ($1 ->> 'of')::bigint$$);
CREATE TABLE document (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL);
INSERT INTO document (name) VALUES ('a.txt'), ('b.txt'), ('c.txt');

BEGIN;
SELECT pgbatch.enqueue_query('count-words', 'SELECT id, name FROM document ORDER BY id') AS parts \gset
SELECT pgbatch.enqueue('add-up', jsonb_build_object('of', :parts), after => ARRAY[:parts]) AS total \gset
COMMIT;

-- How far is it? And then: SELECT pgbatch.wait_batch(:total); SELECT result FROM pgbatch.items WHERE batch_id = :total;
SELECT id, queue, state, items, succeeded FROM pgbatch.batches WHERE id IN (:parts, :total) ORDER BY id;
