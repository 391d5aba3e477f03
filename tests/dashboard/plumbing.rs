//! What ended in the last hour, and what everything rests on.

use e2e::http;
use e2e::network::free_port;
use e2e::postgres::SUPERUSER;
use e2e::wait::until;

use crate::Tested;
use crate::board::{Board, SOON};
use crate::browser::Browser;

#[tokio::test]
async fn the_runs_that_ended_are_drawn_and_a_standby_says_who_has_them() -> Tested {
    let board = Board::new("ended").await?;
    board.queue("mixed", "[ $PGBATCH_ARG_N -ne 2 ]", ", max_attempts => 1").await?;
    board.queue("quiet", "true", "").await?;
    let batch = board.world().enqueue_numbers("mixed", 4).await?;
    board.until_state(batch, "failed").await;
    let browser = Browser::start().await?;
    browser.open(&board.url("/"))?;
    let told = "return document.querySelector('svg.spark')?.getAttribute('aria-label') ?? ''";
    until("four ended runs to be drawn", SOON, async || {
        browser
            .ask(told)
            .ok()
            .filter(|told| told.as_str().is_some_and(|told| told.starts_with("4 runs ended since ")))
    })
    .await;
    let words = browser.ask(told)?;
    assert!(words.as_str().is_some_and(|told| told.ends_with(" UTC, 1 of them failed")), "{words}");
    // On the line, and below it.
    let marks = "return [...document.querySelectorAll('svg.spark path.failed')].map(path => path.getBBox().height > 0)";
    assert_eq!(browser.ask(marks)?, serde_json::json!([true, true]));
    assert_eq!(browser.ask("return document.querySelectorAll('svg.spark').length")?, 1, "one queue had runs");
    assert_eq!(browser.complaints()?, Vec::<String>::new());

    let port = free_port(None, [127, 0, 0, 1].into())?;
    let _standby = board.place.dispatcher(&board.reader, port, &[])?;
    until("the second to stand by", SOON, async || {
        http::get(port, "/readyz", &[]).ok().filter(|answer| answer.body.contains("standing by"))
    })
    .await;
    let page = http::get(port, "/", &[])?.body;
    assert!(
        !page.contains("class=\"spark\"") && page.contains("counted by the dispatcher that leads"),
        "{page}"
    );
    assert!(page.contains("those of the dispatcher that leads: its own page tells"), "{page}");
    Ok(())
}

#[tokio::test]
async fn the_plumbing_tells_of_the_doorbell_and_of_the_oldest_snapshot() -> Tested {
    let board = Board::new("plumbing").await?;
    board.queue("q", "true", "").await?;
    board.run("SELECT pgbatch.enqueue('q')").await?;
    board.until_state(1, "succeeded").await;
    let browser = Browser::start().await?;
    browser.open(&board.url("/"))?;
    let facts = browser.text("dl.facts")?;
    let told = ["Doorbell shared memory; last woken ", " ago, by a ", "Database 127.0.0.1:"];
    assert!(told.iter().all(|told| facts.contains(told)), "{facts}");
    assert!(!facts.contains("API server") && !facts.contains("Watch"), "runs are processes here: {facts}");
    let may_not =
        format!("Oldest snapshot this role may not see it (GRANT pg_read_all_stats TO {})", board.reader);
    assert!(facts.contains(&may_not), "{facts}");

    let superuser = board.world().database.connect_as(SUPERUSER).await?;
    superuser.batch_execute(&format!("GRANT pg_read_all_stats TO {}", board.reader)).await?;
    let holder = board.world().database.connect_as(SUPERUSER).await?;
    holder
        .batch_execute("SET application_name = 'a report'; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pgbatch.queue")
        .await?;
    let pid: i32 = holder.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
    let held = format!("backend {pid} (a report) of {SUPERUSER}, idle in transaction");
    browser.until_text("dl.facts", &held).await;
    holder.batch_execute("COMMIT").await?;
    browser.until_text("dl.facts", "Oldest snapshot none").await;
    Ok(())
}
