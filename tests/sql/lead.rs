//! The lead: one dispatcher has it, an epoch fences the others, a standby sleeps until it is free.

use e2e::postgres::SUPERUSER;
use pgbatch_core::state::RunState::Succeeded;
use serde_json::Value;
use tokio_postgres::Client;

use crate::support::{
    Tested, batch, cancel, claim_one, enqueue, finish, outcome, refused, until_waiting, value, with_queue,
};

async fn try_lead(client: &Client) -> Tested<Option<Value>> {
    Ok(client.query_one("SELECT pgbatch.try_lead()", &[]).await?.get(0))
}

async fn epoch(client: &Client) -> Tested<i64> {
    let lead = try_lead(client).await?.ok_or("another one leads")?;
    lead["epoch"].as_i64().ok_or_else(|| "no epoch".into())
}

#[tokio::test]
async fn one_leads_and_the_next_has_a_higher_number() -> Tested {
    let (database, client) = with_queue("").await?;
    let (one, two) = (database.connect().await?, database.connect().await?);
    let first = try_lead(&one).await?.ok_or("nobody led")?;
    let id: String = value(&client, "SELECT id::text FROM pgbatch.installation").await?;
    assert_eq!((first["installation"].as_str(), first["epoch"].as_i64()), (Some(id.as_str()), Some(1)));
    assert_eq!(try_lead(&two).await?, None);
    drop(one);
    e2e::wait::until("the lead to be free", crate::support::LIMIT, async || {
        try_lead(&two).await.ok().flatten()
    })
    .await;
    assert_eq!(value::<i64>(&client, "SELECT epoch FROM pgbatch.installation").await?, 2);
    Ok(())
}

/// Everything that a dispatcher says, with one live run 1 of batch 1 and one pending item.
const CALLS: [&str; 8] = [
    "observe(1)",
    "claim(1, '[{\"batch\": 1, \"first_item\": 2, \"last_item\": 2, \"attempt\": 1}]')",
    "start_runs(1, '[{\"run\": 1, \"started_at\": \"2026-01-01T00:00:00Z\"}]')",
    "finish_runs(1, '[{\"run\": 1, \"state\": \"succeeded\"}]')",
    "note_runs(1, '[{\"run\": 1, \"waiting\": {\"reason\": \"Unschedulable\", \"message\": \"x\"}}]')",
    "ready_runs(1, '[{\"run\": 1, \"is_ready\": true}]')",
    "over_runs(1, '{1}')",
    "prune(1)",
];

const ALL_ROWS: &str = "SELECT concat_ws('; ', (SELECT jsonb_agg(b ORDER BY id) FROM pgbatch.batch b),
    (SELECT jsonb_agg(r ORDER BY id) FROM pgbatch.run r), (SELECT count(*) FROM pgbatch.stored_item),
    (SELECT jsonb_agg(t) FROM pgbatch.retry t), (SELECT jsonb_agg(p) FROM pgbatch.pruning p))";

/// One that lost its lock without noticing, as behind a pooler.
#[tokio::test]
async fn a_deposed_dispatcher_is_refused_and_changes_nothing() -> Tested {
    let (database, client) = with_queue("").await?;
    let (old, new) = (database.connect().await?, database.connect().await?);
    assert_eq!(epoch(&old).await?, 1);
    let id = enqueue(&client, 2, "").await?;
    claim_one(&client, (id, 1, 1, 1)).await?;
    let past = enqueue(&client, 1, "").await?;
    client.execute("SELECT pgbatch.cancel_batch($1)", &[&past]).await?;
    client.batch_execute("UPDATE pgbatch.batch SET expires_at = now() WHERE expires_at IS NOT NULL").await?;
    enqueue(&client, 1, ", not_before => now() + interval '1 h'").await?;
    client.batch_execute("UPDATE pgbatch.batch SET not_before = now() WHERE state = 'waiting'").await?;
    old.batch_execute("SELECT pg_advisory_unlock_all()").await?;
    assert_eq!(epoch(&new).await?, 2);

    let before: String = value(&client, ALL_ROWS).await?;
    for call in CALLS {
        let error = refused(old.batch_execute(&format!("SELECT pgbatch.{call}")).await)?;
        assert_eq!(error.code().code(), "55000", "{call}: {error}");
        assert_eq!(error.message(), "the dispatcher of epoch 1 does not lead, that of epoch 2 does");
        assert!(error.hint().is_some_and(|hint| hint.starts_with("It reconnects and stands by.")));
    }
    assert_eq!(value::<String>(&client, ALL_ROWS).await?, before);
    for call in CALLS {
        new.batch_execute(&format!("SELECT pgbatch.{}", call.replacen("(1", "(2", 1))).await?;
    }
    assert_ne!(value::<String>(&client, ALL_ROWS).await?, before, "each is something to be refused");
    Ok(())
}

