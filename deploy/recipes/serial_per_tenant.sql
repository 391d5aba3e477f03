-- Work that is serial per tenant, and parallel between tenants: one run at a time of each `key`, in the order of the enqueueing. An item
-- that waits for its retry keeps its tenant's next one waiting; other tenants go on.
SELECT pgbatch.create_queue('invoices', '{"spec": {"template": {"spec": {"containers": [
    {"name": "invoice", "image": "shop/invoice", "args": ["$(PGBATCH_ARG_NUMBER)"]}]}}}}', max_parallel => 20, max_per_key => 1);

SELECT pgbatch.enqueue('invoices', '{"number": 1}', key => 'anna'),
    pgbatch.enqueue('invoices', '{"number": 2}', key => 'anna'),
    pgbatch.enqueue('invoices', '{"number": 3}', key => 'bert');
