//! Piped: no colours, no width, golden texts, and JSON.

use std::process::Stdio;

use e2e::world::World;

use crate::person::{ask, pgbatch, run, say, variables, without_durations};
use crate::{Tested, long_ago, parsed};

#[tokio::test]
async fn status_prints_a_table_of_what_is_held_and_why() -> Tested {
    let world = World::new("cli_status").await?;
    world.client.batch_execute("SELECT pgbatch.create_limit('node', 4)").await?;
    world.shell_queue("claps", "exit 0", ", limit_name => 'node'").await?;
    world.shell_queue("mail", "exit 0", "").await?;
    world.shell_queue("quiet", "exit 0", "").await?;
    world.enqueue_numbers("claps", 60).await?;
    world.client.batch_execute("SELECT pgbatch.pause_queue('claps')").await?;
    world
        .client
        .batch_execute("SELECT pgbatch.enqueue('mail', not_before => '2199-12-31 12:00:00+00')")
        .await?;
    long_ago(&world).await?;

    let text = ask(&world, &["status"])?;
    let (header, tables) = text.split_once("\n\n").ok_or("no header")?;
    assert!(header.starts_with("pgbatch on /"), "{header}");
    assert!(header.ends_with("\nno dispatcher is connected"), "{header}");
    let (queues, rest) = tables.split_once("mail ").ok_or("no mail")?;
    assert_eq!(
        queues,
        "\
QUEUE  PENDING  RUNNING  RETRYING  FAILED  ENDED/S  ETA  OLDEST  HELD
claps       60        0         0       0      0.0        3d04h  queue \"claps\" is paused; pgbatch.resume_queue('claps') lets it go on
"
    );
    assert!(rest.contains("not before 2199-12-31 12:00:00+00 (in "), "{rest}");
    assert!(rest.ends_with("\n\nLIMIT  RUNS  OF  QUEUES\nnode      0   4  claps\n"), "{rest}");

    let json = parsed(&ask(&world, &["status", "-o", "json"])?)?;
    assert_eq!(json["dispatcher"]["leads"], false);
    assert_eq!(json["queues"][0]["name"], "claps");
    assert_eq!(json["queues"][0]["pending"], 60);
    assert_eq!(json["queues"][2]["held"], parsed("[]")?, "{json:#}");
    assert_eq!(json["limits"][0]["queues"], parsed("[\"claps\"]")?);
    Ok(())
}

#[tokio::test]
async fn status_of_nothing_says_what_to_do() -> Tested {
    let world = World::new("cli_nothing").await?;
    assert!(
        ask(&world, &["status"])?.ends_with("There is no queue yet: pgbatch.create_queue() makes one.\n")
    );
    Ok(())
}

