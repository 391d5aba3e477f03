//! Two clients at once on the same thing, each way round: the first one's transaction is open, the second one really
//! waits, and what it does when the first has ended follows from how that ended.

use std::future::Future;

use pgbatch_core::state::RunState::{Cancelled, Failed, Succeeded};
use tokio_postgres::{Client, Error};

use crate::support::{
    Tested, batch, claim, claim_one, enqueue, finish, outcome, refused, until_waiting, value,
    wait_longer_for_locks, with_queue,
};

/// Runs `second` while the transaction of `first` is open, sees that it waits, ends the first one, and returns what
/// became of the second.
async fn behind<T>(
    first: &Client,
    end: &str,
    watcher: &Client,
    second: impl Future<Output = T>,
) -> Tested<T> {
    let (result, ended) = tokio::join!(second, async {
        until_waiting(watcher, "Lock").await;
        first.batch_execute(end).await
    });
    ended?;
    Ok(result)
}

struct Race {
    _database: e2e::postgres::Database,
    first: Client,
    second: Client,
    watcher: Client,
}

/// Two clients and one who looks on, in a database with queue `q`.
async fn race(arguments: &str) -> Tested<Race> {
    let (database, watcher) = with_queue(arguments).await?;
    let (first, second) = (database.connect().await?, database.connect().await?);
    wait_longer_for_locks(&watcher).await?;
    Ok(Race { _database: database, first, second, watcher })
}

impl Race {
    /// The first one's statement is in an open transaction; the second one's waits for the end of that.
    async fn run(&self, first: &str, end: &str, second: &str) -> Tested<Result<(), Error>> {
        self.first.batch_execute(&format!("BEGIN; {first}")).await?;
        behind(&self.first, end, &self.watcher, self.second.batch_execute(second)).await
    }

    /// As [`Race::run`], for a second one that is refused: SQLSTATE and message.
    async fn refused(&self, first: &str, end: &str, second: &str) -> Tested<(String, String)> {
        let error = refused(self.run(first, end, second).await?)?;
        Ok((error.code().code().to_owned(), error.message().to_owned()))
    }
}

#[tokio::test]
async fn a_finish_behind_a_cancel_ends_the_batch_as_cancelled() -> Tested {
    for (end, expected) in
        [("COMMIT", "cancelled: 1 succeeded, 1 cancelled"), ("ROLLBACK", "running: 1 pending, 1 succeeded")]
    {
        let r = race("").await?;
        let id = enqueue(&r.watcher, 2, "").await?;
        let ends = [outcome(claim_one(&r.watcher, (id, 1, 1, 1)).await?.run, Succeeded)];
        r.first.batch_execute(&format!("BEGIN; SELECT pgbatch.cancel_batch({id})")).await?;
        behind(&r.first, end, &r.watcher, finish(&r.second, &ends)).await??;
        assert_eq!(batch(&r.watcher, id).await?, expected);
    }
    Ok(())
}

#[tokio::test]
async fn a_cancel_behind_a_finish_finds_the_batch_ended() -> Tested {
    for (end, expected) in [("COMMIT", "succeeded: 1 succeeded"), ("ROLLBACK", "cancelled: 1 cancelled")] {
        let r = race("").await?;
        let id = enqueue(&r.watcher, 1, "").await?;
        let run = claim_one(&r.watcher, (id, 1, 1, 1)).await?.run;
        r.first.batch_execute("BEGIN").await?;
        assert_eq!(finish(&r.first, &[outcome(run, Succeeded)]).await?.len(), 1);
        let cancel = format!("SELECT pgbatch.cancel_batch({id})");
        behind(&r.first, end, &r.watcher, r.second.batch_execute(&cancel)).await??;
        finish(&r.second, &[outcome(run, Cancelled)]).await?;
        assert_eq!(batch(&r.watcher, id).await?, expected);
    }
    Ok(())
}

/// A batch whose first item failed for good, and whose second one no run has had.
async fn half_failed(client: &Client) -> Tested<i64> {
    let id = enqueue(client, 2, ", max_attempts => 1").await?;
    let run = claim_one(client, (id, 1, 1, 1)).await?.run;
    finish(client, &[outcome(run, Failed)]).await?;
    assert_eq!(batch(client, id).await?, "running: 1 pending, 1 failed");
    Ok(id)
}

