//! The whole path, with local processes: commit, wake, claim, start, outcome.

mod metrics;
mod reporting;
mod restarts;
mod rotation;
mod schedules;
mod sql_only;
mod traces;
mod upgrade;

use std::time::Duration;

use e2e::claps::{self, Kind};
use e2e::dispatcher::Dispatcher;
use e2e::repository;
use e2e::wait::until;
use e2e::world::World;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(300);

type Tested = Result<(), Box<dyn std::error::Error>>;

async fn enqueue(world: &World, queue: &str, item: Value) -> Result<i64, tokio_postgres::Error> {
    Ok(world.client.query_one("SELECT pgbatch.enqueue($1, $2)", &[&queue, &item]).await?.get(0))
}

async fn one<T>(world: &World, sql: &str, batch: i64) -> Option<T>
where
    T: for<'a> tokio_postgres::types::FromSql<'a>,
{
    world.client.query_opt(sql, &[&batch]).await.ok().flatten().and_then(|row| row.get(0))
}

async fn state(world: &World, batch: i64) -> Option<String> {
    one(world, "SELECT state FROM pgbatch.batches WHERE id = $1", batch).await
}

async fn until_state(world: &World, batch: i64, wanted: &str, limit: Duration) {
    until(&format!("batch {batch} to be {wanted}"), limit, async || {
        state(world, batch).await.filter(|s| s == wanted)
    })
    .await;
}

fn clap_command() -> Value {
    json!([repository().join("deploy/examples/claps/clap.sh")])
}

#[tokio::test]
async fn claps_of_an_image_survive_kill_9_of_the_dispatcher() -> Tested {
    let mut world = World::new("claps_image").await?;
    let env = world.database_env();
    claps::set_up(&world.client, Kind::Image, &clap_command(), &env).await?;
    let mut dispatcher = world.dispatcher(&[])?;
    let batch = claps::enqueue(&mut world.client, Kind::Image, 1).await?;
    for done in [20_i64, 100, 180] {
        until("the claps to be in full swing", LONG, async || {
            one::<i64>(
                &world,
                "SELECT count(*) FROM pgbatch.runs WHERE batch_id = $1 AND finished_at IS NOT NULL",
                batch,
            )
            .await
            .filter(|ended| *ended >= done)
        })
        .await;
        dispatcher.kill()?;
        dispatcher = world.dispatcher(&[])?;
    }
    until_state(&world, batch, "succeeded", LONG).await;
    claps::check(&world.client, batch).await;
    Ok(())
}

#[tokio::test]
async fn claps_of_sql_survive_restarts_of_the_dispatcher() -> Tested {
    let mut world = World::new("claps_sql").await?;
    claps::set_up(&world.client, Kind::Sql, &json!([]), &json!([])).await?;
    let mut dispatcher = world.dispatcher(&[])?;
    let batch = claps::enqueue(&mut world.client, Kind::Sql, 0).await?;
    until("some claps to have ended", LONG, async || {
        one::<i64>(
            &world,
            "SELECT count(*) FROM pgbatch.runs WHERE batch_id = $1 AND finished_at IS NOT NULL",
            batch,
        )
        .await
        .filter(|ended| *ended >= 40)
    })
    .await;
    assert!(dispatcher.terminate()?.success(), "SIGTERM is a normal end");
    let _next = world.dispatcher(&[])?;
    until_state(&world, batch, "succeeded", LONG).await;
    claps::check(&world.client, batch).await;
    Ok(())
}

#[tokio::test]
async fn an_sql_error_is_the_items_error_with_sqlstate_and_context() -> Tested {
    let world = World::new("sql_error").await?;
    world
        .client
        .batch_execute(
            "CREATE PROCEDURE divide(item jsonb) LANGUAGE plpgsql AS \
             $$ BEGIN PERFORM 1 / (item->>'by')::int; END $$; \
             SELECT pgbatch.create_queue('divide', sql => 'CALL divide($1)', max_attempts => 1)",
        )
        .await?;
    let _dispatcher = world.dispatcher(&[])?;
    let batch = enqueue(&world, "divide", json!({"by": 0})).await?;
    until_state(&world, batch, "failed", SOON).await;
    let error: String =
        one(&world, "SELECT error FROM pgbatch.items WHERE batch_id = $1", batch).await.unwrap_or_default();
    for part in ["division by zero", "SQLSTATE 22012", "PL/pgSQL function divide(jsonb)"] {
        assert!(error.contains(part), "{error}");
    }
    let message: String =
        one(&world, "SELECT message FROM pgbatch.runs WHERE batch_id = $1", batch).await.unwrap_or_default();
    assert!(message.contains("SQLSTATE 22012"), "the run says it too: {message}");
    Ok(())
}

