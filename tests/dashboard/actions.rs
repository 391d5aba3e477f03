//! What people do there: each action shows how much it is about and the call, wants a reason, and is kept; and who may not, cannot.

use e2e::http::{Answer, get, request};
use e2e::postgres::SUPERUSER;

use crate::Tested;
use crate::accessibility::violations;
use crate::board::Board;
use crate::browser::{Browser, Theme};
use crate::night::Night;

const TOKEN: &str = "correct-horse-battery";
const ENTER: &str = "\u{e007}";
const TAB: &str = "\u{e004}";

/// A role that people act as, with a right on all queues; the dashboard's login is a member.
async fn role(board: &Board, name: &str, right: &str) -> Tested {
    let superuser = board.world().database.connect_as(SUPERUSER).await?;
    superuser.batch_execute(&format!("CREATE ROLE {name}; GRANT {name} TO {}", board.reader)).await?;
    board.run(&format!("SELECT pgbatch.grant('*', '{name}', '{right}')")).await?;
    Ok(())
}

/// Those that are kept, without what made the world.
async fn kept(board: &Board) -> Result<Vec<Vec<String>>, Box<dyn std::error::Error>> {
    let sql = "SELECT ARRAY[action, coalesce(queue, ''), coalesce(batch_id::text, ''), coalesce(detail::text, ''), role, login,
            coalesce(on_behalf_of, ''), coalesce(reason, '')]
        FROM pgbatch.actions WHERE role <> login ORDER BY id";
    Ok(board.world().client.query(sql, &[]).await?.iter().map(|row| row.get(0)).collect())
}

/// In a form: the reason, then Enter.
fn because(browser: &Browser, reason: &str) -> std::io::Result<()> {
    let keys: Vec<String> = reason.chars().map(String::from).chain([ENTER.to_owned()]).collect();
    browser.press(&keys.iter().map(String::as_str).collect::<Vec<_>>())
}

#[tokio::test]
async fn each_action_shows_how_much_and_how_wants_a_reason_and_is_kept() -> Tested {
    let token = format!("--dashboard-token={TOKEN}");
    let board = Board::with("acting", &[&token, "--dashboard-role=ops_acting"]).await?;
    role(&board, "ops_acting", "manage").await?;
    let night = Night::fall(&board).await?;
    let browser = Browser::start().await?;
    browser.open(&board.url("/"))?;
    browser.ask(&format!("document.getElementById('token').value = '{TOKEN}'"))?;
    browser.click("button[type=submit]")?;
    browser.until_text("h1", "Now").await;

    retries(&board, &browser, night.failed).await?;
    changes_a_queue(&board, &browser).await?;
    cancels(&board, &browser, night.running).await?;
    is_all_kept(&board, &browser, &night).await?;
    looks_well(&board, &browser, night.failed)?;
    assert_eq!(browser.complaints()?, Vec::<String>::new());
    Night::end(&board)?;
    Ok(())
}

async fn retries(board: &Board, browser: &Browser, failed: i64) -> Tested {
    // One cause out of two.
    browser.open(&board.url(&format!("/batches/{failed}")))?;
    browser.click("tbody a.action")?;
    browser.until_text("h1", &format!("Retry one cause of batch {failed}")).await;
    let told = browser.text("main")?;
    for fact in [
        "Queue invoices, \"nightly 2026-11-27\"",
        "3 of its 120 items failed for this cause. They are tried again at once, with 1 attempt each.",
        &format!("SELECT pgbatch.retry_batch({failed}, error => 'deadlock detected: process 40"),
        "As role ops_acting; counted at",
        "Retry 3 items",
    ] {
        assert!(told.contains(fact), "{fact}: {told}");
    }
    // The browser does not send it without a reason.
    browser.click("button.primary")?;
    assert!(browser.url()?.contains("/act?act=retry"), "{}", browser.url()?);
    because(browser, "the other job is done")?;
    browser.until_text("main", "What was done to it").await;
    browser.until_text("main", "the other job is done").await;
    assert!(browser.url()?.ends_with(&format!("/batches/{failed}")), "{}", browser.url()?);
    board.until_state(failed, "failed").await;
    let again = "SELECT count(*) FROM pgbatch.runs WHERE batch_id = $1 AND attempt = 2";
    assert_eq!(board.world().client.query_one(again, &[&failed]).await?.get::<_, i64>(0), 3);

    // A single item, then all of them.
    browser.open(&board.url(&format!("/batches/{failed}/items/77")))?;
    browser.click("a.action")?;
    browser.until_text("pre", &format!("SELECT pgbatch.retry_batch({failed}, items => '{{77}}');")).await;
    because(browser, "customer 77 is back")?;
    browser.until_text("main", "Timeline").await;
    board.until_state(failed, "failed").await;
    browser.open(&board.url(&format!("/batches/{failed}")))?;
    browser.click("main > p.actions a")?;
    browser.until_text("button.primary", "Retry 5 items").await;
    because(browser, "all")?;
    browser.until_text("main", "items 5").await;
    Ok(())
}

