//! A dashboard that nobody looks at costs nothing; one that is looked at cannot write.

use e2e::postgres::SUPERUSER;
use e2e::wait::until_else;

use crate::Tested;
use crate::board::{Board, SOON};
use crate::browser::Browser;

/// The dashboard's sessions.
const SESSIONS: &str = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbatch dashboard' AND datname = current_database()";

#[tokio::test]
async fn sessions_are_opened_when_somebody_looks_and_closed_when_nobody_does() -> Tested {
    let board = Board::new("idle").await?;
    board.queue("q", "true", "").await?;
    let superuser = board.world().database.connect_as(SUPERUSER).await?;
    let sessions = async || superuser.query_one(SESSIONS, &[]).await.map(|row| row.get::<_, i64>(0));
    assert_eq!(sessions().await?, 0, "nobody has looked yet");
    let browser = Browser::start().await?;
    browser.open(&board.url("/"))?;
    browser.until_text("#live", "live").await;
    assert_eq!(sessions().await?, 1);
    let settings = "SELECT usename::text FROM pg_stat_activity WHERE application_name = 'pgbatch dashboard' \
        AND datname = current_database()";
    assert_eq!(superuser.query_one(settings, &[]).await?.get::<_, String>(0), board.reader);
    // Behind another tab nobody looks at it.
    let (page, other) = browser.new_tab()?;
    browser.show(&other)?;
    until_else("the sessions to be closed", SOON, async || match sessions().await {
        Ok(0) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    browser.show(&page)?;
    browser.until_text("#live", "live").await;
    Ok(())
}

#[tokio::test]
async fn without_the_right_to_read_nothing_is_shown_and_without_postgresql_it_says_so() -> Tested {
    let board = Board::new("unreadable").await?;
    board.queue("secret-queue", "true", "").await?;
    board.run(&format!("SELECT pgbatch.revoke('*', '{}', 'read')", board.reader)).await?;
    let refused = board.get("/")?;
    assert_eq!(refused.status, 503);
    assert!(
        refused.body.contains("PostgreSQL said no") && !refused.body.contains("secret-queue"),
        "{}",
        refused.body
    );
    board.run(&format!("SELECT pgbatch.grant('*', '{}', 'read')", board.reader)).await?;
    assert!(board.get("/")?.body.contains("secret-queue"));

    let superuser = board.world().database.connect_as(SUPERUSER).await?;
    superuser.batch_execute(&format!("ALTER ROLE {} NOLOGIN", board.reader)).await?;
    let terminate =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgbatch dashboard'";
    superuser.execute(&format!("{terminate} AND datname = current_database()"), &[]).await?;
    until_else("the dashboard to say that it cannot connect", SOON, async || {
        let answer = board.get("/").map_err(|error| error.to_string())?;
        let says = answer.status == 503 && answer.body.contains("is not permitted to log in");
        if says { Ok(()) } else { Err(answer.body) }
    })
    .await;
    Ok(())
}