#[tokio::test]
async fn an_sql_statement_may_return_its_result_and_need_not_use_its_item() -> Tested {
    let world = World::new("sql_result").await?;
    world
        .client
        .batch_execute(
            "SELECT pgbatch.create_queue('double', sql => 'SELECT jsonb_build_object(''twice'', 2 * ($1->>''n'')::int)'); \
             SELECT pgbatch.create_queue('plain', sql => 'SELECT 1')",
        )
        .await?;
    let _dispatcher = world.dispatcher(&[])?;
    let double = enqueue(&world, "double", json!({"n": 21})).await?;
    let plain = enqueue(&world, "plain", json!({})).await?;
    until_state(&world, double, "succeeded", SOON).await;
    until_state(&world, plain, "succeeded", SOON).await;
    let result = "SELECT result FROM pgbatch.items WHERE batch_id = $1";
    assert_eq!(one::<Value>(&world, result, double).await, Some(json!({"twice": 42})));
    assert_eq!(one::<Value>(&world, result, plain).await, None);
    Ok(())
}

#[tokio::test]
async fn a_rolled_back_transaction_starts_nothing() -> Tested {
    let mut world = World::new("rollback").await?;
    world.shell_queue("touch", "exit 0", "").await?;
    let _dispatcher = world.dispatcher(&[])?;
    let transaction = world.client.transaction().await?;
    transaction.execute("SELECT pgbatch.enqueue('touch')", &[]).await?;
    transaction.rollback().await?;
    // The next batch runs; had the first left anything to run, it would have been claimed before it.
    let batch = enqueue(&world, "touch", json!({})).await?;
    until_state(&world, batch, "succeeded", SOON).await;
    let runs: i64 = world.client.query_one("SELECT count(*) FROM pgbatch.runs", &[]).await?.get(0);
    assert_eq!(runs, 1);
    Ok(())
}

#[tokio::test]
async fn a_batch_enqueued_while_the_dispatcher_is_down_starts_when_it_comes_up() -> Tested {
    let world = World::new("down").await?;
    world.shell_queue("later", "exit 0", "").await?;
    let batch = enqueue(&world, "later", json!({})).await?;
    assert_eq!(state(&world, batch).await.as_deref(), Some("pending"));
    let _dispatcher = world.dispatcher(&[])?;
    until_state(&world, batch, "succeeded", SOON).await;
    Ok(())
}

#[tokio::test]
async fn sigterm_leaves_the_run_alone_and_the_next_dispatcher_records_its_end() -> Tested {
    let world = World::new("sigterm").await?;
    let gate = world.dir.join("gate");
    world.shell_queue("gated", &format!("until [ -e {} ]; do sleep 0.1; done", gate.display()), "").await?;
    let mut dispatcher = world.dispatcher(&[])?;
    let batch = enqueue(&world, "gated", json!({})).await?;
    until("the run to be running", SOON, async || {
        one::<String>(&world, "SELECT state FROM pgbatch.runs WHERE batch_id = $1", batch)
            .await
            .filter(|s| s == "running")
    })
    .await;
    assert!(dispatcher.terminate()?.success());
    let _next = world.dispatcher(&[])?;
    std::fs::write(&gate, "")?;
    until_state(&world, batch, "succeeded", SOON).await;
    assert_eq!(
        one::<i32>(&world, "SELECT attempts::int FROM pgbatch.items WHERE batch_id = $1", batch).await,
        Some(1)
    );
    Ok(())
}

