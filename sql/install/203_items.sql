-- The items, with their state, which follows from the latest run that had them.
--
-- An item has each attempt from 1 to its last at most once, and the ranges of one attempt of a batch never overlap: so
-- the run of an item's attempt is the one with the greatest first_item up to it, an index lookup; same for the retries.
CREATE VIEW pgbatch.items AS
SELECT i.batch_id, i.item_no, i.item, s.state,
    coalesce(r.attempt, 0) AS attempts,
    r.id AS run_id, r.started_at,
    CASE WHEN s.state IN ('pending', 'running', 'retrying') THEN NULL
        ELSE coalesce(p.reported_at, r.finished_at, b.finished_at, b.cancel_requested_at) END AS finished_at,
    CASE WHEN s.state = 'succeeded' THEN CASE WHEN p.state IS NULL THEN r.result ELSE p.result END END AS result,
    CASE WHEN r.finished_at IS NOT NULL AND s.state <> 'succeeded'
        THEN coalesce(p.error, r.message, r.reason, 'exit code ' || r.exit_code, r.state) END AS error
FROM pgbatch.batch b
JOIN pgbatch.stored_item i ON i.batch_id = b.id
CROSS JOIN LATERAL (
    -- An array, as the planner expects few elements of one, but a thousand rows of generate_series().
    SELECT ARRAY(SELECT generate_series(1, (SELECT max(r.attempt) FROM pgbatch.run r WHERE r.batch_id = b.id))) AS list
    OFFSET 0) attempts
LEFT JOIN LATERAL (
    -- Not all columns: whoever may read items may not see the token.
    SELECT r.id, r.attempt, r.last_item, r.state, r.started_at, r.finished_at, r.result, r.message, r.reason, r.exit_code
    FROM unnest(attempts.list) a (attempt)
    CROSS JOIN LATERAL (
        SELECT r.id, r.attempt, r.last_item, r.state, r.started_at, r.finished_at, r.result, r.message, r.reason, r.exit_code
        FROM pgbatch.run r
        WHERE r.batch_id = i.batch_id AND r.attempt = a.attempt AND r.first_item <= i.item_no
        ORDER BY r.first_item DESC LIMIT 1) r
    WHERE r.last_item >= i.item_no
    ORDER BY r.attempt DESC LIMIT 1) r ON true
LEFT JOIN LATERAL (
    SELECT p.* FROM pgbatch.report p
    WHERE p.run_id = r.id AND p.last_item >= i.item_no
    ORDER BY p.last_item LIMIT 1) p ON p.first_item <= i.item_no
LEFT JOIN LATERAL (
    SELECT t.last_item FROM pgbatch.retry t
    WHERE t.batch_id = i.batch_id AND t.first_item <= i.item_no
    ORDER BY t.first_item DESC LIMIT 1) t ON t.last_item >= i.item_no
CROSS JOIN LATERAL (
    SELECT CASE
        WHEN r.id IS NULL AND b.cancel_requested_at IS NULL THEN 'pending'
        WHEN r.id IS NULL THEN 'cancelled'
        WHEN p.state = 'succeeded' THEN 'succeeded'
        WHEN r.finished_at IS NULL THEN 'running'
        WHEN p.state IS NULL AND r.state = 'succeeded' THEN 'succeeded'
        WHEN t.last_item IS NOT NULL AND b.cancel_requested_at IS NULL THEN 'retrying'
        WHEN t.last_item IS NOT NULL THEN 'cancelled'
        WHEN p.state IS NULL AND r.state = 'cancelled' THEN 'cancelled'
        ELSE 'failed' END AS state) s;

COMMENT ON VIEW pgbatch.items IS 'Every item, with its state and outcome';
COMMENT ON COLUMN pgbatch.items.state IS 'pending, running, retrying, succeeded, failed or cancelled';
COMMENT ON COLUMN pgbatch.items.attempts IS 'Runs that have had it, a live one included';
COMMENT ON COLUMN pgbatch.items.run_id IS 'The latest of them';
COMMENT ON COLUMN pgbatch.items.result IS 'What the run reported, or the JSON of its termination message';
COMMENT ON COLUMN pgbatch.items.error IS 'Why the latest run of it failed; while it is retrying, too';
