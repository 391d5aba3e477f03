//! How long each page of the dashboard takes where there is much of everything, and until an open one shows what has changed.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use e2e::browser::Browser;
use e2e::http::get;
use e2e::network::free_port;
use e2e::postgres::Server;
use e2e::wait::until;
use e2e::world::World;
use tokio::time::sleep;

use crate::figures::{Bar, Report, Side, quantile};
use crate::rig::{Failed, connect};
use crate::settings::Settings;

const QUEUES: i64 = 1000;
/// Of each page in a round.
const READS: usize = 20;

/// Batches 1 to 3 are those of [`fill`].
const PAGES: [&str; 12] = [
    "/",
    "/?all=yes",
    "/batches",
    "/batches?state=failed",
    "/batches?queue=none&label=none",
    "/batches/1",
    "/batches/2",
    "/batches/3",
    "/batches/1/items/77",
    "/batches/2/items/77",
    "/triggers",
    "/activity",
];

pub(crate) async fn dashboard(server: &Server, settings: &Settings) -> Result<Report, Failed> {
    let items = settings.items(10_000_000);
    let world = World::on("bench-dashboard", server).await?;
    fill(&world, items).await?;
    let port = free_port(None, [127, 0, 0, 1].into())?;
    let reader = format!("--dashboard-database-url={}", world.database.url("reader"));
    let _dispatcher = world.dispatcher(&[&format!("--listen=127.0.0.1:{port}"), &reader])?;
    until("the dispatcher", Duration::from_secs(60), async || {
        get(port, "/readyz", &[]).ok().filter(|answer| answer.status == 200)
    })
    .await;
    let mut report = Report::default();
    for page in PAGES {
        let mut side = Side::new(format!("{page}, first byte"), "ms");
        for round in 0..=settings.rounds {
            let mut times = Vec::with_capacity(READS);
            for _ in 0..READS {
                let asked = Instant::now();
                let answer = get(port, page, &[])?;
                if answer.status != 200 {
                    return Err(format!("{page}: {}", answer.body).into());
                }
                times.push(asked.elapsed().as_secs_f64() * 1e3);
            }
            // The first round warms.
            if round > 0 {
                side.rounds.push(quantile(&times, 0.5));
            }
        }
        report.state(
            format!("dashboard, {page}, {QUEUES} queues and {items} items"),
            &side,
            Bar::AtMost(200.0),
        );
        report.sides.push(side);
    }
    let side = seen(&world, port, settings).await?;
    report.state("dashboard, a commit to its row in an open page".to_owned(), &side, Bar::AtMost(1000.0));
    report.sides.push(side);
    report.notes.push(
        "Medians of 20 reads of a whole page by one reader. Half of the items are pending batches of one item each in one queue, each hundredth with a deadline; \
         batch 1 has two fifths, pending; batch 2 a tenth, nearly all ended, each by a run of its own, of which each thousandth failed; \
         batch 3 is one of one item. The open page is the list of batches of one queue, in Chromium; it is enqueued at a moment of chance, \
         when it has been quiet."
            .to_owned(),
    );
    Ok(report)
}

/// From the commit to its row in a page that is open.
async fn seen(world: &World, port: u16, settings: &Settings) -> Result<Side, Failed> {
    let browser = Browser::start().await?;
    browser.open(&format!("http://127.0.0.1:{port}/batches?queue=queue-5"))?;
    browser.until_text("#live", "live").await;
    let mut side = Side::new("commit to seen in an open page", "ms");
    for round in 0..=settings.rounds {
        let mut times = Vec::with_capacity(READS);
        for read in 0..READS {
            sleep(Duration::from_millis(fastrand::u64(1500..3500))).await;
            let label = format!("label {round} of {read}");
            browser.ask(&format!(
                "const main = document.getElementById('main');
                 window.seen = new Promise(tell => new MutationObserver(() => main.textContent.includes('{label}') && tell(Date.now()))
                     .observe(main, {{subtree: true, childList: true, characterData: true}}))"
            ))?;
            world.client.execute("SELECT pgbatch.enqueue('queue-5', label => $1)", &[&label]).await?;
            let committed = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64() * 1e3;
            let seen = browser.ask_later("window.seen.then(done)")?;
            times.push(seen.as_f64().ok_or("no time")? - committed);
        }
        if round > 0 {
            side.rounds.push(quantile(&times, 0.5));
        }
    }
    Ok(side)
}

/// Rows as the functions would have made them, without a call for each.
async fn fill(world: &World, items: i64) -> Result<(), Failed> {
    let client = connect(&world.database).await?;
    let (single, pending, ended) = (items / 2, items * 2 / 5, items / 10);
    client
        .batch_execute(&format!(
            "SELECT pgbatch.create_queue('queue-' || n, sql => 'SELECT 1', max_attempts => 1) FROM generate_series(1, {QUEUES}) n;
             SELECT pgbatch.pause_queue('queue-' || n) FROM generate_series(1, {QUEUES}) n;
             CREATE ROLE reader LOGIN; SELECT pgbatch.grant('*', 'reader', 'read');
             SELECT pgbatch.enqueue_query('queue-1', 'SELECT n FROM generate_series(1, {pending}) n', label => 'nightly');
             SELECT pgbatch.enqueue_query('queue-2', 'SELECT n FROM generate_series(1, {ended}) n', label => 'nightly');
             SET session_replication_role = replica;
             INSERT INTO pgbatch.run (queue, batch_id, first_item, last_item, attempt, max_attempt, state, started_at, finished_at,
                 exit_code, reason, message, succeeded, failed)
             SELECT 'queue-2', 2, n, n, 1, 1, s, now(), now(), 1, r, 'item ' || n || ' is none', (s = 'succeeded')::int, (s = 'failed')::int
             FROM (SELECT n, CASE n % 1000 WHEN 0 THEN 'failed' ELSE 'succeeded' END s, CASE n % 1000 WHEN 0 THEN 'Error' END r
                 FROM generate_series(1, {ended} - 100) n) n;
             UPDATE pgbatch.batch SET state = 'running', started_at = now(), deadline = now() WHERE id = 2;
             SELECT pgbatch.enqueue('queue-3')"
        ))
        .await?;
    client
        .batch_execute(&format!(
            "INSERT INTO pgbatch.batch (items, priority, max_attempts, has_fresh, state, queue, created_by, item, deadline)
             SELECT items, priority, max_attempts, has_fresh, state, 'queue-4', created_by, item,
                 CASE WHEN n % 100 = 0 THEN now() + (n - {single} / 2) * interval '1 s' END
             FROM pgbatch.batch, generate_series(1, {single}) n WHERE id = 3"
        ))
        .await?;
    client.batch_execute("VACUUM ANALYZE pgbatch.batch, pgbatch.item, pgbatch.run").await?;
    Ok(())
}