#[tokio::test]
async fn a_standby_takes_over_when_the_leader_is_killed() -> Tested {
    let world = World::new("standby").await?;
    world.shell_queue("over", "exit 0", "").await?;
    let mut leader = world.dispatcher(&[])?;
    until("the first to lead", SOON, async || leader.logged().ok().filter(|l| l.contains("dispatching")))
        .await;
    let standby = world.dispatcher(&[])?;
    until("the second to stand by", SOON, async || {
        standby.logged().ok().filter(|l| l.contains("standing by"))
    })
    .await;
    leader.kill()?;
    let batch = enqueue(&world, "over", json!({})).await?;
    until_state(&world, batch, "succeeded", SOON).await;
    Ok(())
}

#[tokio::test]
async fn a_lost_session_is_made_again_and_followed_by_a_catch_up_read() -> Tested {
    let world = World::new("reconnect").await?;
    world.shell_queue("again", "exit 0", "").await?;
    let mut dispatcher = world.dispatcher(&[])?;
    until("it to lead", SOON, async || dispatcher.logged().ok().filter(|l| l.contains("dispatching"))).await;
    // In one statement, so that the commit's NOTIFY finds nobody listening.
    let row = world
        .client
        .query_one(
            "WITH gone AS MATERIALIZED (SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
             WHERE application_name = 'pgbatch dispatch' AND datname = current_database()) \
             SELECT pgbatch.enqueue('again') FROM gone",
            &[],
        )
        .await?;
    until_state(&world, row.get(0), "succeeded", SOON).await;
    assert!(dispatcher.is_running()?, "the same process");
    Ok(())
}

#[tokio::test]
async fn a_failed_item_is_retried_on_the_same_item_until_its_attempts_are_used_up() -> Tested {
    let world = World::new("retries").await?;
    let trace = world.dir.join("trace");
    let line =
        format!("echo \"$PGBATCH_ARG_ID $PGBATCH_ATTEMPT\" >> {}; echo no >&2; exit 7", trace.display());
    world.shell_queue("never", &line, ", max_attempts => 3, retry_backoff => '10 ms'").await?;
    let _dispatcher = world.dispatcher(&[])?;
    let batch = enqueue(&world, "never", json!({"id": "x y; $(id)"})).await?;
    until_state(&world, batch, "failed", SOON).await;
    assert_eq!(std::fs::read_to_string(&trace)?, "x y; $(id) 1\nx y; $(id) 2\nx y; $(id) 3\n");
    let row = world
        .client
        .query_one("SELECT state, attempts::int, error FROM pgbatch.items WHERE batch_id = $1", &[&batch])
        .await?;
    assert_eq!((row.get::<_, &str>(0), row.get::<_, i32>(1)), ("failed", 3));
    assert!(row.get::<_, &str>(2).contains("no"), "the last log lines are the error");
    let codes: Vec<i32> = world
        .client
        .query("SELECT exit_code FROM pgbatch.runs WHERE batch_id = $1 ORDER BY attempt", &[&batch])
        .await?
        .iter()
        .map(|r| r.get(0))
        .collect();
    assert_eq!(codes, [7, 7, 7]);

    let retried: i64 = world.client.query_one("SELECT pgbatch.retry_batch($1)", &[&batch]).await?.get(0);
    assert_eq!(retried, 1);
    until("the retries to be used up too", SOON, async || {
        one::<i64>(&world, "SELECT count(*) FROM pgbatch.runs WHERE batch_id = $1", batch)
            .await
            .filter(|n| *n == 6)
    })
    .await;
    until_state(&world, batch, "failed", SOON).await;
    Ok(())
}

#[tokio::test]
async fn a_cancelled_batch_stops_its_processes() -> Tested {
    let world = World::new("cancel").await?;
    world.shell_queue("long", "exec sleep 1000", ", max_parallel => 2").await?;
    let _dispatcher = world.dispatcher(&[])?;
    let batch: i64 = world
        .client
        .query_one("SELECT pgbatch.enqueue_batch('long', array_fill('{}'::jsonb, ARRAY[5]))", &[])
        .await?
        .get(0);
    until("two runs to be running", SOON, async || {
        one::<i64>(
            &world,
            "SELECT count(*) FROM pgbatch.runs WHERE batch_id = $1 AND state = 'running'",
            batch,
        )
        .await
        .filter(|n| *n == 2)
    })
    .await;
    world.client.execute("SELECT pgbatch.cancel_batch($1)", &[&batch]).await?;
    until_state(&world, batch, "cancelled", SOON).await;
    let runs: i64 = world
        .client
        .query_one("SELECT count(*) FROM pgbatch.runs WHERE batch_id = $1 AND state = 'cancelled'", &[&batch])
        .await?
        .get(0);
    assert_eq!(runs, 2, "and no third one was started");
    Ok(())
}

