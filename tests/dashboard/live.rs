//! A page that stays up to date by itself, says so, and says when it does not.

use e2e::wait::until;

use crate::Tested;
use crate::board::{Board, SOON};
use crate::browser::Browser;
use crate::night::Night;

#[tokio::test]
async fn an_open_page_follows_what_changes_and_keeps_what_one_does_in_it() -> Tested {
    let board = Board::new("live").await?;
    let night = Night::fall(&board).await?;
    let browser = Browser::start().await?;
    browser.open(&board.url(&format!("/batches/{}", night.running)))?;
    browser.until_text("#live", "live").await;
    browser.until_text("p.counts", "0 of 40 items ended").await;
    browser.ask("window.here = true; document.querySelector('[data-row] a').focus()")?;
    let focused = "return document.activeElement.getAttribute('href')";
    let before = browser.ask(focused)?;
    Night::end(&board)?;
    browser.until_text("p.counts", "40 of 40 items ended").await;
    browser.until_text("h1", "succeeded").await;
    assert_eq!(browser.ask("return window.here")?, true, "it was not loaded anew");
    assert_eq!(browser.ask("return document.activeElement.tagName")?, "A", "the focus stays in the table");
    assert!(before.is_string());

    browser.open(&board.url("/"))?;
    board.run("SELECT pgbatch.create_queue('brand-new', sql => 'SELECT 1'); SELECT pgbatch.enqueue('brand-new')").await?;
    browser.until_text("main", "brand-new").await;
    assert_eq!(browser.complaints()?, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn it_says_when_it_is_frozen_and_goes_on_by_itself() -> Tested {
    let board = Board::new("frozen").await?;
    board.queue("q", "true", "").await?;
    let browser = Browser::start().await?;
    browser.open(&board.url("/batches"))?;
    browser.until_text("#live", "live").await;
    browser.click("#pause")?;
    browser.until_text("#live", "paused").await;
    board.run("SELECT pgbatch.enqueue('q', label => 'while it was paused')").await?;
    board.until_state(1, "succeeded").await;
    assert!(!browser.text("main")?.contains("while it was paused"));
    browser.click("#pause")?;
    browser.until_text("main", "while it was paused").await;

    let Board { place, mut dispatcher, port, reader } = board;
    dispatcher.kill()?;
    browser.until_text("#live", "no answer").await;
    let _next = place.dispatcher(&reader, port, &[])?;
    browser.until_text("#live", "live").await;
    Ok(())
}

/// A standby notices nothing itself: its pages are read again while somebody looks.
#[tokio::test]
async fn the_page_of_a_standby_follows_too() -> Tested {
    let board = Board::new("standby").await?;
    board.queue("q", "true", "").await?;
    let port = e2e::network::free_port(None, [127, 0, 0, 1].into())?;
    let _standby = board.place.dispatcher(&board.reader, port, &[])?;
    until("the second to stand by", SOON, async || {
        e2e::http::get(port, "/readyz", &[]).ok().filter(|answer| answer.body.contains("standing by"))
    })
    .await;
    let browser = Browser::start().await?;
    browser.open(&format!("http://127.0.0.1:{port}/batches"))?;
    browser.until_text("main", "There is no batch yet").await;
    board.run("SELECT pgbatch.enqueue('q', label => 'seen from the side')").await?;
    browser.until_text("main", "seen from the side").await;
    Ok(())
}
