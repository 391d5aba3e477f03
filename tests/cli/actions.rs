//! What changes something: `retry`, `cancel`, `pause`, `resume`.

use e2e::world::World;

use crate::person::ask;
use crate::{Tested, parsed, until_batch};

#[tokio::test]
async fn retry_runs_the_failed_items_again_and_says_how_many() -> Tested {
    let world = World::new("cli_retry").await?;
    let mended = world.dir.join("mended");
    world.shell_queue("broken", &format!("test -e {}", mended.display()), ", max_attempts => 1").await?;
    let _dispatcher = world.dispatcher(&[])?;
    let batch = world.enqueue_numbers("broken", 2).await?;
    until_batch(&world, batch, "state = 'failed'").await;
    std::fs::write(&mended, "")?;
    let id = batch.to_string();
    assert_eq!(ask(&world, &["retry", &id])?, format!("batch {batch}: 2 failed items again\n"));
    until_batch(&world, batch, "state = 'succeeded'").await;
    assert_eq!(ask(&world, &["retry", &id])?, format!("batch {batch} has no failed items\n"));
    assert_eq!(parsed(&ask(&world, &["retry", &id, "-o", "json"])?)?["retried"], 0);
    assert_eq!(ask(&world, &["cancel", &id])?, format!("batch {batch} has ended already: succeeded\n"));
    Ok(())
}

#[tokio::test]
async fn retry_takes_some_items_or_one_cause() -> Tested {
    let world = World::new("cli_retry_some").await?;
    let line =
        r#"[ $PGBATCH_ITEM_NO -lt 3 ] || { echo "no customer $PGBATCH_ITEM_NO" >&2; exit 3; }; exit 1"#;
    world.shell_queue("broken", line, ", max_attempts => 1").await?;
    let _dispatcher = world.dispatcher(&[])?;
    let batch = world.enqueue_numbers("broken", 4).await?;
    until_batch(&world, batch, "state = 'failed'").await;
    ask(&world, &["pause", "broken"])?;
    let id = batch.to_string();
    let retry = |more: &[&str]| ask(&world, &[&["retry", &id], more].concat());
    assert_eq!(retry(&["--error", "no customer 77"])?, format!("batch {batch}: 2 failed items again\n"));
    assert_eq!(retry(&["--item", "3,4"])?, format!("batch {batch} has no such failed items\n"));
    assert_eq!(retry(&["--item", "2", "--item=3"])?, format!("batch {batch}: 1 failed item again\n"));
    Ok(())
}

#[tokio::test]
async fn cancel_says_what_it_waits_for() -> Tested {
    let world = World::new("cli_cancel").await?;
    world.shell_queue("long", "exec sleep 1000", ", max_parallel => 1").await?;
    let waiting = world.enqueue_numbers("long", 2).await?;
    assert_eq!(ask(&world, &["cancel", &waiting.to_string()])?, format!("batch {waiting} is cancelled\n"));

    let mut dispatcher = world.dispatcher(&[])?;
    let running = world.enqueue_numbers("long", 2).await?;
    until_batch(&world, running, "running = 1").await;
    // Nobody is there to stop it, so that it cannot end before we look.
    dispatcher.kill()?;
    let told = ask(&world, &["cancel", &running.to_string()])?;
    let expected = "is being cancelled: it ends when 1 running item has stopped";
    assert_eq!(told, format!("batch {running} {expected}\n"));
    let _next = world.dispatcher(&[])?;
    until_batch(&world, running, "state = 'cancelled'").await;
    Ok(())
}

#[tokio::test]
async fn pause_holds_a_queue_and_resume_lets_it_go_on() -> Tested {
    let world = World::new("cli_pause").await?;
    world.shell_queue("claps", "exit 0", "").await?;
    let told = "queue \"claps\" is paused: nothing of it starts, its live runs go on\n";
    assert_eq!(ask(&world, &["pause", "claps"])?, told);
    let _dispatcher = world.dispatcher(&[])?;
    let batch = world.enqueue_numbers("claps", 1).await?;
    assert_eq!(parsed(&ask(&world, &["status", "-o", "json"])?)?["queues"][0]["paused"], true);
    assert_eq!(ask(&world, &["resume", "claps"])?, "queue \"claps\" goes on\n");
    until_batch(&world, batch, "state = 'succeeded'").await;
    let json = parsed(&ask(&world, &["resume", "claps", "-o", "json"])?)?;
    assert_eq!(json, parsed("{\"queue\": \"claps\", \"paused\": false}")?);
    Ok(())
}

#[tokio::test]
async fn actions_tell_who_has_done_what_and_why() -> Tested {
    let world = World::new("cli_actions").await?;
    world.shell_queue("claps", "exit 0", "").await?;
    let batch = world.enqueue_numbers("claps", 1).await?;
    ask(&world, &["pause", "claps", "--reason", "the disk is full"])?;
    world.client.execute("SELECT pgbatch.alter_queue('claps', max_parallel => 3)", &[]).await?;
    ask(&world, &["cancel", &batch.to_string(), "--reason", "wrong\nmonth"])?;
    let told = ask(&world, &["actions"])?;
    let lines: Vec<Vec<&str>> = told.lines().map(|line| line.split_whitespace().skip(1).collect()).collect();
    let cancelled = format!("owner cancel_batch batch {batch} of claps wrong month");
    assert_eq!(
        lines[1..],
        [
            &*cancelled,
            "owner alter_queue claps max_parallel 10 -> 3",
            "owner pause_queue claps the disk is full",
            "owner create_queue claps",
        ]
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
    );
    let json = parsed(&ask(&world, &["actions", "--batch", &batch.to_string(), "-o", "json"])?)?;
    assert_eq!((json[0]["action"].as_str(), json[1].is_null()), (Some("cancel_batch"), true));
    assert_eq!(json[0]["reason"], "wrong\nmonth");
    Ok(())
}
