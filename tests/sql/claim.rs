//! Claims: each item once, stale ones skipped, ranges cut to size.

use std::collections::BTreeSet;

use pgbatch_core::run::{Outcome, RunSpec};
use pgbatch_core::state::RunState::{self, Failed};
use serde_json::json;

use crate::support::{Tested, batch, claim, claim_one, enqueue, finish, observe, outcome, value, with_queue};

fn ranges(runs: &[RunSpec]) -> Vec<(u32, u32)> {
    runs.iter().map(|r| (r.first_item, r.last_item)).collect()
}

#[tokio::test]
async fn fresh_items_are_claimed_without_gaps() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 5, "").await?;
    let runs = claim(&client, &[(id, 3, 4, 1), (id, 1, 2, 1)]).await?;
    assert_eq!(ranges(&runs), [(1, 2), (3, 4)], "in order, whatever order they were asked for in");
    assert_eq!(batch(&client, id).await?, "running: 1 pending, 4 running");
    for stale in
        [(id, 1, 2, 1), (id, 4, 5, 1), (id, 6, 6, 1), (id, 5, 4, 1), (id, 1, 2, 2), (id + 1, 1, 1, 1)]
    {
        assert_eq!(ranges(&claim(&client, &[stale]).await?), [], "{stale:?}");
    }
    assert_eq!(ranges(&claim(&client, &[(id, 5, 99, 1)]).await?), [(5, 5)]);
    assert_eq!(observe(&client).await?.queues[0].fresh.len(), 0);
    Ok(())
}

#[tokio::test]
async fn what_lies_behind_a_gap_is_left() -> Tested {
    let (_database, client) = with_queue("").await?;
    let (one, other) = (enqueue(&client, 5, "").await?, enqueue(&client, 2, "").await?);
    let asked = [(other, 2, 2, 1), (one, 4, 4, 1), (one, 2, 2, 1), (one, 1, 1, 1), (one, 2, 2, 1)];
    let runs = claim(&client, &asked).await?;
    assert_eq!(ranges(&runs), [(1, 1), (2, 2)], "3 was not asked for, nor the other's first");
    assert!(runs.iter().all(|run| run.batch == one));
    assert_eq!(batch(&client, other).await?, "pending: 2 pending");
    assert_eq!(ranges(&claim(&client, &[(one, 3, 3, 1), (one, 4, 5, 1)]).await?), [(3, 3), (4, 5)]);
    Ok(())
}

#[tokio::test]
async fn a_first_run_says_how_long_its_items_have_waited_and_others_say_nothing() -> Tested {
    let (_database, client) = with_queue(", retry_backoff => '0 s'").await?;
    let plain = enqueue(&client, 1, "").await?;
    let late = enqueue(&client, 1, "").await?;
    // As if they were enqueued two hours ago, and one of them was not to start before the last hour.
    let sql = "UPDATE pgbatch.batch SET created_at = created_at - interval '2 h',
        not_before = CASE id WHEN $1 THEN NULL ELSE now() - interval '1 h' END";
    client.execute(sql, &[&plain]).await?;
    let first = claim_one(&client, (plain, 1, 1, 1)).await?;
    let hours = |run: &RunSpec| run.waited_ms.map(|ms| ms / 3_600_000);
    assert_eq!(hours(&first), Some(2));
    assert_eq!(hours(&claim_one(&client, (late, 1, 1, 1)).await?), Some(1));
    finish(&client, &[outcome(first.run, Failed)]).await?;
    assert_eq!(claim_one(&client, (plain, 1, 1, 2)).await?.waited_ms, None, "a retry waits for its backoff");
    let after = enqueue(&client, 1, &format!(", after => ARRAY[{late}]")).await?;
    let run = value::<i64>(&client, &format!("SELECT id FROM pgbatch.runs WHERE batch_id = {late}")).await?;
    finish(&client, &[outcome(run, RunState::Succeeded)]).await?;
    observe(&client).await?;
    assert_eq!(
        claim_one(&client, (after, 1, 1, 1)).await?.waited_ms,
        None,
        "nobody knows since when it could run"
    );
    Ok(())
}