#[tokio::test]
async fn a_claim_behind_a_retry_takes_its_own_items() -> Tested {
    let r = race("").await?;
    let id = half_failed(&r.watcher).await?;
    r.first.batch_execute(&format!("BEGIN; SELECT pgbatch.retry_batch({id})")).await?;
    let claims = [(id, 2, 2, 1), (id, 1, 1, 2)];
    behind(&r.first, "COMMIT", &r.watcher, claim(&r.second, &claims)).await??;
    claim(&r.second, &claims).await?;
    assert_eq!(batch(&r.watcher, id).await?, "running: 2 running");
    let runs: i64 = value(&r.watcher, "SELECT count(*) FROM pgbatch.runs WHERE finished_at IS NULL").await?;
    assert_eq!(runs, 2, "one each");
    Ok(())
}

#[tokio::test]
async fn a_retry_behind_a_claim_retries_what_failed() -> Tested {
    let r = race("").await?;
    let id = half_failed(&r.watcher).await?;
    r.first.batch_execute("BEGIN").await?;
    claim_one(&r.first, (id, 2, 2, 1)).await?;
    let retry = format!("SELECT pgbatch.retry_batch({id})");
    behind(&r.first, "COMMIT", &r.watcher, r.second.batch_execute(&retry)).await??;
    assert_eq!(batch(&r.watcher, id).await?, "running: 1 running, 1 retrying");
    Ok(())
}

#[tokio::test]
async fn of_two_who_retry_a_batch_one_does() -> Tested {
    let r = race("").await?;
    let id = half_failed(&r.watcher).await?;
    let retry = format!("SELECT pgbatch.retry_batch({id})");
    r.first.batch_execute(&format!("BEGIN; {retry}")).await?;
    let retried = behind(&r.first, "COMMIT", &r.watcher, value::<i64>(&r.second, &retry)).await??;
    assert_eq!(retried, 0, "the other one has");
    assert_eq!(batch(&r.watcher, id).await?, "running: 1 pending, 1 retrying");
    Ok(())
}

#[tokio::test]
async fn a_drop_behind_an_enqueue_takes_the_batch_too() -> Tested {
    const STORED: &str =
        "SELECT concat_ws(' ', (SELECT count(*) FROM pgbatch.queue), (SELECT count(*) FROM pgbatch.batch),
        (SELECT count(*) FROM pgbatch.stored_item))";
    let enqueue = "SELECT pgbatch.enqueue('q')";
    let r = race("").await?;
    let (code, message) = r.refused(enqueue, "COMMIT", "SELECT pgbatch.drop_queue('q')").await?;
    assert_eq!((code.as_str(), message.as_str()), ("55006", "queue \"q\" has 1 open batches"));
    r.run(enqueue, "COMMIT", "SELECT pgbatch.drop_queue('q', force => true)").await??;
    assert_eq!(value::<String>(&r.watcher, STORED).await?, "0 0 0");
    Ok(())
}

#[tokio::test]
async fn an_enqueue_behind_a_drop_is_refused() -> Tested {
    for sql in [
        "SELECT pgbatch.enqueue('q')",
        "SELECT pgbatch.enqueue_batch('q', '{\"{}\"}')",
        "SELECT pgbatch.enqueue_query('q', 'SELECT 1 AS a')",
    ] {
        let r = race("").await?;
        r.run("SELECT pgbatch.drop_queue('q')", "ROLLBACK", sql).await??;
        r.watcher.batch_execute("TRUNCATE pgbatch.batch, pgbatch.item").await?;
        let (code, message) = r.refused("SELECT pgbatch.drop_queue('q')", "COMMIT", sql).await?;
        assert_eq!((code.as_str(), message.as_str()), ("42704", "queue \"q\" does not exist"), "{sql}");
        assert_eq!(value::<i64>(&r.watcher, "SELECT count(*) FROM pgbatch.batch").await?, 0, "{sql}");
    }
    Ok(())
}

#[tokio::test]
async fn a_report_behind_the_end_of_its_run_is_refused() -> Tested {
    for (end, state) in [("COMMIT", "retrying"), ("ROLLBACK", "succeeded")] {
        let r = race("").await?;
        let id = enqueue(&r.watcher, 1, "").await?;
        let run = claim_one(&r.watcher, (id, 1, 1, 1)).await?;
        r.first.batch_execute("BEGIN").await?;
        finish(&r.first, &[outcome(run.run, Failed)]).await?;
        let report = format!("SELECT pgbatch.complete_item({}, '{}', 1)", run.run, run.token);
        let reported = behind(&r.first, end, &r.watcher, r.second.batch_execute(&report)).await?;
        if end == "COMMIT" {
            let error = refused(reported)?;
            assert_eq!(error.message(), format!("run {} is over or the token is wrong", run.run));
        } else {
            reported?;
        }
        let batch = batch(&r.watcher, id).await?;
        assert_eq!(batch, format!("running: 1 {state}"));
    }
    Ok(())
}