async fn changes_a_queue(board: &Board, browser: &Browser) -> Tested {
    // A queue: no button is needed, the keys are enough.
    browser.open(&board.url("/batches?queue=exports"))?;
    browser.until_text("p.actions", "exports 3 running of 3 at most, 37 pending").await;
    browser.ask("document.querySelector('p.actions a.action').focus()")?;
    browser.press(&[ENTER])?;
    browser.until_text("main", "Nothing of it starts any more; what runs goes on.").await;
    because(browser, "the disk is full")?;
    browser.until_text("p.actions", "exports paused 3 running").await;
    browser.click("p.actions a.action")?;
    browser.until_text("h1", "Resume queue exports").await;
    because(browser, "it is not")?;
    browser.until_text("p.actions", "exports 3 running of 3").await;
    browser.click("p.actions a.action + a.action")?;
    browser.until_text("pre", "SELECT pgbatch.alter_queue('exports', max_parallel => ...);").await;
    browser.press(&["5", TAB])?;
    because(browser, "hurry")?;
    browser.until_text("p.actions", "running of 5 at most").await;
    Ok(())
}

async fn cancels(board: &Board, browser: &Browser, running: i64) -> Tested {
    browser.open(&board.url(&format!("/batches/{running}")))?;
    browser.click("p.actions a.action")?;
    browser.until_text("main", "40 items").await;
    because(browser, "not today")?;
    browser.until_text("h1", "cancelled").await;
    browser.until_text("main", "not today").await;
    Ok(())
}

async fn is_all_kept(board: &Board, browser: &Browser, night: &Night) -> Tested {
    let Night { failed, running, .. } = night;
    browser.press(&["g", "a"])?;
    browser.until_text("h1", "Activity").await;
    let activity = browser.text("tbody")?;
    for fact in [
        "ops_acting cancel batch",
        "max_parallel 3 -> 5 hurry",
        "retry batch",
        "items 3 the other job is done",
    ] {
        assert!(activity.contains(fact), "{fact}: {activity}");
    }
    browser.open(&board.url("/activity?who=ops_acting&queue=exports"))?;
    assert_eq!(browser.ask("return document.querySelectorAll('tbody tr').length")?, 4);
    let calls: Vec<String> = kept(board).await?.into_iter().map(|kept| kept[..3].join(" ")).collect();
    let batches = [format!("retry_batch invoices {failed}"), format!("cancel_batch exports {running}")];
    let queue = ["pause_queue exports ", "resume_queue exports ", "alter_queue exports "].map(str::to_owned);
    let expected: Vec<String> =
        [vec![batches[0].clone(); 3], queue.to_vec(), vec![batches[1].clone()]].concat();
    assert_eq!(calls, expected);
    Ok(())
}

/// In both themes and on a phone; and the pictures.
fn looks_well(board: &Board, browser: &Browser, failed: i64) -> Tested {
    for theme in Theme::BOTH {
        browser.prefer(theme)?;
        for path in [
            format!("/act?act=retry&batch={failed}"),
            "/act?act=parallelism&queue=exports".to_owned(),
            "/act?act=pause&queue=mails".to_owned(),
            "/activity".to_owned(),
            format!("/batches/{failed}"),
        ] {
            browser.open(&board.url(&path))?;
            assert_eq!(violations(browser)?, Vec::<String>::new(), "{path}, {}", theme.name());
        }
        let pictures = e2e::repository().join("target/tests/dashboard/whole");
        std::fs::create_dir_all(&pictures)?;
        browser.picture(&pictures.join(format!("failed-{}.png", theme.name())), true)?;
        browser.open(&board.url(&format!("/act?act=retry&batch={failed}")))?;
        browser.picture(&pictures.join(format!("act-{}.png", theme.name())), true)?;
        browser.open(&board.url("/activity"))?;
        browser.picture(&pictures.join(format!("activity-{}.png", theme.name())), true)?;
    }
    browser.be_a_phone()?;
    for path in [
        format!("/act?act=retry&batch={failed}"),
        "/activity".to_owned(),
        "/batches?queue=exports".to_owned(),
    ] {
        browser.open(&board.url(&path))?;
        assert_eq!(browser.too_wide()?, 0, "{path}");
    }
    Ok(())
}

/// Of a page of the dashboard, in the browser of whom the proxy calls so.
fn by(board: &Board, user: &str) -> [String; 3] {
    [
        format!("X-User: {user}"),
        format!("Origin: http://127.0.0.1:{}", board.port),
        "Content-Type: application/x-www-form-urlencoded".to_owned(),
    ]
}

