-- pgbatch.complete_item: a run says that an item succeeded. It holds if and only if the transaction commits, together
-- with whatever else that transaction did. Again for the same item: nothing happens.
--
-- Parameters:  run_id, token  what the run found in its environment
--              item_no        which of its items
--              result         what came of it, for people and for whatever reads the view "items"
-- Errors:      22023 for an item that is not the run's; 55000 if the run has ended, the token is not its own, or the item
--              was reported as failed
-- Locks:       the run's row, shared
-- Writes:      report
CREATE FUNCTION pgbatch.complete_item(run_id bigint, token text, item_no int, result jsonb DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pgbatch.report_item(pgbatch.check_run(run_id, token), item_no, 'succeeded', false, result, NULL);
END
$$;
COMMENT ON FUNCTION pgbatch.complete_item IS 'From inside a run: an item succeeded';

-- pgbatch.report_item: writes a report.
--
-- Parameters:  r  a live run, whose row the caller has locked; the others are columns of the table
-- Errors:      22023 for an item that is not the run's, 55000 if it was reported otherwise
-- Writes:      report
CREATE FUNCTION pgbatch.report_item(r pgbatch.run, item_no int, state text, retry boolean, result jsonb, error text)
RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    before text;
BEGIN
    IF (report_item.item_no BETWEEN r.first_item AND r.last_item) IS NOT TRUE THEN
        PERFORM pgbatch.reject(
            format('item_no %s is not an item of run %s', coalesce(report_item.item_no::text, 'NULL'), r.id),
            format('Its items are %s to %s.', r.first_item, r.last_item));
    END IF;
    INSERT INTO pgbatch.report AS p (run_id, item_no, state, retry, result, error)
    VALUES (r.id, report_item.item_no, report_item.state, report_item.retry, report_item.result, report_item.error)
    ON CONFLICT (run_id, item_no) DO NOTHING;
    IF FOUND THEN
        RETURN;
    END IF;
    SELECT p.state INTO before FROM pgbatch.report p WHERE p.run_id = r.id AND p.item_no = report_item.item_no;
    IF before <> report_item.state THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('item %s of run %s was already reported as %s', report_item.item_no, r.id, before),
            HINT = 'The first report of an item holds.';
    END IF;
END
$$;
