-- pgbatch.complete_items: the same as complete_item() of several items, for much less: items that follow each other and have the
-- same result, or none, are one row.
--
-- Parameters:  run_id, token  what the run found in its environment
--              item_nos       which of its items; those that it has completed before are passed over
--              results        what came of each, in the same order; NULL = nothing of any
-- Errors:      22023 for an item that is not the run's, or another number of results; 55000 if the run has ended, the token is
--              not its own, or one of the items was reported as failed. Then none is reported.
-- Locks:       the run's row, shared; its reports, against those of other sessions of the same run: with long transactions let
--              each session be a run of its own, or report at the end
-- Writes:      report
CREATE FUNCTION pgbatch.complete_items(run_id bigint, token text, item_nos int[], results jsonb[] DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    r       pgbatch.run := pgbatch.check_run(complete_items.run_id, complete_items.token);
    lowest  int;
    highest int;
    failed  int;
    others  boolean;
BEGIN
    IF item_nos IS NULL OR cardinality(results) <> cardinality(item_nos) THEN
        PERFORM pgbatch.reject(
            CASE WHEN item_nos IS NULL THEN 'item_nos must not be NULL'
                ELSE format('results has %s elements, item_nos %s', cardinality(results), cardinality(item_nos)) END,
            'Give an array of numbers and, if at all, a result for each.');
    END IF;
    PERFORM pgbatch.check_items(r, item_nos);
    PERFORM pg_advisory_xact_lock(pgbatch.report_lock_class(), r.id::bit(32)::int);
    SELECT min(n.no), max(n.no) INTO lowest, highest FROM unnest(item_nos) n (no);
    SELECT p.last_item INTO failed FROM pgbatch.report p
    WHERE p.run_id = r.id AND p.last_item BETWEEN lowest AND highest AND p.state = 'failed' AND p.last_item = ANY (item_nos)
    ORDER BY p.last_item LIMIT 1;
    IF FOUND THEN
        PERFORM pgbatch.reject_report(r.id, failed, 'failed');
    END IF;
    others := (SELECT p.first_item FROM pgbatch.report p WHERE p.run_id = r.id AND p.last_item >= lowest
        ORDER BY p.last_item LIMIT 1) <= highest;
    INSERT INTO pgbatch.report (run_id, first_item, last_item, state, retry, result)
    SELECT r.id, min(i.no), max(i.no), 'succeeded', false, i.result
    FROM (
        SELECT n.no, n.result, n.no - row_number() OVER (PARTITION BY n.result ORDER BY n.no) AS island
        FROM (SELECT DISTINCT ON (n.no) n.no, n.result
              FROM unnest(item_nos, results) WITH ORDINALITY n (no, result, place)
              WHERE others IS NOT TRUE OR NOT pgbatch.is_reported(r.id, n.no)
              ORDER BY n.no, n.place) n) i
    GROUP BY i.result, i.island;
END
$$;
COMMENT ON FUNCTION pgbatch.complete_items IS 'From inside a run: these items succeeded';