fn post(board: &Board, head: &[String], body: &str) -> std::io::Result<Answer> {
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    request(board.port, "POST", "/act", &head, body)
}

#[tokio::test]
async fn who_is_mapped_to_no_role_only_looks_and_who_is_to_one_may_what_it_may() -> Tested {
    let board = Board::with(
        "mapped",
        &[
            "--dashboard-user-header=X-User",
            "--dashboard-role=ann=ops_mapped,carl=none_of_ours",
            "--dashboard-role=dora=looks_mapped",
        ],
    )
    .await?;
    role(&board, "ops_mapped", "manage").await?;
    role(&board, "looks_mapped", "read").await?;
    board.queue("q", "true", "").await?;
    let paused = "SELECT count(*) FROM pgbatch.queues WHERE paused";
    let pause = "act=pause&queue=q&reason=it%27s+night";

    let page = get(board.port, "/batches?queue=q", &["X-User: bob"])?;
    assert!(page.body.contains("0 running of 10 at most") && !page.body.contains("/act?"), "{}", page.body);
    let refused = get(board.port, "/act?act=pause&queue=q", &["X-User: bob"])?;
    assert_eq!((refused.status, refused.body.contains("You may only look")), (403, true));
    assert_eq!(post(&board, &by(&board, "bob"), pause)?.status, 403);

    for (user, body, words) in [
        ("carl", pause, "role \"none_of_ours\" does not exist"),
        ("dora", pause, "permission denied for function pause_queue (hint: "),
        ("ann", "act=pause&queue=q&reason=+", "Say why"),
        ("ann", "act=parallelism&queue=q&reason=x", "Say how many runs"),
        ("ann", "act=parallelism&queue=q&reason=x&max_parallel=-1", "max_parallel must be at least"),
    ] {
        let answer = post(&board, &by(&board, user), body)?;
        let told = answer.body.contains(words) || answer.body.contains(&words.replace('"', "&quot;"));
        assert!(answer.status == 422 && told, "{user}: {words}: {}", answer.body);
    }
    for link in
        ["act=drop&queue=q", "act=pause", "act=retry&batch=x", "act=parallelism&queue=q&max_parallel=many"]
    {
        assert_eq!(get(board.port, &format!("/act?{link}"), &["X-User: ann"])?.status, 400, "{link}");
    }
    for link in ["act=pause&queue=none", "act=retry&batch=9"] {
        assert_eq!(get(board.port, &format!("/act?{link}"), &["X-User: ann"])?.status, 404, "{link}");
    }
    assert_eq!(kept(&board).await?, Vec::<Vec<String>>::new(), "none of it did anything");
    assert_eq!(board.number(paused).await?, 0);

    let done = post(&board, &by(&board, "ann"), pause)?;
    assert_eq!((done.status, done.header("location")), (303, Some("/batches?queue=q")));
    assert_eq!(board.number(paused).await?, 1);
    let noted = ["pause_queue", "q", "", "", "ops_mapped", board.reader.as_str(), "ann", "it's night"];
    assert_eq!(kept(&board).await?, [noted.map(str::to_owned)]);
    let roles = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbatch dashboard' AND state LIKE 'idle in%'";
    assert_eq!(board.number(roles).await?, 0, "nothing is left open");
    Ok(())
}

/// A page elsewhere, in the browser of somebody who is let in.
#[tokio::test]
async fn no_other_page_acts_for_somebody() -> Tested {
    let board =
        Board::with("forged", &["--dashboard-user-header=X-User", "--dashboard-role=ops_forged"]).await?;
    role(&board, "ops_forged", "manage").await?;
    board.queue("q", "true", "").await?;
    let form = "Content-Type: application/x-www-form-urlencoded";
    let own = format!("Origin: http://127.0.0.1:{}", board.port);
    for from in [
        "Origin: http://evil.example",
        "Origin: null",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
        "X-None: x",
    ] {
        let head = ["X-User: ann", form, from].map(str::to_owned);
        let answer = post(&board, &head, "act=pause&queue=q&reason=x")?;
        assert_eq!((answer.status, answer.body.contains("Another page sent this")), (403, true), "{from}");
    }
    let head = ["X-User: ann", form, &own, "Sec-Fetch-Site: cross-site"].map(str::to_owned);
    assert_eq!(post(&board, &head, "act=pause&queue=q&reason=x")?.status, 403);
    // A link is no action, whatever is in it.
    let link = get(board.port, "/act?act=pause&queue=q&reason=x", &["X-User: ann"])?;
    assert!(link.status == 200 && link.body.contains("method=\"post\""));
    assert_eq!(board.number("SELECT count(*) FROM pgbatch.queues WHERE paused").await?, 0);
    Ok(())
}
