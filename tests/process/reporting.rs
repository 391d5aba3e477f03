//! A run that fetches and reports its items itself, with psql: partial success, results, and a zombie that is refused.

use e2e::postgres::Server;
use e2e::wait::until;
use e2e::world::World;
use serde_json::{Value, json};

use crate::{SOON, Tested, one, until_state};

/// Calls a function of pgbatch as a program in a container would; the token is an argument of psql, never of the shell.
const CALL: &str = r#"
call() {
    printf 'SELECT pgbatch.%s(:run, :token%s);' "$1" "$2" |
        psql -XqAt -v ON_ERROR_STOP=1 -v run="$PGBATCH_RUN_ID" -v token="'$PGBATCH_RUN_TOKEN'"
}
"#;

/// A queue whose container runs this script, with psql and the database at hand.
async fn psql_queue(world: &World, name: &str, script: &str, options: &str) -> Tested {
    let mut env = world.database_env();
    let path = format!("{}:/usr/bin:/bin", Server::programs()?.display());
    if let Some(env) = env.as_array_mut() {
        env.push(json!({"name": "PATH", "value": path}));
        env.push(json!({"name": "DIR", "value": world.dir}));
    }
    let template = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "main", "image": "none", "env": env, "command": ["/bin/sh", "-euc", format!("{CALL}{script}")]}]}}}});
    let sql = format!("SELECT pgbatch.create_queue($1, $2{options})");
    world.client.execute(&sql, &[&name, &template]).await?;
    Ok(())
}

#[tokio::test]
async fn a_run_loops_over_its_items_and_only_the_failed_one_runs_again() -> Tested {
    let world = World::new("loop").await?;
    let script = r#"
        while true; do
            row=$(call next_item '') && [ -n "$row" ] || break
            no=${row#(}; no=${no%%,*}
            echo "$no $PGBATCH_ATTEMPT" >>"$DIR/trace"
            call heartbeat '' >>"$DIR/heartbeats"
            if [ "$no" = 3 ] && [ "$PGBATCH_ATTEMPT" = 1 ]; then
                call fail_item ", 3, 'not yet'"
            else
                call complete_item ", $no, '{\"n\": $no}'"
            fi
        done"#;
    psql_queue(&world, "loop", script, ", items_per_run => 5, retry_backoff => '0 s'").await?;
    let _dispatcher = world.dispatcher(&[])?;
    let batch = world.enqueue_numbers("loop", 5).await?;
    until_state(&world, batch, "succeeded", SOON).await;
    assert_eq!(std::fs::read_to_string(world.dir.join("trace"))?, "1 1\n2 1\n3 1\n4 1\n5 1\n3 2\n");
    assert_eq!(std::fs::read_to_string(world.dir.join("heartbeats"))?, "t\n".repeat(6));
    let sql = "SELECT jsonb_agg(result ORDER BY item_no) FROM pgbatch.items WHERE batch_id = $1";
    let results: Option<Value> = one(&world, sql, batch).await;
    assert_eq!(results, Some(json!([{"n": 1}, {"n": 2}, {"n": 3}, {"n": 4}, {"n": 5}])));
    let sql = "SELECT string_agg(concat_ws(' ', attempt, first_item, last_item, state, heartbeat_at IS NOT NULL), ', '
        ORDER BY id) FROM pgbatch.runs WHERE batch_id = $1";
    let runs: Option<String> = one(&world, sql, batch).await;
    assert_eq!(runs.as_deref(), Some("1 1 5 succeeded t, 2 3 3 succeeded t"));
    Ok(())
}

/// It is killed after two of four items: those stay done. (`$$$$`: as in Kubernetes, `$$` is a `$`.)
#[tokio::test]
async fn a_run_that_dies_on_the_way_keeps_what_it_reported() -> Tested {
    let world = World::new("half").await?;
    let script = r#"
        echo "$PGBATCH_FIRST_ITEM_NO-$PGBATCH_LAST_ITEM_NO" >>"$DIR/trace"
        [ "$PGBATCH_ATTEMPT" = 1 ] || exit 0
        call complete_item ', 1, NULL'; call complete_item ', 2, NULL'
        kill -KILL $$$$"#;
    psql_queue(&world, "half", script, ", items_per_run => 4, retry_backoff => '0 s'").await?;
    let _dispatcher = world.dispatcher(&[])?;
    let batch = world.enqueue_numbers("half", 4).await?;
    until_state(&world, batch, "succeeded", SOON).await;
    assert_eq!(std::fs::read_to_string(world.dir.join("trace"))?, "1-4\n3-4\n");
    let sql = "SELECT exit_code::text FROM pgbatch.runs WHERE batch_id = $1 AND attempt = 1";
    assert_eq!(one::<String>(&world, sql, batch).await.as_deref(), Some("137"), "128 + 9");
    Ok(())
}

/// The run is over for PostgreSQL, but its process has left a child behind that goes on.
#[tokio::test]
async fn what_a_zombie_writes_is_refused() -> Tested {
    let world = World::new("zombie").await?;
    let zombie = format!(
        "{CALL}
         : >\"$DIR/left\"
         until [ -e \"$DIR/over\" ]; do sleep 0.05; done
         {{ call complete_item ', 1, NULL'; call heartbeat ''; call next_item ''; }} 2>\"$DIR/said.new\"
         mv \"$DIR/said.new\" \"$DIR/said\""
    );
    std::fs::write(world.dir.join("zombie.sh"), zombie)?;
    // It has left the process group, which is killed when the run ends, before the run ends.
    let script = r#"setsid sh "$DIR/zombie.sh" >/dev/null 2>&1 &
        until [ -e "$DIR/left" ]; do sleep 0.05; done
        exit 1"#;
    psql_queue(&world, "zombie", script, ", max_attempts => 1").await?;
    let _dispatcher = world.dispatcher(&[])?;
    let batch = world.enqueue_numbers("zombie", 1).await?;
    until_state(&world, batch, "failed", SOON).await;
    std::fs::write(world.dir.join("over"), "")?;
    let said = until("the zombie to have tried", SOON, async || {
        std::fs::read_to_string(world.dir.join("said")).ok()
    })
    .await;
    assert_eq!(said.matches("is over or the token is wrong").count(), 3, "{said}");
    let state: Option<String> =
        one(&world, "SELECT state FROM pgbatch.items WHERE batch_id = $1", batch).await;
    assert_eq!(state.as_deref(), Some("failed"));
    Ok(())
}
