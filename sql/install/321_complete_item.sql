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

-- pgbatch.is_reported: whether a run has reported an item.
--
-- Parameters:  run_id, item_no  which run, and which of its items
CREATE FUNCTION pgbatch.is_reported(run_id bigint, item_no int) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN (
        SELECT p.first_item FROM pgbatch.report p
        WHERE p.run_id = is_reported.run_id AND p.last_item >= is_reported.item_no
        ORDER BY p.last_item LIMIT 1) <= is_reported.item_no IS TRUE;
END
$$;

-- pgbatch.check_items: refuses items that are not a run's.
--
-- Parameters:  r         the run
--              item_nos  the items' numbers
-- Errors:      22023
CREATE FUNCTION pgbatch.check_items(r pgbatch.run, item_nos int[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wrong record;
BEGIN
    SELECT n.no INTO wrong FROM unnest(item_nos) n (no)
    WHERE (n.no BETWEEN r.first_item AND r.last_item) IS NOT TRUE LIMIT 1;
    IF FOUND THEN
        PERFORM pgbatch.reject(
            format('item_no %s is not an item of run %s', coalesce(wrong.no::text, 'NULL'), r.id),
            format('Its items are %s to %s.', r.first_item, r.last_item));
    END IF;
END
$$;

-- pgbatch.reject_report: raises the ERROR of an item that was reported otherwise.
--
-- Parameters:  run_id, item_no  which run, and which of its items
--              before           as what it was reported
-- Returns:     never
-- Errors:      55000
CREATE FUNCTION pgbatch.reject_report(run_id bigint, item_no int, before text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
        MESSAGE = format('item %s of run %s was already reported as %s', item_no, run_id, before),
        HINT = 'The first report of an item holds.';
END
$$;

-- pgbatch.report_lock_class: the first half of the key of the locks that keep reports of several items from overlapping others;
-- the second one is the run's number. "repo" in ASCII.
CREATE FUNCTION pgbatch.report_lock_class() RETURNS int
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 1919250543
$$;

-- pgbatch.report_item: writes a report of one item.
--
-- Parameters:  r  a live run, whose row the caller has locked; the others are columns of the table
-- Errors:      22023 for an item that is not the run's, 55000 if it was reported otherwise
-- Locks:       the run's reports, against complete_items() only
-- Writes:      report
CREATE FUNCTION pgbatch.report_item(r pgbatch.run, item_no int, state text, retry boolean, result jsonb, error text)
RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    before text;
BEGIN
    PERFORM pgbatch.check_items(r, ARRAY[report_item.item_no]);
    PERFORM pg_advisory_xact_lock_shared(pgbatch.report_lock_class(), r.id::bit(32)::int);
    INSERT INTO pgbatch.report AS p (run_id, first_item, last_item, state, retry, result, error)
    SELECT r.id, report_item.item_no, report_item.item_no, report_item.state, report_item.retry, report_item.result,
        report_item.error
    WHERE NOT pgbatch.is_reported(r.id, report_item.item_no)
    ON CONFLICT (run_id, last_item) DO NOTHING;
    IF FOUND THEN
        RETURN;
    END IF;
    SELECT p.state INTO before FROM pgbatch.report p
    WHERE p.run_id = r.id AND p.last_item >= report_item.item_no ORDER BY p.last_item LIMIT 1;
    IF before <> report_item.state THEN
        PERFORM pgbatch.reject_report(r.id, report_item.item_no, before);
    END IF;
END
$$;
