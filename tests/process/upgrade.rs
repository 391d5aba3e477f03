//! A dispatcher that is a version ahead of its database, and the update while it works.

use e2e::wait::until;
use e2e::world::World;
use serde_json::json;

use crate::metrics::{LISTEN, scrape};
use crate::{LONG, SOON, Tested, enqueue, one, state, until_state};

/// As with `helm upgrade` before the extension's: nothing waits for the update, and it interrupts nothing.
#[tokio::test]
async fn the_extension_is_updated_under_a_dispatcher_that_is_ahead() -> Tested {
    let world = World::of_version("upgrade_ahead", "0.1.0").await?;
    world
        .shell_queue(
            "q",
            "[ \"$PGBATCH_ATTEMPT\" != 1 ] || [ \"$PGBATCH_ITEM_NO\" != 3 ]",
            ", retry_backoff => '0 s'",
        )
        .await?;
    let mut dispatcher = world.dispatcher(&[LISTEN])?;
    let batch = enqueue(&world, "q", json!({})).await?;
    until_state(&world, batch, "succeeded", SOON).await;
    // That version has nothing to count items with.
    let page = scrape(&dispatcher).await?;
    assert!(page.contains("pgbatch_leader 1") && !page.contains("pgbatch_items{"), "{page}");

    let batch = world.enqueue_numbers("q", 60).await?;
    let ended = "SELECT count(*) FROM pgbatch.runs WHERE batch_id = $1 AND finished_at IS NOT NULL";
    until("some runs to end", SOON, async || {
        one::<i64>(&world, ended, batch).await.filter(|ended| *ended > 5)
    })
    .await;
    world.client.batch_execute("ALTER EXTENSION pgbatch UPDATE").await?;
    assert_eq!(state(&world, batch).await.as_deref(), Some("running"), "there was nothing left to interrupt");
    until_state(&world, batch, "succeeded", LONG).await;
    let runs: i64 =
        one(&world, "SELECT count(*) FROM pgbatch.runs WHERE batch_id = $1", batch).await.ok_or("no runs")?;
    assert_eq!(runs, 61, "each item once, and the third one again");
    let batch = enqueue(&world, "q", json!({})).await?;
    until_state(&world, batch, "succeeded", SOON).await;
    assert!(dispatcher.is_running()?, "the same process");
    Ok(())
}
