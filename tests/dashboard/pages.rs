//! What each page tells, with and without scripts, wide and narrow.

use crate::Tested;
use crate::board::Board;
use crate::browser::Browser;
use crate::night::Night;

/// The text has each of these.
fn assert_told(text: &str, facts: &[&str]) {
    for fact in facts {
        assert!(text.contains(fact), "{fact}: {text}");
    }
}

#[tokio::test]
async fn the_pages_tell_what_broke_and_why_without_any_script() -> Tested {
    let board = Board::new("facts").await?;
    let night = Night::fall(&board).await?;
    let browser = Browser::start().await?;
    browser.without_scripts()?;

    browser.open(&board.url("/"))?;
    tells_how_it_is(&browser, &night)?;
    browser.click("tbody a[href='/batches?queue=invoices&state=failed']")?;
    assert!(browser.url()?.ends_with("/batches?queue=invoices&state=failed"));
    assert_eq!(browser.ask("return document.querySelectorAll('tbody tr').length")?, 1, "one batch failed");
    assert_eq!(browser.text("tbody tr th")?, night.failed.to_string());
    browser.click("tbody th a")?;
    tells_of_a_batch(&browser)?;
    browser.open(&board.url(&format!("/batches/{}/items/57", night.failed)))?;
    tells_of_an_item(&browser, night.failed)?;
    assert_eq!(browser.complaints()?, Vec::<String>::new());
    Night::end(&board)?;
    Ok(())
}

fn tells_how_it_is(browser: &Browser, night: &Night) -> Tested {
    let verdict = browser.text("#verdict")?;
    let failed =
        format!("invoices \"nightly 2026-11-27\", batch {}: 5 of 120 items failed since ", night.failed);
    let causes = "2 causes, most often: deadlock detected: process 40";
    assert_told(&verdict, &[&failed, causes, "mails: nothing runs of 7 items: queue \"mails\" is paused"]);
    assert!(verdict.find("invoices") < verdict.find("mails"), "the worst first: {verdict}");
    let held = " queue \"exports\" has 3 of 3 runs: exports-";
    assert_told(&browser.text("tbody")?, &["exports 37 3 / 3 0 0 ", held, "mails paused 7 0 / 10 0 0 "]);
    let dispatchers = ["a dispatcher leads: backend ", "listening to commits, and every watch is synced"];
    assert_told(&browser.text("dl.facts")?, &dispatchers);
    Ok(())
}

fn tells_of_a_batch(browser: &Browser) -> Tested {
    let facts = [
        "120 of 120 items ended (100 %)",
        "115 succeeded",
        "5 failed",
        "Failed: 13, 20, 57, 77, 91",
        "3 13 ",
        "deadlock detected: process 40",
        "no such customer: ",
        "× the median of the one before",
        "nightly 2026-11-26",
    ];
    assert_told(&browser.text("main")?, &facts);
    assert_eq!(browser.ask("return document.querySelectorAll('.map g.failed').length")?, 5);
    assert_eq!(browser.ask("return document.querySelectorAll('.map g').length")?, 120);
    Ok(())
}

fn tells_of_an_item(browser: &Browser, batch: i64) -> Tested {
    let facts = [
        &format!("Item {batch}/57"),
        "deadlock detected: process 4057 waits for ShareLock",
        "\"n\": 57",
        "attempt 1 ended: failed",
        &format!("ShareLock; pgbatch.retry_batch({batch}) tries it again Item 56"),
        "kubectl logs job/invoices-",
        &format!("pgbatch retry {batch}"),
        "Item 56",
        "Item 58",
    ];
    assert_told(&browser.text("main")?, &facts);
    Ok(())
}

