//! What strangers' programs write is text, wherever it comes out.

use serde_json::json;

use crate::Tested;
use crate::board::Board;
use crate::browser::Browser;

const HOSTILE: &str = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title='taken'\">'\"&amp;\u{202e}evil\u{1f4a3}";

#[tokio::test]
async fn hostile_labels_items_results_and_errors_are_shown_as_they_are() -> Tested {
    let board = Board::new("hostile").await?;
    board.queue("q", r#"echo "$PGBATCH_ARG_TEXT" >&2; exit 1"#, ", max_attempts => 1").await?;
    let long = "w".repeat(5000);
    let item = json!({"text": HOSTILE, "long": long});
    let sql = "SELECT pgbatch.enqueue('q', $1, label => $2)";
    let label = &HOSTILE[..HOSTILE.len().min(200)];
    let batch: i64 = board.world().client.query_one(sql, &[&item, &label]).await?.get(0);
    board.until_state(batch, "failed").await;
    let browser = Browser::start().await?;
    browser.be_a_phone()?;
    for path in ["/", "/batches", &format!("/batches/{batch}"), &format!("/batches/{batch}/items/1")] {
        browser.open(&board.url(path))?;
        assert!(browser.text("main")?.contains("<script>document.title = 'taken'</script>"), "{path}");
        // Read again by the script, it stays text.
        browser.until_text("#live", "live").await;
        assert_ne!(browser.ask("return document.title")?, "taken", "{path}");
        assert_eq!(
            browser.ask("return document.querySelectorAll('main img, main script').length")?,
            0,
            "{path}"
        );
        assert_eq!(browser.too_wide()?, 0, "{path}");
    }
    browser.open(
        &board.url("/batches?label=%22%3E%3Cscript%3Edocument.title%3D1%3C%2Fscript%3E&queue=%27%3B--"),
    )?;
    assert!(browser.ask("return document.title")?.as_str().is_some_and(|title| title.starts_with("Batches")));
    assert_eq!(browser.complaints()?, Vec::<String>::new());
    Ok(())
}
