//! In a real terminal, as wide as people have it, and narrow.

use e2e::world::World;

use crate::terminal::Terminal;
use crate::{Tested, long_ago, until_batch};

#[tokio::test]
async fn a_table_fits_a_narrow_terminal_and_has_colours() -> Tested {
    let world = World::new("cli_narrow").await?;
    world.shell_queue("claps", "exit 0", "").await?;
    world
        .client
        .batch_execute("SELECT pgbatch.enqueue('claps', label => 'the nightly claps of all tenants, in the order of their size')")
        .await?;
    world.client.batch_execute("SELECT pgbatch.pause_queue('claps')").await?;
    long_ago(&world).await?;
    let terminal = Terminal::open(&world, 60, 30).await?;
    terminal.type_line("pgbatch ls; echo exit $?")?;
    let picture = terminal.until(&["exit 0"]).await;
    let expected = "\
$ pgbatch ls; echo exit $?
BATCH  QUEUE  STATE    ITEMS  FAILED    AGE  LABEL
    1  claps  pending      1       0  3d04h  the nightly
                                             claps of all
                                             tenants, in the
                                             order of their
                                             size
exit 0
$";
    assert_eq!(picture, expected);
    terminal.type_line("clear; pgbatch why 1/1; echo exit $?")?;
    let picture = terminal.until(&["exit 0", "GATE"]).await;
    assert!(picture.lines().all(|line| line.chars().count() <= 60), "{picture}");
    let wrapped = "\
paused        no    queue \"claps\" is paused;
                    pgbatch.resume_queue('claps') lets it go
                    on";
    assert!(picture.contains(wrapped), "{picture}");
    let red = "\u{1b}[38;5;1mno\u{1b}[39m";
    let coloured = terminal.coloured_picture()?;
    assert!(coloured.contains(red) || coloured.contains("\u{1b}[31mno"), "{coloured:?}");
    terminal.type_line("clear; NO_COLOR=1 pgbatch why 1/1; echo plain $?")?;
    terminal.until(&["plain 0"]).await;
    let plain = terminal.coloured_picture()?;
    assert!(plain.contains("GATE") && !plain.contains('\u{1b}'), "{plain:?}");
    Ok(())
}

#[tokio::test]
async fn status_is_live_fits_and_leaves_its_last_picture() -> Tested {
    let world = World::new("cli_live").await?;
    let gate = world.dir.join("gate");
    let line = format!("until [ -e {} ]; do sleep 0.1; done", gate.display());
    world.shell_queue("gated", &line, ", max_parallel => 2").await?;
    let terminal = Terminal::open(&world, 60, 12).await?;
    terminal.type_line("pgbatch status; echo exit $?")?;
    let empty = "\
QUEUE  PENDING  RUNNING  RETRYING  FAILED  ENDED/S  HELD
gated        0        0         0       0      0.0";
    let picture = terminal.until(&[empty, "no dispatcher is connected", "Ctrl-C ends"]).await;
    assert!(picture.starts_with("pgbatch on /"), "{picture}");

    let _dispatcher = world.dispatcher(&[])?;
    let batch = world.enqueue_numbers("gated", 3).await?;
    until_batch(&world, batch, "running = 2").await;
    let picture = terminal.until(&["a dispatcher leads", "2 of 2"]).await;
    assert!(picture.lines().any(|l| l.starts_with("gated        1        2 ")), "{picture}");
    terminal.resize(100, 12)?;
    terminal.until(&["ETA  OLDEST  HELD"]).await;

    std::fs::write(&gate, "")?;
    terminal.until(&["gated        0        0 "]).await;
    terminal.press("C-c")?;
    let picture = terminal.until(&["exit 0"]).await;
    assert!(picture.starts_with("$ pgbatch status; echo exit $?\npgbatch on /"), "{picture}");
    assert!(picture.contains("gated        0        0 ") && !picture.contains("Ctrl-C ends"), "{picture}");
    Ok(())
}

#[tokio::test]
async fn status_survives_a_lost_connection() -> Tested {
    let world = World::new("cli_lost").await?;
    world.shell_queue("claps", "exit 0", "").await?;
    let terminal = Terminal::open(&world, 80, 12).await?;
    terminal.type_line("pgbatch status")?;
    terminal.until(&["claps        0"]).await;
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
        WHERE datname = current_database() AND application_name = 'pgbatch status'";
    let ended: i64 = world.client.query_one(sql, &[]).await?.get(0);
    assert_eq!(ended, 1);
    world.client.batch_execute("SELECT pgbatch.enqueue('claps')").await?;
    terminal.until(&["claps        1"]).await;
    Ok(())
}

#[tokio::test]
async fn a_screen_full_of_queues_says_how_many_lines_it_hides() -> Tested {
    let world = World::new("cli_full").await?;
    for number in 1..=20 {
        world.shell_queue(&format!("queue-{number:02}"), "exit 0", "").await?;
    }
    world.enqueue_numbers("queue-20", 1).await?;
    let terminal = Terminal::open(&world, 80, 10).await?;
    terminal.type_line("pgbatch status")?;
    let picture = terminal.until(&["15 more lines; Ctrl-C ends"]).await;
    let fourth = picture.lines().nth(4).unwrap_or_default();
    assert!(fourth.starts_with("queue-20        1"), "who has work comes first: {picture}");
    assert_eq!(picture.lines().count(), 10, "{picture}");
    Ok(())
}

#[tokio::test]
async fn watch_draws_a_bar_and_the_failures_above_it() -> Tested {
    let world = World::new("cli_bar").await?;
    let gate = world.dir.join("gate");
    let line = format!(
        "case $PGBATCH_ARG_N in 1) exit 0 ;; 2) echo broken >&2; exit 7 ;; esac; until [ -e {} ]; do sleep 0.1; done",
        gate.display()
    );
    world.shell_queue("mixed", &line, ", max_attempts => 1").await?;
    let _dispatcher = world.dispatcher(&[])?;
    let batch = world.enqueue_numbers("mixed", 4).await?;
    let terminal = Terminal::open(&world, 60, 12).await?;
    terminal.type_line(&format!("pgbatch watch {batch}; echo exit $?"))?;
    let told = "item 2, attempt 1 failed: Error, exit code 7, broken";
    let counts = "2 running, 1 succeeded, 1 failed";
    let picture = terminal.until(&[told, &format!("\n{counts}"), "2/4  "]).await;
    let bar = picture.lines().nth_back(1).unwrap_or_default();
    assert!(bar.starts_with("batch 1 [===") && bar.contains(" ETA "), "{picture}");
    assert!(picture.lines().all(|line| line.chars().count() <= 60), "{picture}");

    std::fs::write(&gate, "")?;
    let picture = terminal.until(&["exit 1"]).await;
    assert_eq!(picture.matches(told).count(), 1, "{picture}");
    assert!(picture.contains("\nbatch 1 failed after "), "{picture}");
    Ok(())
}
