//! `watch_count`: a number is demand for runs, as KEDA counts, whenever a table changes or a run of it ends.

use e2e::postgres::{OWNER, Server};
use pgbatch_core::plan::Started;
use pgbatch_core::state::RunState::{Failed, Succeeded};
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::dump::copy;
use crate::support::{
    EPOCH, Tested, claim, claim_one, finish, observe, outcome, refused, until_waiting, value, with_queue,
};

const COUNT: &str = "SELECT count(*) FROM work";

/// A database with queue `q`, `rows` rows of work, and the trigger `w` that counts them, with these further arguments.
async fn counted(rows: i32, arguments: &str) -> Tested<(e2e::postgres::Database, Client)> {
    let (database, client) = with_queue(", max_attempts => 1, max_parallel => 100").await?;
    client
        .batch_execute(&format!(
            "CREATE TABLE work (id int); INSERT INTO work SELECT generate_series(1, {rows});
             SELECT pgbatch.watch_count('w', 'q', '{COUNT}' {arguments})"
        ))
        .await?;
    Ok((database, client))
}

/// How many items each look so far has made, after one more look.
async fn made(client: &Client) -> Tested<Vec<i32>> {
    observe(client).await?;
    value(client, "SELECT coalesce(array_agg(items ORDER BY id), '{}') FROM pgbatch.batches").await
}

/// Something that changes no number.
async fn touch(client: &Client) -> Tested {
    Ok(client.batch_execute("UPDATE work SET id = id").await?)
}

/// Claims the first items of batch 1, and lets the containers of the first of them start. Returns the runs.
async fn run(client: &Client, claimed: i32, started: usize) -> Tested<Vec<i64>> {
    let ranges: Vec<_> = (1..=claimed).map(|item| (1, item, item, 1)).collect();
    let runs: Vec<i64> = claim(client, &ranges).await?.iter().map(|spec| spec.run).collect();
    let starts: Vec<_> = runs[..started]
        .iter()
        .map(|run| Started { run: *run, started_at: jiff::Timestamp::UNIX_EPOCH })
        .collect();
    client
        .query(&format!("SELECT pgbatch.start_runs({EPOCH}, $1)"), &[&serde_json::to_value(starts)?])
        .await?;
    Ok(runs)
}

#[tokio::test]
async fn so_many_items_as_there_is_demand_and_no_more() -> Tested {
    let (_database, client) = counted(3, "").await?;
    assert_eq!(made(&client).await?, [3]);
    assert_eq!(made(&client).await?, [3], "nothing has changed");
    client.batch_execute("INSERT INTO work VALUES (4), (5)").await?;
    assert_eq!(made(&client).await?, [3, 2]);
    touch(&client).await?;
    assert_eq!(made(&client).await?, [3, 2], "what is open counts");
    let items = "SELECT jsonb_agg(item ORDER BY batch_id) FROM pgbatch.items WHERE item_no = 1";
    let expected = json!([{"trigger": "w", "value": 3}, {"trigger": "w", "value": 5}]);
    assert_eq!(value::<Value>(&client, items).await?, expected);
    let says = "SELECT concat_ws(' ', kind, queue, enabled, last_value, error, created_by, query LIKE '%FROM work%') FROM pgbatch.triggers";
    assert_eq!(value::<String>(&client, says).await?, format!("count q t 5 {OWNER} t"));
    let made_by = "SELECT string_agg(concat_ws(' ', b.label, d.trigger_name, d.created_by), ',')
        FROM pgbatch.batches b JOIN pgbatch.batch d USING (id) WHERE id = 1";
    assert_eq!(value::<String>(&client, made_by).await?, format!("w w {OWNER}"));
    Ok(())
}

#[tokio::test]
async fn the_end_of_a_run_is_followed_by_the_next_one() -> Tested {
    let (_database, client) = counted(5, ", max_runs => 2").await?;
    assert_eq!(made(&client).await?, [2]);
    let runs = run(&client, 2, 1).await?;
    assert_eq!(made(&client).await?, [2], "a start is no end");
    finish(&client, &[outcome(runs[0], Succeeded)]).await?;
    assert_eq!(made(&client).await?, [2, 1]);
    client.batch_execute("DELETE FROM work").await?;
    finish(&client, &[outcome(runs[1], Succeeded)]).await?;
    assert_eq!(made(&client).await?, [2, 1], "no demand any more");
    client.batch_execute("SELECT pgbatch.cancel_batch(2); INSERT INTO work VALUES (1)").await?;
    assert_eq!(made(&client).await?, [2, 1, 1], "what is cancelled is not open");
    assert_eq!(
        value::<i64>(&client, "SELECT count(*) FROM pgbatch.demand_batch").await?,
        1,
        "ended ones are forgotten"
    );
    Ok(())
}

