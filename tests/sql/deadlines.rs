//! Deadlines: who says when a batch must have finished, where it is told, and that it costs nothing to look for those that matter.

use e2e::postgres::SUPERUSER;
use pgbatch_core::state::RunState::{Failed, Succeeded};
use tokio_postgres::Client;

use crate::support::{Tested, claim_one, enqueue, finish, observe, outcome, refused, value, with_queue};

/// Each batch's deadline, in minutes from now; `-` for none.
async fn minutes(client: &Client) -> Tested<String> {
    let sql = "SELECT string_agg(coalesce(round(extract(epoch FROM deadline - now()) / 60)::text, '-'), ' ' ORDER BY id) FROM pgbatch.batches";
    value(client, sql).await
}

async fn found(client: &Client, at_most: i32) -> Tested<Vec<i64>> {
    value(client, &format!("SELECT pgbatch.find_deadlines({at_most})")).await
}

async fn set(client: &Client, batch: i64, deadline: &str) -> Tested {
    Ok(client.batch_execute(&format!("SELECT pgbatch.set_deadline({batch}, {deadline})")).await?)
}

#[tokio::test]
async fn it_is_said_with_the_enqueue_or_later_and_taken_away() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id: i64 = value(
        &client,
        "SELECT pgbatch.set_deadline(pgbatch.enqueue_query('q', 'SELECT 1 AS a'), now() + interval '90 min')",
    )
    .await?;
    enqueue(&client, 2, "").await?;
    assert_eq!((id, minutes(&client).await?), (1, "90 -".to_owned()));
    set(&client, 2, "now() - interval '5 min'").await?;
    set(&client, 1, "now() + interval '30 min'").await?;
    assert_eq!(minutes(&client).await?, "30 -5", "one that has passed may be said too");
    // Nothing is stopped by it.
    let run = claim_one(&client, (2, 1, 1, 1)).await?.run;
    finish(&client, &[outcome(run, Succeeded)]).await?;
    set(&client, 2, "NULL").await?;
    assert_eq!(minutes(&client).await?, "30 -");
    assert_eq!(found(&client, 20).await?, [1]);
    Ok(())
}

#[tokio::test]
async fn open_batches_are_found_those_that_are_late_first() -> Tested {
    let (_database, client) = with_queue(", max_attempts => 1").await?;
    for (_, in_minutes) in (1..=7).zip([50, -3, 10, -40, 20, -7, -1]) {
        let id = enqueue(&client, 1, "").await?;
        set(&client, id, &format!("now() + interval '{in_minutes} min'")).await?;
    }
    enqueue(&client, 1, "").await?;
    assert_eq!(found(&client, 20).await?, [7, 2, 6, 4, 3, 5, 1]);
    assert_eq!(found(&client, 2).await?, [7, 2, 3, 5], "so many of each");

    let run = claim_one(&client, (7, 1, 1, 1)).await?.run;
    claim_one(&client, (6, 1, 1, 1)).await?;
    assert_eq!(found(&client, 2).await?, [7, 2, 3, 5], "running ones too");
    finish(&client, &[outcome(run, Failed)]).await?;
    client.batch_execute("SELECT pgbatch.cancel_batch(6), pgbatch.cancel_batch(3)").await?;
    assert_eq!(found(&client, 20).await?, [2, 4, 5, 1], "neither what ended nor what is being stopped");
    client.batch_execute("SELECT pgbatch.retry_batch(7)").await?;
    assert_eq!(found(&client, 20).await?, [7, 2, 4, 5, 1]);
    Ok(())
}

