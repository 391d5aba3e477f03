-- pgbatch.create_queue: makes a queue: what its runs are, and its policy.
--
-- Parameters:  name               at most 40 of a-z, 0-9 and "-"
--              job_template       a batch/v1 JobTemplateSpec; either this
--              sql                or a statement, $1 = the item as jsonb; its runs log in as the caller, unless that is the
--                                 extension's owner, whose runs have a login of the dispatcher's
--              max_parallel       live runs at a time
--              limit_name         a cap that it shares with other queues: see create_limit()
--              items_per_run      items handed to one run
--              max_attempts       attempts at an item, the first included
--              retry_backoff      about so long to the first retry, doubled for each next one
--              retry_backoff_max  and never longer than this
--              run_timeout        a run is stopped so long after its first container started; NULL = never
--              namespace          of its Jobs; NULL = the dispatcher's
--              priority           higher goes first between queues
--              max_per_key        live runs at a time of batches with one key; NULL = no limit
--              max_starts         starts in any max_starts_per; NULL = no limit
--              max_starts_per     the window of max_starts
--              keep_succeeded     ended Jobs left to look at, by outcome
--              keep_failed
--              retain             how long ended batches are kept
--              options            what few queues need: see check_queue_options()
-- Errors:      22023 for a bad argument, 42704 for an unknown limit, 42710 for a name that is taken, 42501 for what only the
--              extension's owner may give: namespace, limit_name, options.spring_batch
-- Locks:       queue, against other creators and changes, not against enqueuers
-- Writes:      queue, installation; the view drop_extension_guard; for another caller than the extension's owner queue_right: he
--              owns the queue, see grant()
CREATE FUNCTION pgbatch.create_queue(
    name text, job_template jsonb DEFAULT NULL, sql text DEFAULT NULL,
    max_parallel int DEFAULT 10, items_per_run int DEFAULT 1, max_attempts int DEFAULT 3,
    retry_backoff interval DEFAULT '10 s', retry_backoff_max interval DEFAULT '1 h',
    run_timeout interval DEFAULT NULL, namespace text DEFAULT NULL, priority int DEFAULT 0,
    max_per_key int DEFAULT NULL, max_starts int DEFAULT NULL, max_starts_per interval DEFAULT '1 min',
    keep_succeeded int DEFAULT 10, keep_failed int DEFAULT 10, retain interval DEFAULT '7 days',
    limit_name text DEFAULT NULL, options jsonb DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    q pgbatch.queue;
BEGIN
    q.name := name;
    q.job_template := job_template;
    q.sql := sql;
    q.sql_role := pgbatch.sql_author(NULL, sql);
    q.max_parallel := max_parallel;
    q.limit_name := limit_name;
    q.items_per_run := items_per_run;
    q.max_attempts := max_attempts;
    q.retry_backoff := retry_backoff;
    q.retry_backoff_max := retry_backoff_max;
    q.run_timeout := run_timeout;
    q.namespace := namespace;
    q.priority := priority;
    q.max_per_key := max_per_key;
    q.max_starts := max_starts;
    q.max_starts_per := max_starts_per;
    q.keep_succeeded := keep_succeeded;
    q.keep_failed := keep_failed;
    q.retain := retain;
    q.paused := false;
    q.template_checked := true;
    q.created_at := now();
    q.created_by := pgbatch.caller();
    LOCK TABLE pgbatch.queue IN SHARE ROW EXCLUSIVE MODE;
    PERFORM pgbatch.check_queue(q);
    PERFORM pgbatch.check_confined(q, NULL);
    q.options := pgbatch.check_queue_options(options, NULL);
    IF EXISTS (SELECT FROM pgbatch.queue taken WHERE taken.name = q.name) THEN
        RAISE EXCEPTION USING ERRCODE = 'duplicate_object', MESSAGE = format('queue "%s" exists already', q.name),
            HINT = 'Change it with pgbatch.alter_queue().';
    END IF;
    INSERT INTO pgbatch.queue VALUES (q.*);
    INSERT INTO pgbatch.installation DEFAULT VALUES ON CONFLICT DO NOTHING;
    PERFORM pgbatch.guard_extension();
    PERFORM pgbatch.note_action('create_queue', q.name);
    -- Whoever makes a queue owns it; the extension's owner needs no right for that.
    IF NOT pgbatch.may('*', 'own') THEN
        PERFORM pgbatch.give(q.name, q.created_by, 'own');
    END IF;
END
$$;
COMMENT ON FUNCTION pgbatch.create_queue IS
    'Makes a queue of Kubernetes Jobs (job_template) or of SQL statements (sql)';