/// An ended batch whose time is over.
async fn expired(client: &Client) -> Tested<i64> {
    let id = enqueue(client, 1, "").await?;
    let run = claim_one(client, (id, 1, 1, 1)).await?.run;
    finish(client, &[outcome(run, Succeeded)]).await?;
    client.execute("UPDATE pgbatch.batch SET expires_at = now() WHERE id = $1", &[&id]).await?;
    Ok(id)
}

const PRUNE: &str = "SELECT pgbatch.prune((SELECT epoch FROM pgbatch.installation))";

#[tokio::test]
async fn a_prune_beside_an_enqueue_after_its_batch_leaves_that() -> Tested {
    let r = race("").await?;
    let id = expired(&r.watcher).await?;
    r.first.batch_execute("BEGIN").await?;
    let after = enqueue(&r.first, 1, &format!(", after => ARRAY[{id}]")).await?;
    // It does not wait for people, and takes what is free.
    r.second.batch_execute(&format!("SET statement_timeout = '20 s'; {PRUNE}")).await?;
    r.first.batch_execute("COMMIT").await?;
    r.second.batch_execute(PRUNE).await?;
    assert_eq!(batch(&r.watcher, id).await?, "succeeded: 1 succeeded", "it is wanted");
    crate::support::observe(&r.watcher).await?;
    assert_eq!(batch(&r.watcher, after).await?, "pending: 1 pending");
    Ok(())
}

#[tokio::test]
async fn an_enqueue_behind_a_prune_of_what_it_comes_after_is_refused() -> Tested {
    let r = race("").await?;
    let id = expired(&r.watcher).await?;
    let enqueue = format!("SELECT pgbatch.enqueue('q', after => ARRAY[{id}])");
    r.run(PRUNE, "ROLLBACK", &enqueue).await??;
    r.watcher.batch_execute("DELETE FROM pgbatch.batch WHERE state = 'waiting'").await?;
    let (code, message) = r.refused(PRUNE, "COMMIT", &enqueue).await?;
    assert_eq!((code.as_str(), message), ("42704", format!("batch {id} does not exist")));
    Ok(())
}

#[tokio::test]
async fn a_limit_is_not_dropped_under_a_queue_that_comes_to_name_it() -> Tested {
    const DROP: &str = "SELECT pgbatch.drop_limit('l')";
    let names = [
        "SELECT pgbatch.create_queue('r', sql => 'SELECT 1', limit_name => 'l')",
        "SELECT pgbatch.alter_queue('q', limit_name => 'l')",
    ];
    for (name, user) in names.into_iter().zip(["r", "q"]) {
        let r = race("").await?;
        r.watcher.batch_execute("SELECT pgbatch.create_limit('l', 1)").await?;
        let (code, message) = r.refused(name, "COMMIT", DROP).await?;
        assert_eq!((code.as_str(), message), ("55006", format!("limit \"l\" is used by \"{user}\"")));

        let r = race("").await?;
        r.watcher.batch_execute("SELECT pgbatch.create_limit('l', 1)").await?;
        let (code, message) = r.refused(DROP, "COMMIT", name).await?;
        assert_eq!((code.as_str(), message.as_str()), ("42704", "limit \"l\" does not exist"));
        assert_eq!(value::<i64>(&r.watcher, "SELECT count(*) FROM pgbatch.queue").await?, 1);
    }
    Ok(())
}

#[tokio::test]
async fn a_limit_is_altered_or_dropped_one_after_the_other() -> Tested {
    const ALTER: &str = "SELECT pgbatch.alter_limit('l', 7)";
    const DROP: &str = "SELECT pgbatch.drop_limit('l')";
    let r = race("").await?;
    r.watcher.batch_execute("SELECT pgbatch.create_limit('l', 1)").await?;
    // A new queue that names it waits for nobody who alters it.
    r.first.batch_execute(&format!("BEGIN; {ALTER}")).await?;
    r.second
        .batch_execute("SET statement_timeout = '20 s'; SELECT pgbatch.create_queue('r', sql => 'x', limit_name => 'l'); RESET statement_timeout")
        .await?;
    r.first.batch_execute("COMMIT; SELECT pgbatch.drop_queue('r')").await?;
    r.run(ALTER, "COMMIT", DROP).await??;
    r.watcher.batch_execute("SELECT pgbatch.create_limit('l', 1)").await?;
    let (code, message) = r.refused(DROP, "COMMIT", ALTER).await?;
    assert_eq!((code.as_str(), message.as_str()), ("42704", "limit \"l\" does not exist"));
    Ok(())
}

