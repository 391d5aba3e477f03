//! Schedules and demand with the real dispatcher, and kill -9 in the middle.

use e2e::wait::until;
use e2e::world::World;

use crate::{LONG, Tested};

/// How many occurrences have ended.
async fn ended(world: &World) -> Option<i64> {
    let sql = "SELECT count(*) FROM pgbatch.occurrence o JOIN pgbatch.batches b ON b.id = o.batch_id WHERE b.state = 'succeeded'";
    world.client.query_one(sql, &[]).await.ok().map(|row| row.get(0))
}

/// Whether two occurrences have passed that nobody has seen to.
async fn missed(world: &World) -> Option<bool> {
    let sql = "SELECT next_runs[2] < now() FROM pgbatch.triggers";
    world.client.query_one(sql, &[]).await.ok().map(|row| row.get(0))
}

#[tokio::test]
async fn a_schedule_survives_kill_9_of_the_dispatcher_without_a_loss_and_without_doubling() -> Tested {
    let world = World::new("schedule").await?;
    let trace = world.dir.join("trace");
    world.shell_queue("tick", &format!("echo $PGBATCH_ARG_SCHEDULED_FOR >> {}", trace.display()), "").await?;
    world
        .client
        .batch_execute("SELECT pgbatch.schedule('ticks', 'tick', '* * * * * *', missed => 'run_all')")
        .await?;
    let mut dispatcher = world.dispatcher(&[])?;
    for wanted in [2, 4, 6] {
        until("some occurrences to have ended", LONG, async || ended(&world).await.filter(|n| *n >= wanted))
            .await;
        dispatcher.kill()?;
        until("some to be missed", LONG, async || missed(&world).await.filter(|missed| *missed)).await;
        dispatcher = world.dispatcher(&[])?;
    }
    until("the last dispatcher to have made some", LONG, async || ended(&world).await.filter(|n| *n >= 9))
        .await;
    world.client.batch_execute("SELECT pgbatch.alter_schedule('ticks', enabled => false)").await?;
    let made: Vec<String> = world
        .client
        .query("SELECT pgbatch.iso_time(scheduled_for) FROM pgbatch.occurrence ORDER BY scheduled_for", &[])
        .await?
        .iter()
        .map(|row| row.get(0))
        .collect();
    until("all to have ended", LONG, async || {
        ended(&world).await.filter(|n| usize::try_from(*n).is_ok_and(|n| n == made.len()))
    })
    .await;
    let mut ran: Vec<String> = std::fs::read_to_string(&trace)?.lines().map(str::to_owned).collect();
    ran.sort();
    assert_eq!(ran, made, "each has run, and once");
    let gaps =
        "SELECT count(*) FROM (SELECT scheduled_for - lag(scheduled_for) OVER (ORDER BY scheduled_for) AS gap
        FROM pgbatch.occurrence) o WHERE o.gap <> '1 s'";
    assert_eq!(world.client.query_one(gaps, &[]).await?.get::<_, i64>(0), 0, "none is left out: {made:?}");
    Ok(())
}

#[tokio::test]
async fn demand_is_worked_off_by_as_many_runs_as_there_are_rows() -> Tested {
    let world = World::new("demand").await?;
    world
        .client
        .batch_execute(
            "CREATE TABLE work (id int); CREATE TABLE done (id int); INSERT INTO work SELECT generate_series(1, 12);
             SELECT pgbatch.create_queue('take', sql => 'WITH slow AS (SELECT pg_sleep(0.1)), taken AS (
                     DELETE FROM work WHERE id = (SELECT id FROM work, slow FOR UPDATE OF work SKIP LOCKED LIMIT 1) RETURNING id)
                 INSERT INTO done SELECT id FROM taken');
             SELECT pgbatch.watch_count('open-work', 'take', 'SELECT count(*) FROM work', max_runs => 3)",
        )
        .await?;
    let done = async |sql: &str| world.client.query_one(sql, &[]).await.ok().map(|row| row.get::<_, i64>(0));
    let mut dispatcher = world.dispatcher(&[])?;
    for wanted in [2, 6] {
        until("some rows to be done", LONG, async || {
            done("SELECT count(*) FROM done").await.filter(|n| *n >= wanted)
        })
        .await;
        dispatcher.kill()?;
        dispatcher = world.dispatcher(&[])?;
    }
    let open = "SELECT count(*) FROM work, (SELECT 1) one UNION ALL SELECT count(*) FROM pgbatch.batches WHERE finished_at IS NULL
        ORDER BY 1 DESC LIMIT 1";
    until("all rows to be done and all runs to have ended", LONG, async || {
        done(open).await.filter(|n| *n == 0)
    })
    .await;
    let row = world
        .client
        .query_one(
            "SELECT (SELECT count(DISTINCT id) FROM done), (SELECT sum(items) FROM pgbatch.batches WHERE state = 'succeeded'),
                (SELECT max(items) FROM pgbatch.batches)",
            &[],
        )
        .await?;
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1), row.get::<_, i32>(2)), (12, 12, 3));
    Ok(())
}