#[tokio::test]
async fn sigterm_cancels_the_statement_of_an_sql_run_and_nothing_of_it_stays() -> Tested {
    let world = World::new("sql_cancel").await?;
    world
        .client
        .batch_execute(
            "CREATE TABLE trace (item jsonb); CREATE PROCEDURE dawdle(item jsonb) LANGUAGE plpgsql AS \
             $$ BEGIN INSERT INTO trace VALUES (item); PERFORM pg_sleep(1000); END $$; \
             SELECT pgbatch.create_queue('dawdle', sql => 'CALL dawdle($1)')",
        )
        .await?;
    let _dispatcher = world.dispatcher(&[])?;
    let batch = enqueue(&world, "dawdle", json!({})).await?;
    let asleep = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                  AND application_name LIKE 'pgbatch run-sql%' AND wait_event = 'PgSleep' AND $1::bigint > 0";
    until("the statement to run", SOON, async || one::<i64>(&world, asleep, batch).await.filter(|n| *n == 1))
        .await;
    world.client.execute("SELECT pgbatch.cancel_batch($1)", &[&batch]).await?;
    until_state(&world, batch, "cancelled", SOON).await;
    until("the statement to end", SOON, async || one::<i64>(&world, asleep, batch).await.filter(|n| *n == 0))
        .await;
    let rows: i64 = world.client.query_one("SELECT count(*) FROM trace", &[]).await?.get(0);
    assert_eq!(rows, 0);
    Ok(())
}

#[tokio::test]
async fn a_run_over_its_time_is_stopped_and_its_item_fails_with_the_reason() -> Tested {
    let world = World::new("timeout").await?;
    world.shell_queue("slow", "exec sleep 1000", ", run_timeout => '200 ms', max_attempts => 1").await?;
    let _dispatcher = world.dispatcher(&[])?;
    let batch = enqueue(&world, "slow", json!({})).await?;
    until_state(&world, batch, "failed", SOON).await;
    assert_eq!(
        one::<String>(&world, "SELECT state FROM pgbatch.runs WHERE batch_id = $1", batch).await.as_deref(),
        Some("timed_out")
    );
    Ok(())
}

#[tokio::test]
async fn a_run_that_somebody_has_locked_is_recorded_later_and_holds_nobody_else_up() -> Tested {
    let mut world = World::new("locked").await?;
    let gate = world.dir.join("gate");
    let line = format!(
        "until [ -e {} ]; do sleep 0.1; done; echo '{{\"said\": 1}}' > \"$PGBATCH_TERMINATION_LOG\"",
        gate.display()
    );
    world.shell_queue("gated", &line, "").await?;
    world.shell_queue("free", "exit 0", "").await?;
    let dispatcher = world.dispatcher(&[])?;
    let locked = enqueue(&world, "gated", json!({})).await?;
    until("the run to be running", SOON, async || {
        one::<String>(&world, "SELECT state FROM pgbatch.runs WHERE batch_id = $1", locked)
            .await
            .filter(|s| s == "running")
    })
    .await;
    let other = world.database.connect().await?;
    let open = world.client.transaction().await?;
    open.execute("SELECT 1 FROM pgbatch.run WHERE batch_id = $1 FOR UPDATE", &[&locked]).await?;
    std::fs::write(&gate, "")?;
    until("the dispatcher to notice the lock", SOON, async || {
        dispatcher.logged().ok().filter(|log| log.contains("rows are locked by others"))
    })
    .await;
    let free: i64 = other.query_one("SELECT pgbatch.enqueue('free')", &[]).await?.get(0);
    until("the other queue to go on", SOON, async || {
        let row = other.query_one("SELECT state FROM pgbatch.batches WHERE id = $1", &[&free]).await.ok()?;
        Some(()).filter(|()| row.get::<_, &str>(0) == "succeeded")
    })
    .await;
    open.rollback().await?;
    until_state(&world, locked, "succeeded", SOON).await;
    let result = "SELECT result FROM pgbatch.items WHERE batch_id = $1";
    assert_eq!(
        one::<Value>(&world, result, locked).await,
        Some(json!({"said": 1})),
        "what it said is not lost"
    );
    Ok(())
}