/// Of these runs, which have a pod with the conditions.
async fn ready(client: &Client, runs: &[(i64, bool)]) -> Tested {
    let ready: Vec<Value> =
        runs.iter().map(|(run, is_ready)| json!({"run": run, "is_ready": is_ready})).collect();
    client.query(&format!("SELECT pgbatch.ready_runs({EPOCH}, $1)"), &[&json!(ready)]).await?;
    Ok(())
}

#[tokio::test]
async fn pending_is_without_the_conditions_where_the_queue_names_some() -> Tested {
    let (_database, client) = counted(5, ", strategy => 'accurate'").await?;
    let conditions = json!({"pending_pod_conditions": ["Ready", "example.com/Warm"]});
    client.execute("SELECT pgbatch.alter_queue('q', options => $1)", &[&conditions]).await?;
    assert_eq!(made(&client).await?, [5]);
    let specs = claim(&client, &[(1, 1, 1, 1), (1, 2, 2, 1), (1, 3, 3, 1)]).await?;
    assert!(
        specs.iter().all(|spec| json!(spec.pending_pod_conditions) == conditions["pending_pod_conditions"])
    );
    let runs: Vec<i64> = specs.iter().map(|spec| spec.run).collect();
    let started: Vec<_> =
        runs.iter().map(|run| Started { run: *run, started_at: jiff::Timestamp::UNIX_EPOCH }).collect();
    client
        .query(&format!("SELECT pgbatch.start_runs({EPOCH}, $1)"), &[&serde_json::to_value(started)?])
        .await?;
    touch(&client).await?;
    assert_eq!(made(&client).await?, [5], "a running container is not what counts");
    // One without a container may have the conditions too.
    ready(&client, &[(runs[0], true), (runs[1], true)]).await?;
    let live: Vec<bool> = observe(&client).await?.live.iter().map(|run| run.is_ready).collect();
    assert_eq!(live, [true, true, false]);
    touch(&client).await?;
    assert_eq!(made(&client).await?, [5, 2]);
    ready(&client, &[(runs[0], false)]).await?;
    touch(&client).await?;
    assert_eq!(made(&client).await?, [5, 2], "pending are those of both batches, 6 of 7");
    finish(&client, &[outcome(runs[1], Succeeded)]).await?;
    ready(&client, &[(runs[1], false), (runs[2], true), (99, true)]).await?;
    touch(&client).await?;
    assert_eq!(made(&client).await?, [5, 2], "what has ended is neither");
    let stored = "SELECT jsonb_agg(is_ready ORDER BY id) FROM pgbatch.run";
    assert_eq!(value::<Value>(&client, stored).await?, json!([false, true, true]));
    client.batch_execute("SELECT pgbatch.reset_queue('q', 'options')").await?;
    assert_eq!(claim(&client, &[(1, 4, 4, 1)]).await?[0].pending_pod_conditions, None);
    Ok(())
}

#[tokio::test]
async fn each_strategy_subtracts_what_kedas_does() -> Tested {
    for (arguments, more) in [
        ("", 0),
        (", strategy => ''accurate''", 2),
        (", strategy => ''custom'', custom_deduction => 1, custom_running_percentage => 0.5", 2),
        (", strategy => ''eager'', max_runs => 10", 2),
        (", strategy => ''eager'', max_runs => 9", 1),
        (", min_runs => 2", 2),
        (", target => 0.4", 5),
        (", activation => 5", 0),
    ] {
        let (_database, client) = counted(5, "").await?;
        assert_eq!(made(&client).await?, [5]);
        run(&client, 5, 2).await?;
        // Of 5 items, 3 have no container yet. Another way to count them.
        client.batch_execute("SELECT pgbatch.drop_trigger('w')").await?;
        client
            .batch_execute(&format!(
                "SELECT pgbatch.watch_count('w', 'q', '{COUNT}' {})",
                arguments.replace("''", "'")
            ))
            .await?;
        let expected: &[i32] = if more == 0 { &[5] } else { &[5, more] };
        assert_eq!(made(&client).await?, expected, "{arguments}");
    }
    Ok(())
}

#[tokio::test]
async fn the_minimum_is_kept_on_top_of_the_work() -> Tested {
    let (_database, client) = counted(3, ", min_runs => 2, max_runs => 4").await?;
    assert_eq!(made(&client).await?, [2, 2], "the minimum, and in the same look the work, up to the maximum");
    client.batch_execute("DELETE FROM work").await?;
    let run = claim_one(&client, (1, 1, 1, 1)).await?.run;
    finish(&client, &[outcome(run, Succeeded)]).await?;
    assert_eq!(made(&client).await?, [2, 2], "there are three");
    client.batch_execute("SELECT pgbatch.cancel_batch(2)").await?;
    assert_eq!(made(&client).await?, [2, 2, 1], "one of two is missing");
    Ok(())
}

