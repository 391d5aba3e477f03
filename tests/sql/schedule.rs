//! `schedule`: each occurrence is one batch, whatever is late, altered, backfilled or failing.

use e2e::postgres::{Database, OWNER, Server};
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::dump::copy;
use crate::support::{Tested, batch, claim_one, finish, observe, outcome, refused, value, with_queue};

use pgbatch_core::state::RunState::Succeeded;

/// A database with the queue `q` and the schedule `s` with these arguments after its queue.
async fn with_schedule(arguments: &str) -> Tested<(Database, Client)> {
    let (database, client) = with_queue("").await?;
    client.batch_execute(&format!("SELECT pgbatch.schedule('s', 'q', {arguments})")).await?;
    Ok((database, client))
}

/// A cron expression that occurs once an hour, half an hour ago for the last time.
const HOURLY: &str = "extract(minute FROM now() - interval '30 min') || ' * * * *'";

/// Lets it be so long ago that the dispatcher has seen to the schedule.
async fn sleep_since(client: &Client, ago: &str) -> Tested {
    let sql = format!(
        "UPDATE pgbatch.schedule s SET next_runs = n.runs, due_at = n.runs[1]
         FROM pgbatch.schedule d, pgbatch.next_runs(d, now() - interval '{ago}') n (runs) WHERE s.trigger_name = d.trigger_name"
    );
    Ok(client.batch_execute(&sql).await?)
}

/// How many hours ago the occurrences were that have a batch, in the order of their batches.
async fn made(client: &Client) -> Tested<Vec<i32>> {
    let sql = "SELECT coalesce(array_agg(floor(extract(epoch FROM now() - scheduled_for) / 3600)::int ORDER BY batch_id), '{}')
        FROM pgbatch.occurrence";
    value(client, sql).await
}

async fn trigger(client: &Client, columns: &str) -> Tested<String> {
    value(client, &format!("SELECT concat_ws(' ', {columns}) FROM pgbatch.triggers WHERE name = 's'")).await
}

#[tokio::test]
async fn an_occurrence_is_one_batch_that_says_which_one() -> Tested {
    let (_database, client) =
        with_schedule("'0 0 * * *', items => ARRAY['{\"a\": 1}', '{\"scheduled_for\": \"mine\"}']::jsonb[]")
            .await?;
    let seen = observe(&client).await?;
    let next: Timestamp =
        value::<String>(&client, "SELECT pgbatch.iso_time(next_runs[1]) FROM pgbatch.triggers")
            .await?
            .parse()?;
    assert_eq!(seen.next_not_before, Some(next), "the one timer");
    assert!(next > seen.now && next <= seen.now + 24.hours());
    assert_eq!(made(&client).await?, [] as [i32; 0], "nothing is due");

    sleep_since(&client, "25 h").await?;
    let seen = observe(&client).await?;
    assert_eq!(seen.queues.iter().map(|q| q.fresh.len()).sum::<usize>(), 1, "it is in the same look");
    assert!(seen.next_not_before > Some(seen.now));
    observe(&client).await?;
    let sql = "SELECT string_agg(concat_ws('|', b.label, i.item, b.items), ' ') FROM pgbatch.batches b JOIN pgbatch.items i
        ON i.batch_id = b.id WHERE b.id = 1";
    let at: String = value(&client, "SELECT pgbatch.iso_time(scheduled_for) FROM pgbatch.occurrence").await?;
    assert_eq!(
        value::<String>(&client, sql).await?,
        format!(
            "s {at}|{{\"a\": 1, \"scheduled_for\": \"{at}\"}}|2 s {at}|{{\"scheduled_for\": \"mine\"}}|2"
        )
    );
    let says = trigger(
        &client,
        "kind, queue, enabled, last_value, cron, timezone, error, cardinality(next_runs), created_by",
    )
    .await?;
    assert_eq!(says, format!("schedule q t 2 0 0 * * * UTC 5 {OWNER}"));
    assert_eq!(value::<i64>(&client, "SELECT count(*) FROM pgbatch.batches").await?, 1);
    Ok(())
}

#[tokio::test]
async fn without_items_there_is_one_that_says_the_occurrence_only() -> Tested {
    let (_database, client) = with_schedule("'* * * * *'").await?;
    sleep_since(&client, "90 s").await?;
    observe(&client).await?;
    let sql = "SELECT i.item = jsonb_build_object('scheduled_for', pgbatch.iso_time(o.scheduled_for))
        FROM pgbatch.items i JOIN pgbatch.occurrence o USING (batch_id)";
    assert!(value::<bool>(&client, sql).await?);
    Ok(())
}

