//! Schedules with the real dispatcher: one timer, and kill -9 in the middle.

use e2e::wait::until;
use e2e::world::World;

use crate::{LONG, Tested};

/// How many occurrences have ended.
async fn ended(world: &World) -> Option<i64> {
    let sql = "SELECT count(*) FROM pgbatch.occurrence o JOIN pgbatch.batches b ON b.id = o.batch_id WHERE b.state = 'succeeded'";
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
