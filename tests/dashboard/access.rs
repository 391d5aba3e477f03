//! Who is let in, and what a browser is told not to do.

use std::io;

use e2e::dispatcher::Dispatcher;
use e2e::http::{get, request};
use e2e::wait::until;
use e2e::world::World;

use crate::Tested;
use crate::board::{Board, SOON, reader};
use crate::browser::Browser;

const TOKEN: &str = "correct-horse-battery";

fn token_file(name: &str) -> io::Result<String> {
    let file = std::env::temp_dir().join(format!("pgbatch-{name}-{}", std::process::id()));
    std::fs::write(&file, format!("{TOKEN}\n"))?;
    Ok(file.display().to_string())
}

#[tokio::test]
async fn with_a_token_a_login_leads_to_where_one_wanted_to_go_and_the_log_has_no_secret() -> Tested {
    let file = token_file("login")?;
    let board = Board::with("login", &[&format!("--dashboard-token=@{file}")]).await?;
    let browser = Browser::start().await?;
    browser.open(&board.url("/batches?state=failed"))?;
    assert!(browser.url()?.contains("/login?next="));
    let give = |token: &str| browser.ask(&format!("document.getElementById('token').value = '{token}'"));
    give("wrong")?;
    browser.click("button[type=submit]")?;
    browser.until_text("[role=alert]", "That is not the token.").await;
    give(TOKEN)?;
    browser.click("button[type=submit]")?;
    browser.until_text("h1", "Batches").await;
    assert!(browser.url()?.ends_with("/batches?state=failed"), "{}", browser.url()?);
    assert_eq!(browser.ask("return document.cookie")?, "", "no script sees the cookie");
    browser.until_text("#live", "live").await;

    browser.click("form[action='/logout'] button")?;
    browser.until_text("label", "Token").await;
    browser.open(&board.url("/"))?;
    assert!(browser.url()?.contains("/login"), "logged out");
    assert!(!board.dispatcher.logged()?.contains(TOKEN));
    std::fs::remove_file(file)?;
    Ok(())
}

#[tokio::test]
async fn without_the_cookie_no_page_is_read_and_probes_need_none() -> Tested {
    let file = token_file("refused")?;
    let board = Board::with("refused", &[&format!("--dashboard-token=@{file}")]).await?;
    for path in [
        "/",
        "/batches",
        "/batches/1",
        "/batches/1/items/1",
        "/triggers",
        "/activity",
        "/act?act=pause&queue=q",
    ] {
        let answer = board.get(path)?;
        assert_eq!(answer.status, 303, "{path}");
        assert!(answer.header("location").is_some_and(|to| to.starts_with("/login?next=")), "{path}");
    }
    assert_eq!(board.get("/live")?.status, 401);
    for path in ["/healthz", "/readyz", "/metrics", "/login", "/assets/dashboard.css"] {
        assert_eq!(board.get(path)?.status, 200, "{path}");
    }
    let origin = format!("Origin: http://127.0.0.1:{}", board.port);
    let form = ["Content-Type: application/x-www-form-urlencoded", &origin];
    let refused = request(board.port, "POST", "/login", &form, "token=correct-horse-batterz")?;
    assert_eq!((refused.status, refused.header("set-cookie")), (401, None));
    let let_in = request(board.port, "POST", "/login", &form, &format!("token={TOKEN}&next=//evil.example"))?;
    assert_eq!((let_in.status, let_in.header("location")), (303, Some("/")));
    let cookie = let_in.header("set-cookie").unwrap_or_default().to_owned();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let cookie = format!("Cookie: {}", cookie.split(';').next().unwrap_or_default());
    assert_eq!(get(board.port, "/", &[&cookie])?.status, 200);
    assert_eq!(get(board.port, "/", &[&cookie.replace('.', ".0")])?.status, 303, "a forged one");

    std::fs::write(&file, "another-token-altogether")?;
    assert_eq!(
        get(board.port, "/", &[&cookie])?.status,
        303,
        "a changed token ends what was begun with the old one"
    );
    std::fs::remove_file(file)?;
    Ok(())
}

#[tokio::test]
async fn a_trusted_proxy_names_who_looks() -> Tested {
    let board = Board::with("proxy", &["--dashboard-user-header=X-Forwarded-User"]).await?;
    assert_eq!(board.get("/")?.status, 403);
    let page = get(board.port, "/", &["X-Forwarded-User: ann<b>"])?;
    assert_eq!((page.status, page.body.contains("ann&lt;b&gt;")), (200, true));
    Ok(())
}

#[tokio::test]
async fn every_answer_forbids_what_is_inline_foreign_or_framed() -> Tested {
    let board = Board::new("policy").await?;
    for path in ["/", "/login", "/batches/9", "/assets/dashboard.js", "/assets/none"] {
        let answer = board.get(path)?;
        let policy = answer.header("content-security-policy").unwrap_or_default();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"),
            "{path}: {policy}"
        );
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("referrer-policy"), Some("same-origin"), "{path}");
    }
    let page = board.get("/")?;
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert!(!page.body.contains("style=") && !page.body.contains("onclick"), "{}", page.body);
    // A name of a stranger's that points to this host.
    assert_eq!(get(board.port, "/", &["Host: evil.example"])?.status, 403);
    Ok(())
}

/// The dispatcher ends, and says what to do.
async fn refusal(world: &World, flags: &[&str]) -> Result<String, Box<dyn std::error::Error>> {
    let mut dispatcher: Dispatcher = world.dispatcher(flags)?;
    until("the dispatcher to give up", SOON, async || dispatcher.is_running().ok().filter(|runs| !runs))
        .await;
    Ok(dispatcher.logged()?)
}

#[tokio::test]
async fn it_is_not_served_to_everybody_and_not_without_a_port() -> Tested {
    let world = World::new("dashboard_open").await?;
    let url = format!("--dashboard-database-url={}", world.database.url(&reader(&world).await?));
    let said = refusal(&world, &[&url, "--listen=0.0.0.0:0"]).await?;
    assert!(
        said.contains("to everybody: give --dashboard-token @FILE or --dashboard-user-header NAME"),
        "{said}"
    );
    assert!(refusal(&world, &[&url]).await?.contains("needs --listen"));
    assert!(
        refusal(&world, &["--dashboard-token=0123456789abcdef"])
            .await?
            .contains("needs --dashboard-database-url")
    );
    let said = refusal(&world, &[&url, "--listen=127.0.0.1:0", "--dashboard-token=short"]).await?;
    assert!(said.contains("16 characters at least"), "{said}");
    let said = refusal(&world, &[&url, "--listen=127.0.0.1:0", "--dashboard-role=ops"]).await?;
    assert!(said.contains("they have to log in: give --dashboard-token @FILE"), "{said}");
    Ok(())
}