#[tokio::test]
async fn triggers_tell_when_they_fire_next_and_what_is_amiss() -> Tested {
    let board = Board::new("triggers").await?;
    board.queue("q", "true", "").await?;
    board
        .run(
            "CREATE TABLE orders (id int PRIMARY KEY, paid boolean);
             SELECT pgbatch.schedule('nightly', 'q', '30 2 * * *', 'UTC');
             SELECT pgbatch.watch_rows('unpaid', 'q', 'SELECT id FROM orders WHERE NOT paid AND 1 / (id - 1) < 2');
             INSERT INTO orders VALUES (1, false)",
        )
        .await?;
    e2e::wait::until("the query to fail", crate::board::SOON, async || {
        board.number("SELECT 1::bigint FROM pgbatch.triggers WHERE error IS NOT NULL").await.ok()
    })
    .await;
    let page = board.get("/triggers")?.body;
    for fact in ["30 2 * * * UTC", "02:30:00+00:00", "division by zero"] {
        assert!(page.contains(fact), "{fact}: {page}");
    }
    assert!(board.get("/")?.body.contains("trigger unpaid: "), "it is in the verdict too");
    Ok(())
}

#[tokio::test]
async fn the_list_of_batches_goes_on_and_keeps_its_filter() -> Tested {
    let board = Board::new("paging").await?;
    board.queue("many", "true", "").await?;
    board.run("SELECT pgbatch.pause_queue('many'); SELECT pgbatch.enqueue('many', label => 'Even ' || n) FROM generate_series(1, 120) n").await?;
    board.run("SELECT pgbatch.enqueue('many', label => 'odd')").await?;
    let browser = Browser::start().await?;
    browser.open(&board.url("/batches?label=even&queue=many&state=open"))?;
    let first = |browser: &Browser| browser.text("tbody tr th");
    let mut seen = Vec::new();
    for page in 0..3 {
        let count = browser.ask("return document.querySelectorAll('tbody tr').length")?;
        seen.push((first(&browser)?, count.as_i64().unwrap_or_default()));
        if page < 2 {
            browser.click("a[rel=next]")?;
        }
    }
    assert_eq!(seen, [("120".to_owned(), 50), ("70".to_owned(), 50), ("20".to_owned(), 20)]);
    assert_eq!(browser.text("a[rel=next]")?, "", "there are no more");
    Ok(())
}

#[tokio::test]
async fn what_is_not_there_is_said() -> Tested {
    let board = Board::new("missing").await?;
    assert!(board.get("/")?.body.contains("There is no queue yet"));
    assert!(board.get("/batches")?.body.contains("There is no batch yet"));
    assert!(board.get("/triggers")?.body.contains("There is none"));
    let batch = board.get("/batches/9")?;
    assert_eq!((batch.status, batch.body.contains("Batch 9 does not exist")), (404, true));
    board.queue("q", "true", "").await?;
    board.run("SELECT pgbatch.enqueue('q')").await?;
    let item = board.get("/batches/1/items/2")?;
    assert_eq!((item.status, item.body.contains("its items are 1 to 1")), (404, true));
    Ok(())
}

#[tokio::test]
async fn a_phone_shows_every_page_without_moving_it_sideways() -> Tested {
    let board = Board::new("phone").await?;
    let night = Night::fall(&board).await?;
    let browser = Browser::start().await?;
    browser.be_a_phone()?;
    for path in paths(&night) {
        browser.open(&board.url(&path))?;
        assert_eq!(browser.too_wide()?, 0, "{path}");
    }
    Night::end(&board)?;
    Ok(())
}

/// Each page.
pub(crate) fn paths(night: &Night) -> Vec<String> {
    let Night { failed, before, running, late, paused } = night;
    vec![
        "/".to_owned(),
        "/batches".to_owned(),
        format!("/batches/{failed}"),
        format!("/batches/{running}"),
        format!("/batches/{late}"),
        format!("/batches/{before}"),
        format!("/batches/{failed}/items/57"),
        format!("/batches/{paused}/items/1"),
        "/triggers".to_owned(),
        "/activity".to_owned(),
    ]
}