#[tokio::test]
async fn what_must_not_start_is_not_claimed() -> Tested {
    let (_database, client) = with_queue("").await?;
    let waiting = enqueue(&client, 1, ", not_before => now() + interval '1 h'").await?;
    assert_eq!(claim(&client, &[(waiting, 1, 1, 1)]).await?.len(), 0, "waiting");
    let cancelled = enqueue(&client, 1, "").await?;
    client.execute("SELECT pgbatch.cancel_batch($1)", &[&cancelled]).await?;
    assert_eq!(claim(&client, &[(cancelled, 1, 1, 1)]).await?.len(), 0, "cancelled");
    let paused = enqueue(&client, 1, "").await?;
    client.batch_execute("SELECT pgbatch.pause_queue('q')").await?;
    assert!(observe(&client).await?.queues[0].paused);
    assert_eq!(claim(&client, &[(paused, 1, 1, 1)]).await?.len(), 0, "paused");
    client.batch_execute("SELECT pgbatch.resume_queue('q')").await?;
    assert_eq!(claim(&client, &[(paused, 1, 1, 1)]).await?.len(), 1, "resumed");
    Ok(())
}

#[tokio::test]
async fn the_items_of_a_run_fit_into_an_environment_variable() -> Tested {
    let (_database, client) = with_queue("").await?;
    // Items of 40,009 bytes: two fit into 98,304.
    let query = "SELECT repeat('x', 40000) AS x FROM generate_series(1, 5)";
    let id = client.query_one("SELECT pgbatch.enqueue_query('q', $1)", &[&query]).await?.get(0);
    let claimed = claim(&client, &[(id, 1, 3, 1), (id, 4, 5, 1)]).await?;
    assert_eq!(ranges(&claimed), [(1, 2)], "and what would have followed");
    let rest = claim_one(&client, (id, 3, 5, 1)).await?;
    assert_eq!(ranges(&[rest]), [(3, 4)]);
    Ok(())
}

#[tokio::test]
async fn a_retry_is_claimed_when_due_and_its_rest_stays() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 5, "").await?;
    let run = claim_one(&client, (id, 1, 5, 1)).await?.run;
    let mut failed = outcome(run, RunState::Failed);
    failed.retry_in_ms = 3_600_000;
    finish(&client, &[failed]).await?;
    assert_eq!(claim(&client, &[(id, 1, 5, 2)]).await?.len(), 0, "not due");
    assert_eq!(batch(&client, id).await?, "running: 5 retrying", "the refused claim left it there");
    client.batch_execute("UPDATE pgbatch.retry SET due_at = now()").await?;
    assert_eq!(claim(&client, &[(id, 1, 5, 3), (id, 2, 5, 2)]).await?.len(), 0, "no such retry");
    assert_eq!(ranges(&claim(&client, &[(id, 1, 2, 2), (id, 3, 9, 2)]).await?), [(1, 2), (3, 5)]);
    assert_eq!(batch(&client, id).await?, "running: 5 running");
    Ok(())
}

#[tokio::test]
async fn a_batch_goes_by_priority_then_by_age() -> Tested {
    let (_database, client) = with_queue("").await?;
    let low = enqueue(&client, 1, ", priority => -1").await?;
    let old = enqueue(&client, 1, "").await?;
    let new = enqueue(&client, 1, "").await?;
    let high = enqueue(&client, 1, ", priority => 1").await?;
    let view = observe(&client).await?;
    assert_eq!(view.queues[0].fresh.iter().map(|f| f.batch).collect::<Vec<_>>(), [high, old, new, low]);
    Ok(())
}