#[tokio::test]
async fn an_item_that_waits_for_its_retry_is_open_and_pending() -> Tested {
    let (_database, client) = counted(2, ", strategy => 'accurate'").await?;
    client.batch_execute("SELECT pgbatch.alter_queue('q', max_attempts => 2)").await?;
    assert_eq!(made(&client).await?, [2]);
    let runs = run(&client, 2, 2).await?;
    finish(&client, &[outcome(runs[0], Failed)]).await?;
    touch(&client).await?;
    assert_eq!(made(&client).await?, [2, 1], "2 asked for, of the 2 open ones 1 is pending");
    Ok(())
}

#[tokio::test]
async fn runs_that_fail_one_after_the_other_are_not_made_again_at_once() -> Tested {
    let (_database, client) = counted(1, "").await?;
    assert_eq!(made(&client).await?, [1]);
    for (number, seconds) in [(1_i64, 1), (2, 2), (3, 4)] {
        let run = claim_one(&client, (number, 1, 1, 1)).await?.run;
        finish(&client, &[outcome(run, Failed)]).await?;
        touch(&client).await?;
        client.batch_execute("CREATE TEMP TABLE looked AS SELECT clock_timestamp() AS before").await?;
        let seen = observe(&client).await?;
        let waits = format!(
            "SELECT s.failures = {number} AND s.again_at - '{seconds} s'::interval BETWEEN l.before AND clock_timestamp()
             FROM pgbatch.scaling s, looked l"
        );
        assert!(value::<bool>(&client, &waits).await?, "{number} failures, {seconds} s");
        client.batch_execute("DROP TABLE looked").await?;
        assert!(seen.next_not_before > Some(seen.now), "and no timer but that");
        // A second is short on a busy machine.
        client.batch_execute("UPDATE pgbatch.scaling SET again_at = again_at + '1 hour'").await?;
        assert_eq!(made(&client).await?.len(), usize::try_from(number)?);
        client.batch_execute("UPDATE pgbatch.scaling SET again_at = now()").await?;
        assert_eq!(made(&client).await?.len(), usize::try_from(number)? + 1);
    }
    let run = claim_one(&client, (4, 1, 1, 1)).await?.run;
    finish(&client, &[outcome(run, Succeeded)]).await?;
    assert_eq!(made(&client).await?.len(), 5, "a success is followed at once");
    let calm = "SELECT failures = 0 AND again_at IS NULL FROM pgbatch.scaling";
    assert!(value::<bool>(&client, calm).await?);
    Ok(())
}

#[tokio::test]
async fn several_triggers_are_one_demand_and_one_that_fails_does_not_take_part() -> Tested {
    for (combine, both, alone) in [("sum", 7, 2), ("max", 5, 2), ("min", 2, 2), ("avg", 4, 2)] {
        let (_database, client) = with_queue("").await?;
        client
            .batch_execute(&format!(
                "CREATE TABLE a (n numeric); CREATE TABLE b (n int, per int); INSERT INTO a VALUES (2); INSERT INTO b VALUES (5, 1);
                 SELECT pgbatch.watch_count(name, 'q', query, combine => '{combine}') FROM (VALUES
                     ('a', 'SELECT n FROM a'), ('b', 'SELECT n / per AS x FROM b')) v (name, query)"
            ))
            .await?;
        assert_eq!(made(&client).await?, [both], "{combine}");
        let of = "SELECT item ->> 'trigger' FROM pgbatch.items LIMIT 1";
        assert_eq!(value::<String>(&client, of).await?, if combine == "min" { "a" } else { "b" });
        client.batch_execute("SELECT pgbatch.cancel_batch(1); UPDATE b SET per = 0").await?;
        assert_eq!(made(&client).await?, [both, alone], "{combine} of the one that is left");
        let errors = "SELECT string_agg(concat_ws(' ', name, last_value, error), ', ' ORDER BY name) FROM pgbatch.triggers";
        assert!(value::<String>(&client, errors).await?.contains("division by zero"));
        client
            .batch_execute(
                "UPDATE pgbatch.watch_run SET retry_at = now() WHERE failures > 0; UPDATE b SET per = 1",
            )
            .await?;
        assert_eq!(made(&client).await?.iter().sum::<i32>(), both + both, "{combine}, whole again");
        assert_eq!(value::<i64>(&client, "SELECT count(error) FROM pgbatch.triggers").await?, 0);
    }
    Ok(())
}

