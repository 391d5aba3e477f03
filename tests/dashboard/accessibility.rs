//! Every page, in both themes, judged by axe-core; and the pictures of them.

use std::io;

use e2e::repository;
use serde_json::Value;

use crate::Tested;
use crate::board::Board;
use crate::browser::{Browser, Theme};
use crate::night::Night;
use crate::pages::paths;

#[tokio::test]
async fn no_page_has_a_violation_in_either_theme_and_the_browser_complains_of_nothing() -> Tested {
    let board = Board::new("axe").await?;
    let night = Night::fall(&board).await?;
    let browser = Browser::start().await?;
    let pictures = repository().join("target/tests/dashboard");
    for theme in Theme::BOTH {
        browser.prefer(theme)?;
        for path in paths(&night) {
            browser.open(&board.url(&path))?;
            browser.until_text("#live", "live").await;
            assert_eq!(violations(&browser)?, Vec::<String>::new(), "{path}, {}", theme.name());
            for (whole, folder) in [(true, "whole"), (false, "seen")] {
                std::fs::create_dir_all(pictures.join(folder))?;
                browser.picture(
                    &pictures.join(format!("{folder}/{}-{}.png", name(&path), theme.name())),
                    whole,
                )?;
            }
        }
        browser.ask("document.getElementById('help').showModal()")?;
        assert_eq!(violations(&browser)?, Vec::<String>::new(), "the keys, {}", theme.name());
    }
    browser.be_a_phone()?;
    for path in paths(&night).iter().take(3) {
        browser.open(&board.url(path))?;
        assert_eq!(violations(&browser)?, Vec::<String>::new(), "{path} on a phone");
        browser.picture(&pictures.join(format!("whole/{}-phone.png", name(path))), true)?;
    }
    assert_eq!(browser.complaints()?, Vec::<String>::new());
    Night::end(&board)?;
    Ok(())
}

/// Of a picture of the page.
fn name(path: &str) -> String {
    match path.trim_matches('/').replace('/', "-") {
        name if name.is_empty() => "now".to_owned(),
        name => name,
    }
}

/// What axe-core finds wrong, each with the first element that it is about.
pub(crate) fn violations(browser: &Browser) -> io::Result<Vec<String>> {
    let versions = std::fs::read_dir(repository().join("target/axe"))?;
    let version = versions
        .flatten()
        .next()
        .ok_or_else(|| io::Error::other("tests/dashboard/install.sh has not run"))?;
    let axe = std::fs::read_to_string(version.path().join("package/axe.min.js"))?;
    browser.ask(&axe)?;
    let found = browser.ask_later(
        "axe.run().then(found => done(found.violations.map(v => `${v.id}: ${v.nodes[0].html}: ${v.nodes[0].failureSummary}`)))",
    )?;
    Ok(found.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// The judge judges: a page that is wrong is found so.
#[tokio::test]
async fn a_page_with_a_fault_is_found() -> Tested {
    let board = Board::new("fault").await?;
    let browser = Browser::start().await?;
    browser.open(&board.url("/"))?;
    browser.ask("document.querySelector('html').removeAttribute('lang'); document.body.append(document.createElement('input'))")?;
    let found = violations(&browser)?.join("\n");
    assert!(found.contains("html-has-lang") && found.contains("label"), "{found}");
    Ok(())
}
