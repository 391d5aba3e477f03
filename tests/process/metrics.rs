//! `/metrics` of the real binary: the figures are those of what has happened.

use std::io;
use std::time::Duration;

use e2e::dispatcher::Dispatcher;
use e2e::postgres::SUPERUSER;
use e2e::wait::{until, until_else};
use e2e::world::World;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{SOON, Tested, until_state};

pub(crate) const LISTEN: &str = "--listen=127.0.0.1:0";

/// A page: its head and its body.
async fn get(dispatcher: &Dispatcher, path: &str) -> io::Result<(String, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", dispatcher.port()?)).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| io::Error::other("no answer"))?;
    assert!(head.starts_with("HTTP/1.0 200"), "{head}");
    Ok((head.to_owned(), body.to_owned()))
}

pub(crate) async fn scrape(dispatcher: &Dispatcher) -> io::Result<String> {
    let (head, page) = get(dispatcher, "/metrics").await?;
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    Ok(page)
}

/// The value of a series, as it is written.
fn value<'p>(page: &'p str, series: &str) -> Option<&'p str> {
    page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
}

pub(crate) async fn until_value(dispatcher: &Dispatcher, series: &str, wanted: &str) {
    until_else(&format!("{series} to be {wanted}"), SOON, async || {
        let page = scrape(dispatcher).await.map_err(|error| error.to_string())?;
        if value(&page, series) == Some(wanted) { Ok(()) } else { Err(page) }
    })
    .await;
}

/// The lines about calls of PostgreSQL.
async fn calls(dispatcher: &Dispatcher) -> Option<Vec<String>> {
    let page = scrape(dispatcher).await.ok()?;
    Some(page.lines().filter(|l| l.starts_with("pgbatch_sql_calls_total{")).map(str::to_owned).collect())
}

