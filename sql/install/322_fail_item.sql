-- pgbatch.fail_item: a run says that an item failed. It is retried when the run has ended, if it may be and attempts are
-- left. Again for the same item: nothing happens.
--
-- Parameters:  run_id, token  what the run found in its environment
--              item_no        which of its items
--              error          why; its first 4096 characters are kept
--              retry          false = no further attempt is worth while
-- Errors:      22023 for an item that is not the run's; 55000 if the run has ended, the token is not its own, or the item
--              was reported as succeeded
-- Locks:       the run's row, shared
-- Writes:      report
CREATE FUNCTION pgbatch.fail_item(run_id bigint, token text, item_no int, error text, retry boolean DEFAULT true)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pgbatch.report_item(
        pgbatch.check_run(run_id, token), item_no, 'failed', coalesce(retry, true), NULL, left(error, 4096));
END
$$;
COMMENT ON FUNCTION pgbatch.fail_item IS 'From inside a run: an item failed';