#[tokio::test]
async fn a_call_that_has_begun_is_over_before_the_next_one_leads() -> Tested {
    let (database, client) = with_queue("").await?;
    let (old, new) = (database.connect().await?, database.connect().await?);
    epoch(&old).await?;
    let id = enqueue(&client, 1, "").await?;
    old.batch_execute("BEGIN").await?;
    let run = claim_one(&old, (id, 1, 1, 1)).await?.run;
    old.batch_execute("SELECT pg_advisory_unlock_all()").await?;
    let (lead, committed) = tokio::join!(epoch(&new), async {
        until_waiting(&client, "Lock").await;
        old.batch_execute("COMMIT").await
    });
    committed?;
    assert_eq!(lead?, 2);
    // The new one sees what the old one did, to the last call.
    finish(&new, &[outcome(run, Succeeded)]).await?;
    assert_eq!(batch(&client, id).await?, "succeeded: 1 succeeded");
    Ok(())
}

#[tokio::test]
async fn a_call_behind_the_next_leader_is_refused() -> Tested {
    for end in ["COMMIT", "ROLLBACK"] {
        let (database, client) = with_queue("").await?;
        let (old, new) = (database.connect().await?, database.connect().await?);
        epoch(&old).await?;
        old.batch_execute("SELECT pg_advisory_unlock_all()").await?;
        enqueue(&client, 2, "").await?;
        new.batch_execute("BEGIN").await?;
        assert_eq!(epoch(&new).await?, 2);
        let claim = format!("SELECT pgbatch.{}", CALLS[1].replace(": 2", ": 1"));
        let (claimed, ended) = tokio::join!(old.query(&claim, &[]), async {
            until_waiting(&client, "Lock").await;
            new.batch_execute(end).await
        });
        ended?;
        if end == "COMMIT" {
            assert_eq!(refused(claimed)?.code().code(), "55000");
            assert_eq!(value::<i64>(&client, "SELECT count(*) FROM pgbatch.run").await?, 0);
        } else {
            assert_eq!(claimed?.len(), 1, "nobody came after it");
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_key_is_the_same_in_sql_and_in_the_library() -> Tested {
    let (database, client) = with_queue("").await?;
    let (leader, standby) = (database.connect().await?, database.connect().await?);
    leader.batch_execute("SELECT pg_advisory_lock(pgbatch.leader_key())").await?;
    let key = "SELECT DISTINCT (classid::bigint << 32) + objid::bigint FROM pg_locks
        WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let waiting =
        tokio::spawn(
            async move { standby.batch_execute("CALL pgbatch.await_lead()").await.map(|()| standby) },
        );
    until_waiting(&client, "Lock").await;
    assert_eq!(client.query(key, &[]).await?.len(), 1, "both have the same");
    assert!(value::<bool>(&client, &format!("SELECT ({key}) = pgbatch.leader_key()")).await?);
    leader.batch_execute("SELECT pg_advisory_unlock_all()").await?;
    let standby = waiting.await??;
    // The lock is its session's, and try_lead() finds it there.
    assert_eq!(epoch(&standby).await?, 1);
    assert_eq!(try_lead(&client).await?, None);
    Ok(())
}

#[tokio::test]
async fn a_standby_holds_no_snapshot_and_leads_when_the_leader_is_gone() -> Tested {
    let (database, client) = with_queue("").await?;
    let (leader, standby) = (database.connect().await?, database.connect().await?);
    let pid: i32 = value(&leader, "SELECT pg_backend_pid()").await?;
    epoch(&leader).await?;
    let waiting =
        tokio::spawn(
            async move { standby.batch_execute("CALL pgbatch.await_lead()").await.map(|()| standby) },
        );
    until_waiting(&client, "Lock").await;
    let superuser = database.connect_as(SUPERUSER).await?;
    let held: String = value(
        &superuser,
        "SELECT format('%s %s %s', wait_event, backend_xmin, backend_xid) FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock'",
    )
    .await?;
    assert_eq!(held, "advisory  ");
    superuser.execute("SELECT pg_terminate_backend($1)", &[&pid]).await?;
    assert_eq!(epoch(&waiting.await??).await?, 2);
    Ok(())
}

#[tokio::test]
async fn a_standby_can_be_cancelled() -> Tested {
    let (database, client) = with_queue("").await?;
    let (leader, standby) = (database.connect().await?, database.connect().await?);
    epoch(&leader).await?;
    let pid: i32 = value(&standby, "SELECT pg_backend_pid()").await?;
    let waiting =
        tokio::spawn(async move { (standby.batch_execute("CALL pgbatch.await_lead()").await, standby) });
    until_waiting(&client, "Lock").await;
    cancel(&client, pid).await?;
    let (cancelled, standby) = waiting.await?;
    assert_eq!(refused(cancelled)?.code().code(), "57014");
    assert_eq!(try_lead(&standby).await?, None, "the connection goes on");
    drop(leader);
    standby.batch_execute("CALL pgbatch.await_lead()").await?;
    assert_eq!(epoch(&standby).await?, 2);
    Ok(())
}
