-- pgbatch.next_item: the next items of a run that it has not reported yet. For a run of many items, in a loop:
--
--     while (item = next_item(run, token)) { work(item); complete_item(run, token, item.item_no) }
--
-- or, where an item is little work, at_most => 1000 and complete_items().
--
-- It costs the same however many items were reported: those beyond the last reported one come first, and what was left
-- out before it is looked for only when there are no more of these.
--
-- Parameters:  run_id, token  what the run found in its environment
--              after_item     only items with a higher number: several threads share a run, each fetching beyond what
--                             the others have; the rest comes with 0, in the end
--              at_most        so many at a time
-- Returns:     items, in order; no row = nothing is left
-- Errors:      22023 for a bad argument; 55000 if the run has ended or the token is not its own
-- Locks:       the run's row, shared
CREATE FUNCTION pgbatch.next_item(run_id bigint, token text, after_item int DEFAULT 0, at_most int DEFAULT 1)
RETURNS TABLE (item_no int, item jsonb)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    r        pgbatch.run;
    reported int;
BEGIN
    PERFORM pgbatch.check_number('after_item', next_item.after_item, 0);
    PERFORM pgbatch.check_number('at_most', next_item.at_most, 1);
    r := pgbatch.check_run(next_item.run_id, next_item.token);
    reported := coalesce((
        SELECT p.last_item FROM pgbatch.report p WHERE p.run_id = r.id ORDER BY p.last_item DESC LIMIT 1), 0);
    RETURN QUERY
        SELECT i.item_no, i.item FROM pgbatch.stored_item i
        WHERE i.batch_id = r.batch_id
            AND i.item_no > greatest(r.first_item - 1, next_item.after_item, reported) AND i.item_no <= r.last_item
        ORDER BY i.item_no LIMIT next_item.at_most;
    IF FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY
        SELECT i.item_no, i.item FROM pgbatch.stored_item i
        WHERE i.batch_id = r.batch_id
            AND i.item_no > greatest(r.first_item - 1, next_item.after_item) AND i.item_no < reported
            AND NOT pgbatch.is_reported(r.id, i.item_no)
        ORDER BY i.item_no LIMIT next_item.at_most;
END
$$;
COMMENT ON FUNCTION pgbatch.next_item IS 'From inside a run: the next items that it has not reported yet';
