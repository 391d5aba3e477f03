//! What is late, and what will be, at the shell.

use e2e::world::World;

use crate::person::{ask, say};
use crate::{Tested, parsed};

/// Batch 1 has ended one item of four in 40 minutes, and has an hour and a half left; batch 2 waits, and should have ended 3 days ago.
async fn night(test: &str) -> Result<World, Box<dyn std::error::Error>> {
    let world = World::new(test).await?;
    world.shell_queue("claps", "exit 0", "").await?;
    world.enqueue_numbers("claps", 4).await?;
    world.enqueue_numbers("claps", 2).await?;
    let claims = r#"[{"batch": 1, "first_item": 1, "last_item": 1, "attempt": 1}, {"batch": 1, "first_item": 2, "last_item": 2, "attempt": 1}]"#;
    let ends = r#"[{"run": 1, "state": "succeeded"}]"#;
    world
        .client
        .batch_execute(&format!(
            "SELECT pgbatch.claim(0, '{claims}'), pgbatch.finish_runs(0, '{ends}');
             UPDATE pgbatch.batch SET started_at = now() - interval '40 min' WHERE id = 1;
             SELECT pgbatch.set_deadline(1, now() + interval '90 min'), pgbatch.set_deadline(2, now() - interval '76 h 30 min')"
        ))
        .await?;
    Ok(world)
}

#[tokio::test]
async fn status_show_and_watch_tell_of_deadlines() -> Tested {
    let world = night("cli_deadlines").await?;
    let status = ask(&world, &["status"])?;
    let lines: Vec<&str> = status.lines().skip(2).take(3).collect();
    assert!(lines[0].starts_with("claps, batch 2: 3d04h past its deadline, "), "{status}");
    assert!(lines[0].ends_with(" UTC; it is pending"), "{status}");
    assert!(lines[1].starts_with("claps, batch 1: at this rate done about "), "{status}");
    assert!(lines[1].ends_with(" after its deadline") && lines[2].is_empty(), "{status}");
    let json = parsed(&ask(&world, &["status", "-o", "json"])?)?;
    let late = json["late"].as_array().ok_or("no list")?;
    assert_eq!(late.iter().map(|of| &of["batch"]).collect::<Vec<_>>(), [2, 1]);
    assert_eq!((&late[0]["is_past"], &late[1]["is_past"]), (&true.into(), &false.into()));

    let shown = ask(&world, &["show", "2"])?;
    assert!(shown.contains("(3d04h ago)\n") && shown.contains("late    "), "{shown}");
    world.client.batch_execute("SELECT pgbatch.cancel_batch(2)").await?;
    let ended = say(&world, &["watch", "2"])?;
    assert!(ended.out.ends_with("; items: 2: 2 cancelled; it ended 3d04h after its deadline\n"), "{ended:?}");
    assert!(!ask(&world, &["status"])?.contains("batch 2"), "what has ended is late no more");
    Ok(())
}

#[tokio::test]
async fn an_item_that_is_nested_too_deeply_is_named_with_what_shows_it() -> Tested {
    let world = World::new("cli_deep").await?;
    world.shell_queue("claps", "exit 0", "").await?;
    let deep = "('{\"a\":' || repeat('[', 200) || repeat(']', 200) || '}')::jsonb";
    world.client.batch_execute(&format!("SELECT pgbatch.enqueue('claps', {deep})")).await?;
    let said = say(&world, &["show", "1/1"])?;
    let says = "pgbatch: it has JSON in it that is nested too deeply to be shown here, in more than 120 levels (hint: psql shows it: SELECT item ";
    assert!(said.status == 2 && said.err.starts_with(says), "{said:?}");
    Ok(())
}
