//! What the dispatcher's calls read does not grow with what is queued.

use pgbatch_core::state::RunState::{Failed, Succeeded};
use tokio_postgres::Client;

use crate::support::{Tested, claim_one, enqueue, finish, observe, outcome, value, with_queue};

const QUEUED: i64 = 20_000;
/// A look reads the heads of queues, at most 100 batches each: far from all that is queued.
const ROWS_MAX: i64 = 1_000;

/// Rows of the extension's tables that this session has read; to be compared within one transaction.
async fn rows_read(client: &Client) -> Tested<i64> {
    let sql = "SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::bigint
        FROM pg_stat_xact_user_tables WHERE schemaname = 'pgbatch'";
    value(client, sql).await
}

/// The trap: the session has made its plans while the tables were small, and keeps them.
#[tokio::test]
async fn a_session_whose_tables_were_small_stays_fast_when_they_grow() -> Tested {
    let (_database, client) = with_queue(", max_attempts => 9").await?;
    for round in 0..12 {
        let id = enqueue(&client, 2, "").await?;
        let run = claim_one(&client, (id, 1, 1, 1)).await?.run;
        finish(&client, &[outcome(run, Failed)]).await?;
        claim_one(&client, (id, 1, 1, 2)).await?;
        observe(&client).await?;
        if round == 4 {
            client
                .batch_execute(
                    "ANALYZE pgbatch.batch, pgbatch.item, pgbatch.run, pgbatch.retry, pgbatch.report",
                )
                .await?;
        }
    }
    let grow = format!(
        "INSERT INTO pgbatch.batch (queue, state, items, has_fresh, priority, max_attempts, created_by)
         SELECT 'q', 'pending', 1, true, 0, 3, 'x' FROM generate_series(1, {QUEUED});
         INSERT INTO pgbatch.item SELECT id, 1, '{{}}' FROM pgbatch.batch WHERE state = 'pending';
         INSERT INTO pgbatch.run
             (queue, batch_id, first_item, last_item, attempt, max_attempt, state, finished_at, succeeded, failed)
         SELECT 'q', -i, 1, 1, 1, 1, 'succeeded', now(), 1, 0 FROM generate_series(1, {QUEUED}) i"
    );
    client.batch_execute(&grow).await?;
    // What has come in since the last look is passed once.
    observe(&client).await?;
    let next: i64 = value(&client, "SELECT max(id) FROM pgbatch.batch").await?;

    client.batch_execute("BEGIN").await?;
    let before = rows_read(&client).await?;
    let run = claim_one(&client, (next, 1, 1, 1)).await?.run;
    let claimed = rows_read(&client).await?;
    assert!(claimed - before < ROWS_MAX, "claim read {} rows", claimed - before);
    finish(&client, &[outcome(run, Succeeded)]).await?;
    let finished = rows_read(&client).await?;
    assert!(finished - claimed < ROWS_MAX, "finish_runs read {} rows", finished - claimed);
    let view = observe(&client).await?;
    assert_eq!((view.queues[0].fresh.len(), view.live.len()), (100, 12));
    let observed = rows_read(&client).await?;
    assert!(observed - finished < ROWS_MAX, "observe read {} rows", observed - finished);
    Ok(())
}