#[tokio::test]
async fn each_claim_retry_end_and_step_is_counted_once() -> Tested {
    let world = World::new("figures").await?;
    // Of four items two succeed at once, one at its second attempt, one never.
    let line = "case $PGBATCH_ARG_N$PGBATCH_ATTEMPT in 31|4?) exit 1;; esac";
    world.shell_queue("mixed", line, ", max_attempts => 2, retry_backoff => '10 ms'").await?;
    world.shell_queue("slow", "exec sleep 1000", ", run_timeout => '200 ms', max_attempts => 1").await?;
    let dispatcher = world.dispatcher(&[LISTEN])?;
    let mixed = world.enqueue_numbers("mixed", 4).await?;
    let slow = world.enqueue_numbers("slow", 1).await?;
    until_state(&world, mixed, "failed", SOON).await;
    until_state(&world, slow, "failed", SOON).await;
    // The end is counted by the look that follows it.
    until_value(&dispatcher, r#"pgbatch_runs_live{queue="mixed",state="running"}"#, "0").await;
    until_value(&dispatcher, r#"pgbatch_runs_ended_total{queue="slow",state="timed_out"}"#, "1").await;
    until_value(&dispatcher, r#"pgbatch_runs_ended_total{queue="mixed",state="failed"}"#, "3").await;

    let page = scrape(&dispatcher).await?;
    for (series, wanted) in [
        (r#"pgbatch_runs_claimed_total{queue="mixed"}"#, "6"),
        (r#"pgbatch_runs_claimed_total{queue="slow"}"#, "1"),
        (r#"pgbatch_runs_retried_total{queue="mixed"}"#, "2"),
        (r#"pgbatch_runs_retried_total{queue="slow"}"#, "0"),
        (r#"pgbatch_runs_ended_total{queue="mixed",state="succeeded"}"#, "3"),
        (r#"pgbatch_runs_ended_total{queue="mixed",state="lost"}"#, "0"),
        (r#"pgbatch_runs_ended_total{queue="slow",state="failed"}"#, "0"),
        (r#"pgbatch_runs_live{queue="mixed",state="starting"}"#, "0"),
        // A retry has waited for nobody but its backoff.
        (r#"pgbatch_enqueue_to_claim_seconds_count{queue="mixed"}"#, "4"),
        ("pgbatch_claim_to_create_seconds_count", "7"),
        (r#"pgbatch_create_to_running_seconds_count{queue="mixed"}"#, "6"),
        (r#"pgbatch_run_duration_seconds_count{queue="mixed"}"#, "6"),
        (r#"pgbatch_run_duration_seconds_bucket{queue="slow",le="0.1"}"#, "0"),
        (r#"pgbatch_run_duration_seconds_bucket{queue="slow",le="+Inf"}"#, "1"),
        ("pgbatch_leader", "1"),
        (r#"pgbatch_sql_calls_total{function="try_lead"}"#, "1"),
    ] {
        assert_eq!(value(&page, series), Some(wanted), "{series} in\n{page}");
    }
    Ok(())
}

#[tokio::test]
async fn where_nothing_changes_a_scrape_costs_no_statement() -> Tested {
    let world = World::new("scrapes").await?;
    world.shell_queue("short", "exit 0", "").await?;
    let dispatcher = world.dispatcher(&[LISTEN])?;
    let batch = world.enqueue_numbers("short", 1).await?;
    until_state(&world, batch, "succeeded", SOON).await;
    let last = "SELECT string_agg(query_start::text, ' ' ORDER BY pid) FROM pg_stat_activity
        WHERE application_name LIKE 'pgbatch d%' AND datname = current_database()";
    let last = async || world.client.query_one(last, &[]).await.ok()?.get::<_, Option<String>>(0);
    until("twenty scrapes between which nothing was asked", SOON, async || {
        let before = (calls(&dispatcher).await?, last().await?);
        for _ in 0..20 {
            scrape(&dispatcher).await.ok()?;
            // It counts once a second at most, so some of them must come later than that.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        (before == (calls(&dispatcher).await?, last().await?)).then_some(())
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn probes_count_nothing() -> Tested {
    let world = World::new("probes").await?;
    world.shell_queue("short", "exit 0", "").await?;
    let dispatcher = world.dispatcher(&[LISTEN])?;
    for _ in 0..2 {
        let batch = world.enqueue_numbers("short", 1).await?;
        until_state(&world, batch, "succeeded", SOON).await;
        for probe in ["/healthz", "/readyz"] {
            get(&dispatcher, probe).await?;
        }
        // So that a probe that counts does not keep the next one, and the scrape, from it.
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
    let page = scrape(&dispatcher).await?;
    assert_eq!(value(&page, r#"pgbatch_sql_calls_total{function="observe_counts"}"#), Some("1"), "{page}");
    Ok(())
}

#[tokio::test]
async fn live_runs_are_shown_and_those_of_a_dropped_queue_are_not() -> Tested {
    let world = World::new("shown").await?;
    let gate = world.dir.join("gate");
    world.shell_queue("gone", &format!("until [ -e {} ]; do sleep 0.1; done", gate.display()), "").await?;
    world.shell_queue("stays", "exit 0", "").await?;
    let dispatcher = world.dispatcher(&[LISTEN])?;
    let gone = world.enqueue_numbers("gone", 3).await?;
    until_value(&dispatcher, r#"pgbatch_runs_live{queue="gone",state="running"}"#, "3").await;
    world.client.batch_execute("SELECT pgbatch.pause_queue('stays')").await?;
    let batch = world.enqueue_numbers("stays", 1).await?;
    until_value(&dispatcher, r#"pgbatch_queue_held{queue="stays",reason="paused"}"#, "1").await;
    std::fs::write(&gate, "")?;
    until_state(&world, gone, "succeeded", SOON).await;
    // Its Jobs are kept, so it is still looked at.
    until_value(&dispatcher, r#"pgbatch_runs_live{queue="gone",state="running"}"#, "0").await;
    world
        .client
        .batch_execute("SELECT pgbatch.drop_queue('gone'); SELECT pgbatch.resume_queue('stays')")
        .await?;
    until_state(&world, batch, "succeeded", SOON).await;
    until("the dropped queue to disappear", SOON, async || {
        let page = scrape(&dispatcher).await.ok()?;
        let is_gone =
            !page.contains(r#"pgbatch_runs_live{queue="gone""#) && !page.contains("pgbatch_queue_held{");
        is_gone.then_some(())
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn items_and_triggers_are_shown_as_postgresql_has_them() -> Tested {
    let world = World::new("counted").await?;
    let gate = world.dir.join("gate");
    let line =
        format!("[ $PGBATCH_ARG_N != 1 ] || exit 1; until [ -e {} ]; do sleep 0.1; done", gate.display());
    world.shell_queue("q", &line, ", max_attempts => 1, max_parallel => 3").await?;
    let dispatcher = world.dispatcher(&[LISTEN])?;
    world
        .client
        .batch_execute(
            "CREATE TABLE work (n int); CREATE TABLE bought (id int);
             SELECT pgbatch.watch_count('demand', 'q', 'SELECT 0 * count(*) + 0.5 FROM work', activation => 1);
             SELECT pgbatch.watch_rows('broken', 'q', 'SELECT 1 / n AS id FROM work');
             SELECT pgbatch.enqueue_on_insert('bought', 'q', name => 'sold');
             INSERT INTO work VALUES (0)",
        )
        .await?;
    let batch = world.enqueue_numbers("q", 9).await?;
    // The first has failed, three run.
    for (state, items) in [("failed", "1"), ("running", "3"), ("pending", "5"), ("retrying", "0")] {
        until_value(&dispatcher, &format!(r#"pgbatch_items{{queue="q",state="{state}"}}"#), items).await;
    }
    let made = "SELECT extract(epoch FROM created_at)::float8 FROM pgbatch.batch WHERE id = $1";
    let made: f64 = world.client.query_one(made, &[&batch]).await?.get(0);
    until_value(&dispatcher, r#"pgbatch_oldest_pending_timestamp_seconds{queue="q"}"#, &made.to_string())
        .await;
    until_value(&dispatcher, r#"pgbatch_trigger_error{kind="rows",trigger="broken"}"#, "1").await;
    until_value(&dispatcher, r#"pgbatch_trigger_error{kind="count",trigger="demand"}"#, "0").await;
    until_value(&dispatcher, r#"pgbatch_trigger_value{kind="count",trigger="demand"}"#, "0.5").await;

    std::fs::write(&gate, "")?;
    until_state(&world, batch, "failed", SOON).await;
    world.client.batch_execute("INSERT INTO bought VALUES (1), (2)").await?;
    until_value(&dispatcher, r#"pgbatch_trigger_value{kind="insert",trigger="sold"}"#, "2.0").await;
    until_value(&dispatcher, r#"pgbatch_items{queue="q",state="pending"}"#, "0").await;
    let page = scrape(&dispatcher).await?;
    assert!(!page.contains("pgbatch_oldest_pending_timestamp_seconds{"), "{page}");
    assert!(
        page.contains(r#"pgbatch_trigger_last_fired_timestamp_seconds{kind="insert",trigger="sold"}"#),
        "{page}"
    );
    Ok(())
}

/// Without EXECUTE on what counts, all goes on but that; and it counts again as soon as it may.
#[tokio::test]
async fn what_cannot_be_counted_stops_nothing() -> Tested {
    let world = World::new("uncounted").await?;
    world.shell_queue("q", "exit 0", "").await?;
    let superuser = world.database.connect_as(SUPERUSER).await?;
    superuser.batch_execute("CREATE ROLE counter LOGIN").await?;
    world.client.batch_execute("SELECT pgbatch.grant_dispatcher('counter')").await?;
    let dispatcher = world.dispatcher_of(world.database.url("counter"), &[LISTEN])?;
    until_value(&dispatcher, r#"pgbatch_items{queue="q",state="pending"}"#, "0").await;
    world.client.batch_execute("REVOKE EXECUTE ON FUNCTION pgbatch.observe_counts() FROM counter").await?;
    let batch = world.enqueue_numbers("q", 1).await?;
    until_state(&world, batch, "succeeded", SOON).await;
    let failures = r#"pgbatch_sql_call_failures_total{function="observe_counts"}"#;
    let failed = async || value(&scrape(&dispatcher).await.ok()?, failures)?.parse::<u64>().ok();
    until("it to fail, and to be tried again", SOON, async || failed().await.filter(|times| *times > 1))
        .await;
    assert_eq!(value(&scrape(&dispatcher).await?, "pgbatch_leader_epoch"), Some("1"), "the session lives");
    world
        .client
        .batch_execute("SELECT pgbatch.grant_dispatcher('counter'); SELECT pgbatch.pause_queue('q')")
        .await?;
    world.enqueue_numbers("q", 7).await?;
    until_value(&dispatcher, r#"pgbatch_items{queue="q",state="pending"}"#, "7").await;
    Ok(())
}

#[tokio::test]
async fn a_standby_shows_that_it_does_not_lead_until_it_does() -> Tested {
    let world = World::new("metrics_standby").await?;
    let mut leader = world.dispatcher(&[LISTEN])?;
    until_value(&leader, "pgbatch_leader", "1").await;
    let standby = world.dispatcher(&[LISTEN])?;
    until("the second to stand by", SOON, async || {
        standby.logged().ok().filter(|l| l.contains("standing by"))
    })
    .await;
    let epoch = |page: &str| value(page, "pgbatch_leader_epoch").and_then(|epoch| epoch.parse::<i64>().ok());
    let before = scrape(&standby).await?;
    assert_eq!((value(&before, "pgbatch_leader"), epoch(&before)), (Some("0"), Some(0)), "{before}");
    let first = epoch(&scrape(&leader).await?);
    leader.kill()?;
    until_value(&standby, "pgbatch_leader", "1").await;
    let page = scrape(&standby).await?;
    let now: i64 = world.client.query_one("SELECT epoch FROM pgbatch.installation", &[]).await?.get(0);
    assert_eq!((epoch(&page), first), (Some(now), Some(now - 1)));
    assert_eq!(value(&page, r#"pgbatch_doorbell_info{kind="shared_memory"}"#), Some("1"), "{page}");
    Ok(())
}