#[tokio::test]
async fn of_what_was_missed_all_the_last_one_or_nothing_is_run() -> Tested {
    for (missed, expected) in [("run_all", &[4, 3, 2, 1, 0][..]), ("run_once", &[0]), ("skip", &[])] {
        let (_database, client) = with_schedule(&format!("{HOURLY}, missed => '{missed}'")).await?;
        sleep_since(&client, "299 min").await?;
        let seen = observe(&client).await?;
        assert_eq!(made(&client).await?, expected, "{missed}");
        assert!(
            seen.next_not_before > Some(seen.now) && seen.next_not_before < Some(seen.now + 31.minutes())
        );
        observe(&client).await?;
        assert_eq!(made(&client).await?, expected, "{missed}, once more");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_a_little_late_was_not_missed() -> Tested {
    let (_database, client) = with_schedule("'* * * * * *', missed => 'skip'").await?;
    sleep_since(&client, "5 s").await?;
    observe(&client).await?;
    assert_eq!(made(&client).await?, [0], "the last one of them");
    Ok(())
}

#[tokio::test]
async fn what_was_missed_before_the_window_is_not_run() -> Tested {
    for (missed, window, expected) in [
        ("run_all", "140 min", &[1, 0][..]),
        ("run_all", "20 min", &[]),
        ("run_once", "20 min", &[]),
        ("run_once", "40 min", &[0]),
    ] {
        let (_database, client) =
            with_schedule(&format!("{HOURLY}, missed => '{missed}', missed_window => '{window}'")).await?;
        sleep_since(&client, "299 min").await?;
        let seen = observe(&client).await?;
        assert_eq!(made(&client).await?, expected, "{missed} {window}");
        assert!(seen.next_not_before > Some(seen.now));
    }
    Ok(())
}

#[tokio::test]
async fn many_missed_ones_are_made_in_steps() -> Tested {
    let (_database, client) = with_schedule("'* * * * * *', missed => 'run_all'").await?;
    sleep_since(&client, "150 s").await?;
    let seen = observe(&client).await?;
    assert_eq!(made(&client).await?.len(), 100);
    assert_eq!(seen.next_not_before, Some(seen.now), "at once again");
    observe(&client).await?;
    assert!(made(&client).await?.len() >= 150);
    Ok(())
}

#[tokio::test]
async fn an_occurrence_may_be_left_out_while_the_last_one_is_open() -> Tested {
    let (_database, client) = with_schedule("'* * * * *', overlap => 'skip'").await?;
    for minutes in [3, 2, 1] {
        sleep_since(&client, &format!("{minutes} min")).await?;
        observe(&client).await?;
        assert_eq!(made(&client).await?.len(), 1);
    }
    assert_eq!(trigger(&client, "skipped_at > now() - interval '2 min', error").await?, "t");
    let run = claim_one(&client, (1, 1, 1, 1)).await?.run;
    finish(&client, &[outcome(run, Succeeded)]).await?;
    client.batch_execute("DELETE FROM pgbatch.occurrence").await?;
    sleep_since(&client, "1 min").await?;
    observe(&client).await?;
    assert_eq!(made(&client).await?.len(), 1, "the batch has ended");
    assert_eq!(batch(&client, 2).await?, "pending: 1 pending");
    Ok(())
}

#[tokio::test]
async fn two_dispatchers_at_once_make_one_batch() -> Tested {
    let (database, first) = with_schedule("'0 0 * * *'").await?;
    let second = database.connect().await?;
    sleep_since(&first, "25 h").await?;
    first.batch_execute("BEGIN").await?;
    observe(&first).await?;
    let seen = observe(&second).await?;
    assert_eq!(seen.next_not_before, Some(seen.now + 1.second()), "what is locked is looked at again");
    assert_eq!(made(&second).await?.len(), 0);
    first.batch_execute("ROLLBACK").await?;
    observe(&second).await?;
    observe(&first).await?;
    assert_eq!(made(&first).await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_query_knows_its_occurrence_and_its_failure_is_written_down_and_stops_nobody_else() -> Tested {
    let (_database, client) = with_queue("").await?;
    client
        .batch_execute(
            "CREATE SCHEMA shop; SET search_path = shop; CREATE TABLE t (id int, day timestamptz, per int DEFAULT 1);
             INSERT INTO t SELECT i, date_trunc('day', now(), 'UTC') + (i - 3) * interval '1 h' FROM generate_series(1, 5) i;
             SELECT pgbatch.schedule('s', 'q', '0 0 * * *', query =>
                 'SELECT id / per AS id, pgbatch.scheduled_for() < now() AS past FROM t WHERE day < pgbatch.scheduled_for() ORDER BY t.id');
             SELECT pgbatch.schedule('one', 'q', '0 0 * * *', query => 'SELECT to_jsonb(t) AS x FROM t WHERE id = 1');
             SELECT pgbatch.schedule('none', 'q', '0 0 * * *', query => 'SELECT id FROM t WHERE false');
             RESET search_path; UPDATE shop.t SET per = 0 WHERE id = 2",
        )
        .await?;
    sleep_since(&client, "25 h").await?;
    observe(&client).await?;
    let items =
        "SELECT coalesce(jsonb_agg(i.item - 'scheduled_for' - 'day' ORDER BY i.batch_id, i.item_no), '[]')
        FROM pgbatch.items i JOIN pgbatch.batch b ON b.id = i.batch_id WHERE b.trigger_name = ";
    assert_eq!(value::<Value>(&client, &format!("{items} 'one'")).await?, json!([{"id": 1, "per": 1}]));
    let none = "SELECT state || items FROM pgbatch.batches WHERE label LIKE 'none %'";
    assert_eq!(value::<String>(&client, none).await?, "succeeded0");
    assert_eq!(trigger(&client, "error").await?, "division by zero");
    let again: Timestamp =
        value::<String>(&client, "SELECT pgbatch.iso_time(due_at) FROM pgbatch.schedule WHERE failures = 1")
            .await?
            .parse()?;
    let seen = observe(&client).await?;
    assert!(again <= seen.now + 1.second() && again > seen.now - 10.seconds(), "{again} of {}", seen.now);

    client
        .batch_execute(
            "UPDATE shop.t SET per = 1; UPDATE pgbatch.schedule SET due_at = now() WHERE failures > 0",
        )
        .await?;
    observe(&client).await?;
    let found = json!([{"id": 1, "past": true}, {"id": 2, "past": true}]);
    assert_eq!(value::<Value>(&client, &format!("{items} 's'")).await?, found);
    assert_eq!(trigger(&client, "error, query LIKE '%shop.t%'").await?, "t");
    assert_eq!(value::<Option<String>>(&client, "SELECT pgbatch.scheduled_for()::text").await?, None);
    client.batch_execute("SELECT pgbatch.drop_trigger('s')").await?;
    assert_eq!(
        value::<i64>(&client, "SELECT count(*) FROM pg_views WHERE viewname LIKE 'scheduled%'").await?,
        2
    );
    client.batch_execute("DROP TABLE shop.t CASCADE; UPDATE pgbatch.schedule SET due_at = now()").await?;
    observe(&client).await?;
    assert_eq!(
        value::<i64>(&client, "SELECT count(*) FROM pgbatch.schedule").await?,
        0,
        "they went with their table"
    );
    Ok(())
}

#[tokio::test]
async fn the_pause_after_a_failure_doubles_up_to_five_minutes() -> Tested {
    let (_database, client) = with_queue("").await?;
    client
        .batch_execute(
            "SELECT pgbatch.schedule('s', 'q', '* * * * *', query => 'SELECT 1 / (now() > now())::int AS x')",
        )
        .await?;
    for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
        sleep_since(&client, "1 min").await?;
        observe(&client).await?;
        let sql = "SELECT round(extract(epoch FROM due_at - now())) FROM pgbatch.schedule";
        let sql = format!("SELECT ({sql})::int BETWEEN {seconds} - 2 AND {seconds}");
        assert!(value::<bool>(&client, &sql).await?, "{seconds} s");
    }
    Ok(())
}

#[tokio::test]
async fn a_backfill_makes_what_was_not_made_and_nothing_twice() -> Tested {
    let (_database, client) =
        with_schedule(&format!("{HOURLY}, missed => 'skip', overlap => 'skip'")).await?;
    let backfill = "SELECT pgbatch.backfill('s', now() - interval '240 min', now())";
    client
        .batch_execute(
            "INSERT INTO pgbatch.occurrence SELECT 's', to_timestamp(pgbatch.next_occurrence(cron, timezone,
        extract(epoch FROM now() - interval '120 min')::bigint)), 0 FROM pgbatch.schedule",
        )
        .await?;
    assert_eq!(value::<i32>(&client, backfill).await?, 3);
    assert_eq!(made(&client).await?, [1, 3, 2, 0], "in their order, and that of before");
    assert_eq!(value::<i32>(&client, backfill).await?, 0);
    client
        .batch_execute("SELECT pgbatch.alter_schedule('s', missed => 'run_all', overlap => 'allow')")
        .await?;
    sleep_since(&client, "299 min").await?;
    observe(&client).await?;
    assert_eq!(made(&client).await?, [1, 3, 2, 0, 4], "the dispatcher makes the others only");
    client
        .batch_execute("DELETE FROM pgbatch.occurrence WHERE scheduled_for < now() - interval '2 h'")
        .await?;
    let span = "SELECT pgbatch.backfill('s', min(scheduled_for) - interval '2 h', min(scheduled_for) - interval '1 h') FROM pgbatch.occurrence";
    assert_eq!(value::<i32>(&client, span).await?, 1, "the span's begin is part of it, its end is not");
    assert_eq!(made(&client).await?, [1, 0, 3]);
    Ok(())
}

#[tokio::test]
async fn an_altered_schedule_goes_on_after_now() -> Tested {
    let (_database, client) = with_schedule("'0 0 * * *'").await?;
    let next = "next_runs[1] > now(), extract(minute FROM next_runs[1]), cron, timezone, missed, overlap, missed_window";
    client.batch_execute("SELECT pgbatch.alter_schedule('s', enabled => false)").await?;
    assert_eq!(observe(&client).await?.next_not_before, None, "nothing to wait for");
    assert_eq!(trigger(&client, "enabled, cardinality(next_runs)").await?, "f 0");
    client.batch_execute("SELECT pgbatch.alter_schedule('s', enabled => true)").await?;
    observe(&client).await?;
    assert_eq!(made(&client).await?.len(), 0, "what passed meanwhile was not missed");

    sleep_since(&client, "25 h").await?;
    client
        .batch_execute("SELECT pgbatch.alter_schedule('s', overlap => 'skip', items => '{\"{}\"}')")
        .await?;
    observe(&client).await?;
    assert_eq!(made(&client).await?.len(), 1, "another setting changes no time");
    sleep_since(&client, "25 h").await?;
    let alter = "SELECT pgbatch.alter_schedule('s', '7 * * * *', 'Asia/Kathmandu', missed => 'skip', overlap => 'allow', missed_window => '1 h')";
    client.batch_execute(alter).await?;
    observe(&client).await?;
    assert_eq!(made(&client).await?.len(), 1);
    let says: String =
        value(&client, &format!("SELECT concat_ws(' ', {next}) FROM pgbatch.schedule")).await?;
    assert_eq!(says, "t 22 7 * * * * Asia/Kathmandu skip allow 01:00:00");
    Ok(())
}

#[tokio::test]
async fn a_dropped_schedule_leaves_nothing_but_its_batches() -> Tested {
    let (_database, client) = with_schedule("'0 0 * * *'").await?;
    sleep_since(&client, "25 h").await?;
    observe(&client).await?;
    let error = refused(client.batch_execute("SELECT pgbatch.drop_queue('q', force => true)").await)?;
    assert_eq!((error.code().code(), error.message()), ("55006", "trigger \"s\" feeds queue \"q\""));
    let error = refused(client.batch_execute("SELECT pgbatch.schedule('s', 'q', '0 0 * * *')").await)?;
    assert_eq!((error.code().code(), error.message()), ("42710", "trigger \"s\" exists already"));
    client.batch_execute("SELECT pgbatch.drop_trigger('s')").await?;
    let left = "SELECT (SELECT count(*) FROM pgbatch.trigger) + (SELECT count(*) FROM pgbatch.schedule)
        + (SELECT count(*) FROM pgbatch.occurrence) + (SELECT count(*) FROM pgbatch.batch) * 100";
    assert_eq!(value::<i64>(&client, left).await?, 100);
    assert_eq!(observe(&client).await?.next_not_before, None);
    Ok(())
}

#[tokio::test]
async fn a_dump_takes_schedules_along_and_what_they_have_made() -> Tested {
    let (database, client) =
        with_schedule("'* * * * *', query => 'SELECT 1 AS x', missed => 'run_all'").await?;
    client
        .batch_execute("SELECT pgbatch.schedule('i', 'q', '0 2 * * *', 'Europe/Paris', items => '{\"{}\"}')")
        .await?;
    sleep_since(&client, "2 min").await?;
    observe(&client).await?;
    let copied = Server::shared()?.empty_database().await?;
    let restored = copied.connect().await?;
    copy(&database, &copied, OWNER)?;
    let content = "SELECT string_agg(t::text, ' ' ORDER BY t.name) FROM pgbatch.triggers t";
    assert_eq!(value::<String>(&restored, content).await?, value::<String>(&client, content).await?);
    sleep_since(&restored, "4 min").await?;
    observe(&restored).await?;
    let made = "SELECT count(*) FROM pgbatch.batch WHERE trigger_name = 's'";
    assert_eq!(value::<i64>(&restored, made).await?, 4, "only those that are not in the dump");
    Ok(())
}