#[tokio::test]
async fn ls_lists_the_newest_first_and_filters() -> Tested {
    let world = World::new("cli_ls").await?;
    world.shell_queue("claps", "exit 0", "").await?;
    world.shell_queue("mail", "exit 0", "").await?;
    world.enqueue_numbers("claps", 3).await?;
    world.client.batch_execute("SELECT pgbatch.enqueue('mail', label => E'two\\nlines \\x1b[31m')").await?;
    world.enqueue_numbers("claps", 12).await?;
    world.client.batch_execute("SELECT pgbatch.cancel_batch(3)").await?;
    long_ago(&world).await?;

    let expected = "\
BATCH  QUEUE  STATE      ITEMS  PENDING  RUNNING  RETRYING  SUCCEEDED  FAILED    AGE  TOOK  LABEL
    3  claps  cancelled     12        0        0         0          0       0  3d04h
    2  mail   pending        1        1        0         0          0       0  3d04h        two lines [31m
    1  claps  pending        3        3        0         0          0       0  3d04h
";
    assert_eq!(ask(&world, &["ls"])?, expected);
    let ids = |arguments: &[&str]| -> Result<Vec<i64>, Box<dyn std::error::Error>> {
        let json = parsed(&ask(&world, arguments)?)?;
        Ok(json.as_array().into_iter().flatten().filter_map(|batch| batch["id"].as_i64()).collect())
    };
    assert_eq!(ids(&["ls", "-o", "json", "--queue", "claps"])?, [3, 1]);
    assert_eq!(ids(&["ls", "-o", "json", "--state", "cancelled,failed"])?, [3]);
    assert_eq!(ids(&["ls", "-o", "json", "--limit", "2"])?, [3, 2]);
    Ok(())
}

#[tokio::test]
async fn show_and_why_tell_all_of_a_waiting_item() -> Tested {
    let world = World::new("cli_why").await?;
    world.shell_queue("claps", "exit 0", "").await?;
    world.client.batch_execute("SELECT pgbatch.enqueue('claps', '{\"id\": 7}', label => 'nightly')").await?;
    world.client.batch_execute("SELECT pgbatch.pause_queue('claps')").await?;

    let batch = ask(&world, &["show", "1"])?;
    for line in [
        "batch         1",
        "queue         claps",
        "label         nightly",
        "state         pending",
        "items         1: 1 pending",
    ] {
        assert!(batch.lines().any(|l| l == line), "{line} in {batch}");
    }
    let item = ask(&world, &["show", "1/1"])?;
    assert_eq!(item, "item      1/1\nstate     pending\npayload   {\"id\":7}\nattempts  0\n");
    assert_eq!(parsed(&ask(&world, &["show", "1/1", "-o", "json"])?)?["item"]["id"], 7);

    let why = ask(&world, &["why", "1/1"])?;
    let held = "queue \"claps\" is paused; pgbatch.resume_queue('claps') lets it go on";
    assert!(why.starts_with(&format!("1/1: {held}\n\nGATE          OPEN  WORDS\n")), "{why}");
    assert!(why.contains(&format!("\npaused        no    {held}\n")), "{why}");
    let gates = parsed(&ask(&world, &["why", "1/1", "-o", "json"])?)?;
    assert!(
        gates
            .as_array()
            .is_some_and(|gates| gates.iter().any(|g| g["gate"] == "dispatcher" && g["open"] == false))
    );
    Ok(())
}

#[tokio::test]
async fn an_error_is_one_line_with_a_hint_and_status_2() -> Tested {
    let world = World::new("cli_errors").await?;
    world.shell_queue("claps", "exit 0", "").await?;
    world.enqueue_numbers("claps", 3).await?;
    let expected = [
        (&["show", "9"][..], "pgbatch: batch 9 does not exist (hint: pgbatch ls lists the batches; "),
        (&["show", "1/4"], "pgbatch: batch 1 has no item 4 (hint: its items are 1 to 3)"),
        (&["why", "1/4"], "pgbatch: item_no 4 is not an item of batch 1 (hint: Its items are 1 to 3.)"),
        (
            &["logs", "1/2"],
            "pgbatch: item 1/2 has had no run yet (hint: pgbatch why 1/2 says what it waits for)",
        ),
        (&["watch", "9"], "pgbatch: batch 9 does not exist"),
        (&["retry", "9"], "pgbatch: batch 9 does not exist"),
        (&["cancel", "9"], "pgbatch: batch 9 does not exist"),
        (&["pause", "clap"], "pgbatch: queue \"clap\" does not exist"),
        (&["run", "clap"], "pgbatch: queue \"clap\" does not exist"),
        (&["run", "claps", "{id: 7}"], "pgbatch: the item is no JSON: "),
        (&["run", "claps", "[7]"], "pgbatch: "),
    ];
    for (arguments, line) in expected {
        let said = say(&world, arguments)?;
        assert_eq!((said.status, said.out.as_str()), (2, ""), "{arguments:?}: {said:?}");
        assert!(said.err.starts_with(line), "{arguments:?}: {}", said.err);
        assert_eq!(said.err.lines().count(), 1, "{arguments:?}: {}", said.err);
    }
    for arguments in [&["show", "x"][..], &["why", "1"], &["ls", "--state", "done"], &["fly"]] {
        let said = say(&world, arguments)?;
        assert_eq!((said.status, said.out.as_str()), (2, ""), "{arguments:?}: {said:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_reader_that_leaves_early_is_no_error() -> Tested {
    let world = World::new("cli_reader").await?;
    let mut child = pgbatch(&variables(&world), &["status"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    drop(child.stdout.take());
    let output = child.wait_with_output()?;
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
    Ok(())
}

#[test]
fn completions_are_scripts_that_their_shells_understand() -> Tested {
    for (shell, checks) in [("bash", true), ("zsh", false), ("fish", false)] {
        let script = run(pgbatch(&[], &["completions", shell]))?;
        assert_eq!((script.status, script.err.as_str()), (0, ""));
        for word in ["status", "completions", "--database-url"] {
            assert!(script.out.contains(word.trim_start_matches('-')), "{shell} completes {word}");
        }
        if checks {
            let mut bash = std::process::Command::new("bash");
            bash.args(["-euc", &format!("{}\ncomplete -p pgbatch", script.out)]);
            let said = run(bash)?;
            assert!(said.out.contains("_pgbatch"), "{said:?}");
        }
    }
    Ok(())
}

#[test]
fn help_documents_the_exit_status() -> Tested {
    let help = run(pgbatch(&[], &["--help"]))?;
    assert_eq!(help.status, 0);
    for line in ["  0  done;", "  1  the batch that was followed failed", "  2  wrong usage, no connection"] {
        assert!(help.out.contains(line), "{line} in {}", help.out);
    }
    Ok(())
}

#[test]
fn durations_are_recognized() {
    let text = "batch 1 failed after 3m04s; items: 2: 1 failed (850ms ago), 12 times\n3d04h";
    let told = "batch 1 failed after ~; items: 2: 1 failed (~ ago), 12 times\n~";
    assert_eq!(without_durations(text), told);
}
