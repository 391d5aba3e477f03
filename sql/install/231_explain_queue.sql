-- pgbatch.explain_queue: the gates that hold an item in its queue, for explain_item().
--
-- Parameters:  q, b, i  its queue and its batch, and the item, which no live run has
-- Returns:     as explain_item()
CREATE FUNCTION pgbatch.explain_queue(q pgbatch.queue, b pgbatch.batch, i pgbatch.items)
RETURNS TABLE (gate text, open boolean, words text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    seen  CONSTANT jsonb := pgbatch.observe_queue(q, pgbatch.observe_limits(pgbatch.live_runs()), pgbatch.first_fresh(q), '-infinity');
    place pgbatch.retry;
    names text[];
BEGIN
    gate := 'paused';
    open := NOT q.paused AND q.template_checked AND q.template_error IS NULL;
    words := CASE WHEN q.paused THEN format('queue "%s" is paused; pgbatch.resume_queue(%L) lets it go on', q.name, q.name)
        WHEN NOT q.template_checked THEN format('the job_template of queue "%s" has not been checked yet: a dispatcher does that', q.name)
        WHEN q.template_error IS NOT NULL THEN format('%s; pgbatch.alter_queue(%L, job_template => ...) corrects it', q.template_error, q.name)
        ELSE format('queue "%s" is not paused', q.name) END;
    RETURN NEXT;

    place := pgbatch.place_of_item(b, i.item_no);
    gate := 'retry';
    open := coalesce(place.due_at <= statement_timestamp(), true);
    words := CASE WHEN place.attempt = 1 THEN 'it has not been tried yet'
        ELSE format('attempt %s of %s is due at %s; attempt %s failed: %s', place.attempt, place.max_attempt,
            pgbatch.say_time(place.due_at), i.attempts, left(i.error, 300)) END;
    RETURN NEXT;

    names := ARRAY(SELECT r.queue || '-' || r.id FROM pgbatch.run r
        WHERE r.queue = q.name AND r.state IN ('starting', 'running') ORDER BY r.id);
    gate := 'max_parallel';
    open := cardinality(names) < q.max_parallel;
    words := format('queue "%s" has %s of %s runs%s', q.name, cardinality(names), q.max_parallel,
        ': ' || nullif(pgbatch.say_first(names), ''));
    RETURN NEXT;

    RETURN QUERY SELECT 'limit', e.* FROM pgbatch.explain_limit(q) e;
    RETURN QUERY SELECT 'max_per_key', e.* FROM pgbatch.explain_key(q, b, i.item_no, place, seen) e;
    RETURN QUERY SELECT 'max_starts', e.* FROM pgbatch.explain_starts(q, seen) e;
    RETURN QUERY SELECT 'order', e.* FROM pgbatch.explain_order(q, b, i.item_no, place, seen) e;
END
$$;

-- pgbatch.place_of_item: the range that an item waits in: its retry, or what is left of its batch for the first attempt.
CREATE FUNCTION pgbatch.place_of_item(b pgbatch.batch, item_no int) RETURNS pgbatch.retry
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    t pgbatch.retry;
BEGIN
    SELECT found.* INTO t FROM pgbatch.retry found
    WHERE found.batch_id = b.id AND found.first_item <= place_of_item.item_no
    ORDER BY found.first_item DESC LIMIT 1;
    IF t.last_item >= place_of_item.item_no THEN
        RETURN t;
    END IF;
    t := NULL;
    t.batch_id := b.id;
    t.first_item := 1 + coalesce((
        SELECT r.last_item FROM pgbatch.run r WHERE r.batch_id = b.id AND r.attempt = 1
        ORDER BY r.first_item DESC LIMIT 1), 0);
    t.last_item := b.items;
    t.attempt := 1;
    t.max_attempt := b.max_attempts;
    RETURN t;
END
$$;