#[tokio::test]
async fn what_a_savepoint_takes_back_was_never_enqueued() -> Tested {
    let r = race("").await?;
    r.first
        .batch_execute(
            "BEGIN; SELECT pgbatch.enqueue('q', label => 'kept');
             SAVEPOINT s; SELECT pgbatch.enqueue('q', unique_key => 'u'); ROLLBACK TO s; COMMIT",
        )
        .await?;
    r.first
        .batch_execute(
            "DO $$ BEGIN PERFORM pgbatch.enqueue('q'); RAISE 'no'; EXCEPTION WHEN raise_exception THEN NULL; END $$",
        )
        .await?;
    let labels: String = value(&r.watcher, "SELECT string_agg(label, ' ') FROM pgbatch.batches").await?;
    assert_eq!(labels, "kept");
    assert_eq!(value::<i64>(&r.watcher, "SELECT count(*) FROM pgbatch.stored_item").await?, 1);
    let id: i64 = value(&r.watcher, "SELECT pgbatch.enqueue('q', unique_key => 'u')").await?;
    assert_eq!(batch(&r.watcher, id).await?, "pending: 1 pending", "the key was free");
    Ok(())
}

/// A caller whose transaction sees the past: it enqueues like any other, and whatever has changed since is refused in the
/// way that such callers are used to.
#[tokio::test]
async fn callers_with_an_old_snapshot_enqueue_and_are_told_to_retry_the_rest() -> Tested {
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let r = race("").await?;
        let (moved, still) = (half_failed(&r.watcher).await?, half_failed(&r.watcher).await?);
        let begin = format!("BEGIN ISOLATION LEVEL {level}; SELECT FROM pgbatch.batches");
        for call in [
            format!("cancel_batch({moved})"),
            format!("retry_batch({moved})"),
            "enqueue('q', unique_key => 'u')".to_owned(),
            "pause_queue('q')".to_owned(),
        ] {
            r.first.batch_execute(&begin).await?;
            r.first.batch_execute("SELECT pgbatch.enqueue('q', label => 'a')").await?;
            let change = format!(
                "UPDATE pgbatch.batch SET label = 'b' WHERE id = {moved}; SELECT pgbatch.resume_queue('q');
                 SELECT pgbatch.enqueue('q', unique_key => 'u')"
            );
            r.second.batch_execute(&change).await?;
            let error = refused(r.first.batch_execute(&format!("SELECT pgbatch.{call}")).await)?;
            assert_eq!(error.code().code(), "40001", "{level}, {call}: {error}");
            r.first.batch_execute("ROLLBACK").await?;
            r.second.batch_execute("DELETE FROM pgbatch.batch WHERE unique_key = 'u'").await?;
        }
        r.first
            .batch_execute(&format!(
                "{begin}; SELECT pgbatch.retry_batch({still}), pgbatch.enqueue('q', unique_key => 'v'),
                     pgbatch.enqueue('q', after => ARRAY[{still}]); SELECT pgbatch.cancel_batch({still}); COMMIT"
            ))
            .await?;
        assert_eq!(batch(&r.watcher, still).await?, "cancelled: 2 cancelled");
        assert_eq!(batch(&r.watcher, moved).await?, "running: 1 pending, 1 failed", "untouched");
    }
    Ok(())
}

/// At the strictest level, enqueuers disturb each other no more than others do: they read nothing that others write.
/// (enqueue_query() does read its own batch again, so there PostgreSQL may ask for a retry.)
#[tokio::test]
async fn serializable_enqueuers_at_once_all_commit() -> Tested {
    let r = race("").await?;
    for client in [&r.first, &r.second] {
        client.batch_execute("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT pgbatch.enqueue('q')").await?;
    }
    for client in [&r.second, &r.first] {
        client.batch_execute("SELECT pgbatch.enqueue_batch('q', '{\"{}\"}')").await?;
    }
    for client in [&r.first, &r.second] {
        client.batch_execute("COMMIT").await?;
    }
    assert_eq!(value::<i64>(&r.watcher, "SELECT sum(pending)::bigint FROM pgbatch.batches").await?, 4);
    Ok(())
}