#[tokio::test]
async fn what_is_not_one_number_is_an_error_and_no_demand() -> Tested {
    let (_database, client) = with_queue("").await?;
    client
        .batch_execute("CREATE TABLE t (n float8); SELECT pgbatch.watch_count('w', 'q', 'SELECT n FROM t', min_runs => 1)")
        .await?;
    for (row, says) in [
        ("SELECT 1 WHERE false", "no row"),
        ("SELECT NULL", "NULL"),
        ("SELECT 1 UNION SELECT 2", "more than one row"),
        ("SELECT 'NaN'", "NaN"),
        ("SELECT '-Infinity'", "-Infinity"),
    ] {
        client
            .batch_execute(&format!("TRUNCATE t; INSERT INTO t SELECT x::float8 FROM ({row}) v (x); UPDATE pgbatch.watch_run SET retry_at = now() WHERE failures > 0"))
            .await?;
        assert_eq!(made(&client).await?, [1], "the minimum is kept");
        let error: String = value(&client, "SELECT error FROM pgbatch.triggers").await?;
        assert_eq!(error, format!("the query returned {says}, not one number"));
    }
    Ok(())
}

#[tokio::test]
async fn a_paused_queue_is_evaluated_when_it_is_resumed() -> Tested {
    let (_database, client) = counted(3, "").await?;
    client.batch_execute("SELECT pgbatch.pause_queue('q')").await?;
    assert!(made(&client).await?.is_empty());
    client.batch_execute("DELETE FROM work WHERE id = 1").await?;
    assert!(made(&client).await?.is_empty());
    client.batch_execute("SELECT pgbatch.resume_queue('q')").await?;
    assert_eq!(made(&client).await?, [2], "as it is then");
    Ok(())
}

#[tokio::test]
async fn two_dispatchers_do_not_double_the_demand() -> Tested {
    let (database, first) = counted(3, "").await?;
    let second = database.connect().await?;
    first.batch_execute("BEGIN").await?;
    observe(&first).await?;
    let look = format!("SELECT pgbatch.observe({EPOCH})");
    let late = tokio::spawn(async move { second.batch_execute(&look).await.map(|()| second) });
    let third = database.connect().await?;
    until_waiting(&third, "Lock").await;
    first.batch_execute("COMMIT").await?;
    let second = late.await??;
    assert_eq!(made(&second).await?, [3]);
    let old: i64 = value(&first, EPOCH).await?;
    value::<Value>(&first, "SELECT pgbatch.try_lead()").await?;
    touch(&first).await?;
    for call in ["scale_queues", "run_watches"] {
        first.batch_execute("UPDATE pgbatch.scaling SET is_stale = true").await?;
        let error = refused(second.batch_execute(&format!("SELECT pgbatch.{call}({old})")).await)?;
        assert_eq!(error.code().code(), "55000", "{call}");
    }
    Ok(())
}

#[tokio::test]
async fn a_dropped_trigger_leaves_nothing_and_one_that_is_made_again_counts_what_is_open() -> Tested {
    let (_database, client) = counted(3, "").await?;
    assert_eq!(made(&client).await?, [3]);
    client.batch_execute("SELECT pgbatch.drop_trigger('w')").await?;
    let left = "SELECT (SELECT count(*) FROM pgbatch.trigger) + (SELECT count(*) FROM pgbatch.demand)
        + (SELECT count(*) FROM pgbatch.scaling) + (SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'pgbatch%')
        + (SELECT count(*) FROM pg_views WHERE viewname LIKE 'watched%') + (SELECT count(*) FROM pgbatch.watch_run)";
    assert_eq!(value::<i64>(&client, left).await?, 0);
    client
        .batch_execute(&format!(
            "SELECT pgbatch.watch_count('w', 'q', '{COUNT}', max_runs => 7); INSERT INTO work VALUES (4)"
        ))
        .await?;
    assert_eq!(made(&client).await?, [3, 1]);
    Ok(())
}

#[tokio::test]
async fn a_dump_takes_the_demand_along() -> Tested {
    let (database, client) = counted(3, ", strategy => 'eager', min_runs => 1, max_runs => 5").await?;
    made(&client).await?;
    let copied = Server::shared()?.empty_database().await?;
    let restored = copied.connect().await?;
    copy(&database, &copied, OWNER)?;
    let content = "SELECT concat_ws(' ', (SELECT string_agg(d::text, ' ') FROM pgbatch.demand d),
        (SELECT string_agg(s::text, ' ') FROM pgbatch.scaling s), (SELECT string_agg(d::text, ' ') FROM pgbatch.demand_batch d))";
    assert_eq!(value::<String>(&restored, content).await?, value::<String>(&client, content).await?);
    let before = made(&client).await?;
    assert_eq!(made(&restored).await?, before, "the same is open, so nothing is doubled");
    Ok(())
}
