//! What is late, and what will be.

use crate::Tested;
use crate::board::Board;
use crate::browser::Browser;
use crate::night::Night;

#[tokio::test]
async fn a_missed_deadline_is_bad_and_one_that_will_be_missed_is_a_warning() -> Tested {
    let board = Board::new("late").await?;
    let Night { running, late, .. } = Night::fall(&board).await?;
    let browser = Browser::start().await?;
    browser.open(&board.url("/"))?;
    let line =
        |level: &str, batch: i64| browser.text(&format!("#verdict li.{level} a[href='/batches/{batch}']"));
    let missed = line("bad", running)?;
    assert!(missed.starts_with(&format!("exports \"export\", batch {running}: 2")), "{missed}");
    assert!(missed.contains(" past its deadline, ") && missed.ends_with("; it is running"), "{missed}");
    let threatened = line("warning", late)?;
    let begin = format!("ledgers \"nightly 2026-11-27\", batch {late}: at this rate done about ");
    assert!(threatened.starts_with(&begin) && threatened.ends_with(" after its deadline"), "{threatened}");

    browser.click(&format!("#verdict li.warning a[href='/batches/{late}']"))?;
    let main = browser.text("main")?;
    for told in [" to go", " after its deadline", "Deadline 20", "(in 3"] {
        assert!(main.contains(told), "{told}: {main}");
    }
    browser.open(&board.url(&format!("/batches/{running}")))?;
    assert!(browser.text("main p .state.bad")?.contains(" past its deadline, "));
    Night::end(&board)?;
    board.until_state(running, "succeeded").await;
    board.until_state(late, "succeeded").await;
    browser.open(&board.url(&format!("/batches/{running}")))?;
    let facts = browser.text("main dl.facts")?;
    assert!(facts.contains(" (it ended 2") && facts.contains(" after)"), "{facts}");
    assert!(!board.get("/")?.body.contains("deadline"), "what has ended is late no more");
    Ok(())
}