/// Many dispatchers that should not be: each plans alone and claims at once; no item may have two runs of an attempt.
#[tokio::test(flavor = "multi_thread")]
async fn racing_claimers_never_get_the_same_item() -> Tested {
    const CLAIMERS: usize = 12;
    const ITEMS: i32 = 120;
    let (database, client) = with_queue("").await?;
    let mut batches = Vec::new();
    for _ in 0..4 {
        batches.push(enqueue(&client, ITEMS, "").await?);
    }
    let mut tasks = Vec::new();
    for _ in 0..CLAIMERS {
        let client = database.connect().await?;
        tasks.push(tokio::spawn(async move {
            let mut claimed = Vec::new();
            loop {
                let view = observe(&client).await.map_err(|e| e.to_string())?;
                let fresh = view.queues.iter().flat_map(|q| &q.fresh);
                let wanted: Vec<_> = fresh
                    .filter_map(|f| {
                        let next = i32::try_from(f.next_item).ok()?;
                        Some([(f.batch, next, next + 2, 1), (f.batch, next + 3, next + 4, 1)])
                    })
                    .flatten()
                    .collect();
                if wanted.is_empty() {
                    return Ok::<_, String>(claimed);
                }
                for run in claim(&client, &wanted).await.map_err(|e| e.to_string())? {
                    claimed.extend((run.first_item..=run.last_item).map(|item| (run.batch, item)));
                }
            }
        }));
    }
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await??);
    }
    let distinct: BTreeSet<_> = all.iter().collect();
    assert_eq!(all.len(), distinct.len(), "an item was claimed twice");
    assert_eq!(all.len(), batches.len() * usize::try_from(ITEMS)?, "an item was forgotten");
    let live: i64 = value(&client, "SELECT sum(running) FROM pgbatch.batches").await?;
    assert_eq!(usize::try_from(live)?, all.len());
    Ok(())
}

#[tokio::test]
async fn a_run_starts_once() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 1, "").await?;
    let run = claim_one(&client, (id, 1, 1, 1)).await?.run;
    for time in ["2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00"] {
        let started = json!([{"run": run, "started_at": time}]);
        client.execute("SELECT pgbatch.start_runs(0, $1)", &[&started]).await?;
    }
    let sql = "SELECT state || extract(day FROM started_at AT TIME ZONE 'UTC') FROM pgbatch.runs";
    assert_eq!(value::<String>(&client, sql).await?, "running1");
    Ok(())
}

#[tokio::test]
async fn a_long_backlog_of_one_key_does_not_hide_the_other_keys() -> Tested {
    let (_database, client) = with_queue(", max_per_key => 1, max_attempts => 2").await?;
    let mut own = Vec::new();
    for _ in 0..150 {
        own.push(enqueue(&client, 1, ", key => 'busy'").await?);
    }
    let other = enqueue(&client, 1, ", key => 'other'").await?;
    let keyless = enqueue(&client, 1, "").await?;
    let fresh = async || -> Tested<Vec<i64>> {
        Ok(observe(&client).await?.queues[0].fresh.iter().map(|f| f.batch).collect())
    };
    assert_eq!(fresh().await?, [own[0], other, keyless], "the head of each key, in the order of claiming");

    let run = claim_one(&client, (own[0], 1, 1, 1)).await?.run;
    assert_eq!(fresh().await?, [other, keyless], "a key with a live run is full");
    finish(&client, &[Outcome { retry_in_ms: 3_600_000, ..outcome(run, Failed) }]).await?;
    assert_eq!(fresh().await?, [other, keyless], "what waits for its retry goes before its successors");

    let retries = &observe(&client).await?.queues[0].retries;
    assert_eq!(
        retries.iter().map(|r| (r.batch, r.key.as_deref())).collect::<Vec<_>>(),
        [(own[0], Some("busy"))]
    );
    Ok(())
}

#[tokio::test]
async fn many_retries_of_one_key_do_not_hide_those_of_the_others() -> Tested {
    let (_database, client) = with_queue(", max_per_key => 2, max_parallel => 2000").await?;
    let busy = enqueue(&client, 1100, ", key => 'busy'").await?;
    let other = enqueue(&client, 1, ", key => 'other'").await?;
    let ranges: Vec<_> = (1..=1100).map(|n| (busy, n, n, 1)).chain([(other, 1, 1, 1)]).collect();
    let runs = claim(&client, &ranges).await?;
    let failed = |run: i64, retry_in_ms| Outcome { retry_in_ms, ..outcome(run, Failed) };
    let last = runs.len() - 1;
    let outcomes: Vec<_> =
        runs.iter().enumerate().map(|(n, spec)| failed(spec.run, i64::from(n == last))).collect();
    finish(&client, &outcomes).await?;
    let seen: Vec<i64> = observe(&client).await?.queues[0].retries.iter().map(|r| r.batch).collect();
    assert_eq!(seen, [busy, busy, other]);
    Ok(())
}