#[tokio::test]
async fn one_run_may_have_several_items() -> Tested {
    let world = World::new("several").await?;
    let trace = world.dir.join("trace");
    world
        .shell_queue(
            "pack",
            &format!("echo \"$PGBATCH_ITEMS\" >> {}", trace.display()),
            ", items_per_run => 4",
        )
        .await?;
    let _dispatcher = world.dispatcher(&[])?;
    let batch: i64 = world
        .client
        .query_one("SELECT pgbatch.enqueue_query('pack', 'SELECT n FROM generate_series(1, 10) n')", &[])
        .await?
        .get(0);
    until_state(&world, batch, "succeeded", SOON).await;
    let mut lines: Vec<String> = std::fs::read_to_string(&trace)?.lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(
        lines,
        [
            r#"[{"n": 1}, {"n": 2}, {"n": 3}, {"n": 4}]"#,
            r#"[{"n": 5}, {"n": 6}, {"n": 7}, {"n": 8}]"#,
            r#"[{"n": 9}, {"n": 10}]"#
        ]
    );
    Ok(())
}

/// Who may only enqueue must not stop the dispatcher, nor is a number rounded on the way.
#[tokio::test]
async fn the_strangest_item_gets_to_its_program_as_it_is() -> Tested {
    let world = World::new("strange").await?;
    let trace = world.dir.join("trace");
    world
        .shell_queue("shell", &format!("printf '%s\n' \"$PGBATCH_ITEM\" >> {}", trace.display()), "")
        .await?;
    let sql = "CREATE TABLE done (item jsonb); SELECT pgbatch.create_queue('sql', sql => 'INSERT INTO done VALUES ($1) RETURNING item')";
    world.client.batch_execute(sql).await?;
    let _dispatcher = world.dispatcher(&[])?;
    for strange in [
        "(repeat('{\"a\":', 6000) || '1' || repeat('}', 6000))::jsonb",
        "'{\"n\": 12345678901234567890123456789.10, \"huge\": 1e9999, \"tiny\": -1e-9999}'",
    ] {
        for queue in ["shell", "sql"] {
            let sql = format!("SELECT pgbatch.enqueue($1, {strange}), {strange}::jsonb::text");
            let row = world.client.query_one(&sql, &[&queue]).await?;
            let (batch, item): (i64, String) = (row.get(0), row.get(1));
            until_state(&world, batch, "succeeded", SOON).await;
            let got = match queue {
                "shell" => std::fs::read_to_string(&trace)?.lines().last().map(str::to_owned),
                _ => one(
                    &world,
                    "SELECT (SELECT item::text FROM done WHERE $1::bigint > 0 ORDER BY ctid DESC LIMIT 1)",
                    batch,
                )
                .await,
            };
            assert!(got.as_ref() == Some(&item), "{queue}: {strange} came as {got:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_log_lines_name_queue_batch_and_run_and_never_the_token() -> Tested {
    let world = World::new("logs").await?;
    world.shell_queue("logged", "exit 0", "").await?;
    let dispatcher: Dispatcher = world.dispatcher(&["--log-format", "json"])?;
    let batch = enqueue(&world, "logged", json!({})).await?;
    until_state(&world, batch, "succeeded", SOON).await;
    let log = until("the end to be logged", SOON, async || {
        dispatcher.logged().ok().filter(|l| l.contains("the batch ended"))
    })
    .await;
    let lines: Vec<Value> = log.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
    for message in ["starting", "succeeded"] {
        let line = lines.iter().find(|l| l["message"] == message).unwrap_or(&Value::Null);
        assert_eq!((&line["queue"], &line["batch"]), (&json!("logged"), &json!(batch)), "{message}: {log}");
        assert!(line["run"].is_i64(), "{message}: {line}");
    }
    let token: String = world.client.query_one("SELECT token::text FROM pgbatch.run", &[]).await?.get(0);
    assert!(!log.contains(&token));
    Ok(())
}
