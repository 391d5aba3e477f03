//! `watch`, `run --wait` and `logs`, piped, with a dispatcher and local processes.

use std::process::Stdio;

use e2e::world::World;

use crate::person::{ask, pgbatch, say, variables, without_durations};
use crate::{Tested, parsed, until_batch};

/// Items with an even number fail.
const EVEN_FAILS: &str =
    "[ $((PGBATCH_ARG_N % 2)) = 1 ] || { echo \"cannot halve $PGBATCH_ARG_N\" >&2; exit 7; }";

#[tokio::test]
async fn watch_tells_failures_as_they_come_and_ends_with_the_fate_of_the_batch() -> Tested {
    let world = World::new("cli_watch").await?;
    let gate = world.dir.join("gate");
    let line = format!("{EVEN_FAILS}; until [ -e {} ]; do sleep 0.1; done", gate.display());
    world.shell_queue("halves", &line, ", max_attempts => 1").await?;
    let _dispatcher = world.dispatcher(&[])?;
    let batch = world.enqueue_numbers("halves", 3).await?;
    let mut watch = pgbatch(&variables(&world), &["watch", &batch.to_string()]);
    let mut watch = watch.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // The failure is told while the others still run.
    let mut line = String::new();
    let mut stderr = std::io::BufReader::new(watch.stderr.take().ok_or("no stderr")?);
    std::io::BufRead::read_line(&mut stderr, &mut line)?;
    assert_eq!(line, "item 2, attempt 1 failed: Error, exit code 7, cannot halve 2\n");
    assert!(watch.try_wait()?.is_none(), "two items are running");
    std::fs::write(&gate, "")?;
    let output = watch.wait_with_output()?;
    assert_eq!(output.status.code(), Some(1));
    let out = without_durations(&String::from_utf8_lossy(&output.stdout));
    assert_eq!(out, format!("batch {batch} failed after ~; items: 3: 2 succeeded, 1 failed\n"));
    Ok(())
}

#[tokio::test]
async fn many_failures_at_once_are_summed_up() -> Tested {
    let world = World::new("cli_many").await?;
    world.shell_queue("never", "echo \"no $PGBATCH_ARG_N\" >&2; exit 3", ", max_attempts => 1").await?;
    let _dispatcher = world.dispatcher(&[])?;
    let batch = world.enqueue_numbers("never", 12).await?;
    until_batch(&world, batch, "state = 'failed'").await;
    let said = say(&world, &["watch", &batch.to_string()])?;
    assert_eq!(said.status, 1);
    assert_eq!(said.err.lines().count(), 9, "{}", said.err);
    let first = format!("4 runs failed before; pgbatch show {batch} groups them\n");
    assert!(said.err.starts_with(&first), "{}", said.err);

    let shown = ask(&world, &["show", &batch.to_string()])?;
    let errors = shown.split_once("\n\n").map(|(_, errors)| errors);
    assert_eq!(errors, Some("FAILURES  FIRST ITEM  AS IN\n      12           1  no 1\n"), "{shown}");
    Ok(())
}

#[tokio::test]
async fn run_and_wait_ends_with_the_items_fate() -> Tested {
    let world = World::new("cli_run").await?;
    world
        .client
        .batch_execute(
            "SELECT pgbatch.create_queue('half', max_attempts => 1, \
             sql => 'SELECT jsonb_build_object(''half'', 1 / ($1->>''n'')::int)')",
        )
        .await?;
    let _dispatcher = world.dispatcher(&[])?;
    let said = say(&world, &["run", "half", "{\"n\": 1}", "--wait", "--label", "by hand"])?;
    let expected = "batch 1 succeeded after ~; items: 1: 1 succeeded\nresult: {\"half\":1}\n";
    assert_eq!((said.status, without_durations(&said.out).as_str()), (0, expected), "{said:?}");

    let said = say(&world, &["run", "half", "{\"n\": 0}", "--wait"])?;
    assert_eq!(said.status, 1);
    assert!(without_durations(&said.out).starts_with("batch 2 failed after ~; items: 1: 1 failed\nerror: "));
    assert!(said.out.contains("division by zero"), "{said:?}");

    let said = say(&world, &["run", "half", "{\"n\": 0}", "--wait", "-o", "json"])?;
    assert_eq!((said.status, &parsed(&said.out)?["state"]), (1, &"failed".into()));
    assert_eq!(ask(&world, &["run", "half", "{\"n\": 1}"])?, "4\n", "without --wait, its batch");
    assert_eq!(parsed(&ask(&world, &["ls", "-o", "json", "--limit", "9"])?)?[3]["label"], "by hand");
    Ok(())
}

#[tokio::test]
async fn logs_without_a_pod_are_what_was_kept() -> Tested {
    let world = World::new("cli_logs").await?;
    let line = "echo \"one $PGBATCH_ATTEMPT\"; printf 'two \\033[31m\\n'; exit 3";
    world.shell_queue("speaks", line, ", max_attempts => 2, retry_backoff => '0 s'").await?;
    let _dispatcher = world.dispatcher(&[])?;
    let batch = world.enqueue_numbers("speaks", 1).await?;
    until_batch(&world, batch, "state = 'failed'").await;
    let item = format!("{batch}/1");
    let said = say(&world, &["logs", &item])?;
    assert_eq!((said.status, said.out.as_str()), (0, "one 2\ntwo [31m\n"));
    assert!(said.err.starts_with("pgbatch logs: no Kubernetes cluster is configured"), "{}", said.err);
    assert_eq!(say(&world, &["logs", &item, "--attempt", "1", "-f"])?.out, "one 1\ntwo [31m\n");
    let said = say(&world, &["logs", &item, "--attempt", "3"])?;
    assert_eq!(
        (said.status, said.err.as_str()),
        (2, "pgbatch: item 1/1 had no attempt 3 (hint: it had 2)\n")
    );
    Ok(())
}
