//! Everything by the keyboard alone, and the theme that one chose.

use crate::Tested;
use crate::board::Board;
use crate::browser::{Browser, Theme};
use crate::night::Night;

const ENTER: &str = "\u{e007}";
const TAB: &str = "\u{e004}";
const ESCAPE: &str = "\u{e00c}";

#[tokio::test]
async fn every_page_is_reached_by_keys() -> Tested {
    let board = Board::new("keys").await?;
    let night = Night::fall(&board).await?;
    let browser = Browser::start().await?;
    browser.open(&board.url("/"))?;
    browser.press(&[TAB])?;
    assert_eq!(browser.text(":focus")?, "Skip to the content");
    browser.press(&["g", "b"])?;
    browser.until_text("h1", "Batches").await;
    browser.press(&["j", "j", "j", "k"])?;
    assert_eq!(browser.text(":focus")?, night.running.to_string(), "the newest is the first row");
    browser.press(&["j", ENTER])?;
    browser.until_text("h1", &format!("Batch {}", night.failed)).await;
    browser.press(&["j", ENTER])?;
    browser.until_text("h1", &format!("Item {}/13", night.failed)).await;
    browser.press(&["g", "t"])?;
    browser.until_text("h1", "Triggers").await;
    browser.press(&["/"])?;
    browser.until_text("h1", "Batches").await;
    assert_eq!(browser.ask("return document.activeElement.id")?, "filter");
    // There a letter is a letter.
    browser.press(&["m", "a", "i", "l", "s", ENTER])?;
    browser.until_text("form.filter", "All").await;
    assert!(browser.url()?.contains("queue=mails"), "{}", browser.url()?);
    browser.press(&["?"])?;
    browser.until_text("#help[open]", "To the next and the previous row").await;
    browser.press(&[ESCAPE])?;
    assert_eq!(browser.text("#help[open]")?, "");
    browser.press(&["g", "n"])?;
    browser.until_text("h2", "Queues").await;
    Night::end(&board)?;
    Ok(())
}

#[tokio::test]
async fn the_theme_is_the_browsers_until_another_one_is_chosen() -> Tested {
    let board = Board::new("theme").await?;
    let browser = Browser::start().await?;
    let ground = || browser.ask("return getComputedStyle(document.body).backgroundColor");
    browser.prefer(Theme::Dark)?;
    browser.open(&board.url("/"))?;
    let dark = ground()?;
    browser.prefer(Theme::Light)?;
    let light = ground()?;
    assert_ne!(light, dark);
    browser.click("#theme")?;
    assert_eq!(ground()?, dark);
    browser.open(&board.url("/batches"))?;
    assert_eq!(ground()?, dark, "it is kept");
    Ok(())
}