/// However many there are, of ended and of open batches; also for one who may read them by his right.
#[tokio::test]
async fn what_is_read_to_find_them_has_a_limit() -> Tested {
    let (database, client) = with_queue("").await?;
    let role = format!("planner_of_{}", database.name);
    database.connect_as(SUPERUSER).await?.batch_execute(&format!("CREATE ROLE {role} LOGIN")).await?;
    client
        .batch_execute(&format!(
            "SELECT pgbatch.grant('*', '{role}', 'read');
             INSERT INTO pgbatch.batch (queue, state, items, has_fresh, priority, max_attempts, created_by, deadline, finished_at,
                 expires_at, succeeded, failed, cancelled)
             SELECT 'q', 'succeeded', 1, false, 0, 1, 'x', now() - i * interval '1 s', now(), now() + interval '1 day', 1, 0, 0
             FROM generate_series(1, 5000) i;
             INSERT INTO pgbatch.batch (queue, state, items, has_fresh, priority, max_attempts, created_by, deadline)
             SELECT 'q', 'pending', 1, true, 0, 1, 'x', now() + (i - 2500) * interval '1 s' FROM generate_series(1, 5000) i;
             INSERT INTO pgbatch.batch (queue, state, items, has_fresh, priority, max_attempts, created_by)
             SELECT 'q', 'pending', 1, true, 0, 1, 'x' FROM generate_series(1, 5000) i; ANALYZE pgbatch.batch"
        ))
        .await?;
    let reader = database.connect_as(&role).await?;
    for session in [&client, &reader] {
        session.batch_execute("BEGIN").await?;
        assert_eq!(found(session, 20).await?.len(), 40);
        let read = "SELECT (seq_tup_read + idx_tup_fetch)::bigint FROM pg_stat_xact_user_tables WHERE relname = 'batch'";
        let read: i64 = value(session, read).await?;
        assert!(read <= 50, "{read} rows were read for 40");
        session.batch_execute("COMMIT").await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_occurrence_must_have_finished_so_long_after_it() -> Tested {
    let (_database, client) = with_queue("").await?;
    let left =
        "SELECT string_agg(DISTINCT (b.deadline - o.scheduled_for)::text, ' ') FROM pgbatch.occurrence o
        JOIN pgbatch.batches b ON b.id = o.batch_id";
    let within = "SELECT coalesce(finish_within::text, '-') FROM pgbatch.triggers";
    client
        .batch_execute("SELECT pgbatch.schedule('s', 'q', '* * * * *', missed => 'run_all', finish_within => '1 day 2 h')")
        .await?;
    let missed = "UPDATE pgbatch.schedule SET next_runs = ARRAY[date_trunc('minute', now()) - interval '1 min'], due_at = now()";
    client.batch_execute(missed).await?;
    observe(&client).await?;
    assert_eq!(value::<String>(&client, left).await?, "1 day 02:00:00");
    assert_eq!(value::<String>(&client, within).await?, "1 day 02:00:00");

    // What nobody can keep any more is no deadline: of the one two minutes ago it is to come, of the one four minutes ago it has passed.
    client.batch_execute("SELECT pgbatch.alter_schedule('s', finish_within => '200 s')").await?;
    let last: i64 = value(&client, "SELECT max(id) FROM pgbatch.batches").await?;
    let backfill = "SELECT pgbatch.backfill('s', date_trunc('minute', now()) - interval '4 min', now())";
    assert!(value::<i32>(&client, backfill).await? >= 2);
    let kept = format!(
        "SELECT bool_and(b.deadline IS NOT DISTINCT FROM CASE WHEN d.at > b.created_at THEN d.at END)
             AND count(b.deadline) BETWEEN 1 AND count(*) - 1
         FROM pgbatch.occurrence o JOIN pgbatch.batches b ON b.id = o.batch_id
         CROSS JOIN LATERAL (SELECT o.scheduled_for + interval '200 s' AS at) d WHERE b.id > {last}"
    );
    assert!(value::<bool>(&client, &kept).await?);

    // Where the clock is set forward that night, a day is 24 hours too.
    client.batch_execute("SET TimeZone = 'Europe/Paris'").await?;
    let night = "SELECT (pgbatch.deadline_of('2026-03-28 12:00:00+00', '1 day') AT TIME ZONE 'UTC')::text";
    assert_eq!(value::<String>(&client, night).await?, "2026-03-29 12:00:00");

    client.batch_execute("SELECT pgbatch.alter_schedule('s', overlap => 'allow')").await?;
    assert_eq!(value::<String>(&client, within).await?, "00:03:20", "left as it is");
    client.batch_execute("SELECT pgbatch.alter_schedule('s', finish_within => '0')").await?;
    assert_eq!(value::<String>(&client, within).await?, "-");
    Ok(())
}

#[tokio::test]
async fn whoever_may_enqueue_or_manage_may_say_it_and_nobody_else() -> Tested {
    let (database, client) = with_queue("").await?;
    let superuser = database.connect_as(SUPERUSER).await?;
    enqueue(&client, 1, "").await?;
    for (right, may) in [("enqueue", true), ("manage", true), ("read", false)] {
        let role = format!("{right}r_of_{}", database.name);
        superuser.batch_execute(&format!("CREATE ROLE {role} LOGIN")).await?;
        client.batch_execute(&format!("SELECT pgbatch.grant('q', '{role}', '{right}')")).await?;
        let session = database.connect_as(&role).await?;
        let said = session.batch_execute("SELECT pgbatch.set_deadline(1, now() + interval '1 h')").await;
        assert_eq!(said.is_ok(), may, "{right}: {said:?}");
        if may {
            let error = refused(session.batch_execute("SELECT pgbatch.set_deadline(77, now())").await)?;
            let says = format!(
                "batch 77 does not exist, or role \"{role}\" has not the right \"enqueue\" on its queue"
            );
            assert_eq!((error.code().code(), error.message()), ("42501", says.as_str()));
        }
    }
    Ok(())
}
