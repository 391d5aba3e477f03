//! What pages are made of: the views' numbers at a cost that has a limit, and what they say where the limit was reached.

use e2e::postgres::SUPERUSER;
use pgbatch_core::state::RunState::{Failed, Succeeded};
use tokio_postgres::Client;

use crate::support::{Tested, claim_one, enqueue, finish, outcome, value, with_queue};

/// Batches in every state that there is: items of 1 running, retrying, failed, succeeded and pending; 2 waits, 3 is paused away, 4
/// succeeded, 5 is cancelled.
async fn all_kinds(client: &Client) -> Tested {
    let id = enqueue(client, 9, ", label => 'Nightly 7'").await?;
    client.batch_execute("UPDATE pgbatch.batch SET max_attempts = 2").await?;
    for (item, state) in [(1, Succeeded), (2, Failed), (3, Failed), (4, Failed)] {
        let mut ended = outcome(claim_one(client, (id, item, item, 1)).await?.run, state);
        ended.message = Some(format!("no {}", item * 100));
        finish(client, &[ended]).await?;
    }
    client.batch_execute("UPDATE pgbatch.retry SET due_at = now()").await?;
    let mut ended = outcome(claim_one(client, (id, 2, 2, 2)).await?.run, Failed);
    ended.message = Some("another cause".to_owned());
    finish(client, &[ended]).await?;
    claim_one(client, (id, 5, 6, 1)).await?;
    enqueue(client, 2, ", not_before => now() + interval '1 day'").await?;
    enqueue(client, 3, "").await?;
    let id = enqueue(client, 1, "").await?;
    finish(client, &[outcome(claim_one(client, (id, 1, 1, 1)).await?.run, Succeeded)]).await?;
    let id = enqueue(client, 4, "").await?;
    Ok(client.execute("SELECT pgbatch.cancel_batch($1)", &[&id]).await.map(drop)?)
}

/// Rows that are in one query and not in the other.
async fn difference(client: &Client, one: &str, other: &str) -> Tested<Vec<String>> {
    let sql = format!("SELECT t::text FROM (({one} EXCEPT {other}) UNION ALL ({other} EXCEPT {one})) t");
    Ok(client.query(&sql, &[]).await?.iter().map(|row| row.get(0)).collect())
}

const BATCH: &str = "id, queue, label, state, items, pending, running, retrying, succeeded, failed, cancelled, priority, key, \
    unique_key, not_before, deadline, after, max_attempts, created_at, created_by, started_at, finished_at, cancel_requested_at, cancel_reason";

#[tokio::test]
async fn peeks_have_what_the_views_have() -> Tested {
    let (_database, client) = with_queue("").await?;
    client.batch_execute("SELECT pgbatch.create_queue('empty', sql => 'SELECT 1')").await?;
    all_kinds(&client).await?;
    let progress: String = value(
        &client,
        "SELECT concat_ws(' ', pending, running, retrying, succeeded, failed) FROM pgbatch.peek_batches('{1}')",
    )
    .await?;
    assert_eq!(progress, "3 2 2 1 1", "the batch has items in every state");
    let peek = format!("SELECT {BATCH} FROM pgbatch.peek_batches('{{1,2,3,4,5,6}}') WHERE is_exact");
    let view = format!("SELECT {BATCH} FROM pgbatch.batches");
    assert_eq!(difference(&client, &peek, &view).await?, [""; 0]);
    let columns = "name, paused, max_parallel, pending, running, retrying, failed, oldest_pending";
    let peek = format!("SELECT {columns} FROM pgbatch.peek_queues() WHERE is_exact");
    let view = format!("SELECT {columns} FROM pgbatch.queues");
    assert_eq!(difference(&client, &peek, &view).await?, [""; 0]);
    let next: String =
        value(&client, "SELECT next_batch || '/' || next_item FROM pgbatch.peek_queues() WHERE name = 'q'")
            .await?;
    assert_eq!(next, "1/7");
    Ok(())
}

/// The six counts add up to the items, whatever was not counted.
#[tokio::test]
async fn beyond_its_limit_a_peek_says_that_it_is_not_exact() -> Tested {
    let (_database, client) = with_queue("").await?;
    all_kinds(&client).await?;
    let peek = "SELECT concat_ws(' ', is_exact, pending, running, retrying, succeeded, failed, cancelled)
        FROM pgbatch.peek_batches('{1}', 1)";
    // The last attempt is looked at first: it is the one that failed. What is left is taken to have succeeded.
    assert_eq!(value::<String>(&client, peek).await?, "f 3 2 1 2 1 0");
    for _ in 0..10 {
        enqueue(&client, 1, "").await?;
    }
    let queues = "SELECT is_exact || ' ' || pending FROM pgbatch.peek_queues(1)";
    // Ten of those that can be claimed, and the one that waits.
    assert_eq!(value::<String>(&client, queues).await?, "false 16");
    Ok(())
}

#[tokio::test]
async fn batches_are_found_page_by_page_and_a_search_has_an_end() -> Tested {
    let (_database, client) = with_queue("").await?;
    all_kinds(&client).await?;
    client
        .batch_execute(
            "SELECT pgbatch.create_queue('other', sql => 'SELECT 1'); SELECT pgbatch.enqueue('other')",
        )
        .await?;
    let found = async |arguments: &str| {
        let sql = format!("SELECT concat_ws(' ', ids, looked_to) FROM pgbatch.find_batches({arguments})");
        value::<String>(&client, &sql).await
    };
    for (arguments, expected) in [
        ("", "{6,5,4,3,2,1}"),
        ("at_most => 4", "{6,5,4,3} 3"),
        ("at_most => 4, before => 3", "{2,1}"),
        ("at_most => 2, before => 3", "{2,1}"),
        ("queue => 'other'", "{6}"),
        ("states => '{succeeded,cancelled}'", "{5,4}"),
        ("label => 'nightly'", "{1}"),
        ("label => 'nightly', looked_max => 2", "{} 5"),
        ("label => 'nightly', looked_max => 2, before => 3", "{1} 1"),
        ("queue => 'none'", "{}"),
    ] {
        assert_eq!(found(arguments).await?, expected, "{arguments}");
    }
    Ok(())
}

#[tokio::test]
async fn failures_are_grouped_by_what_is_the_same_but_for_numbers() -> Tested {
    let (_database, client) = with_queue(", items_per_run => 3, max_attempts => 1").await?;
    let id = enqueue(&client, 12, "").await?;
    for (first, words) in [(1, "no row 17"), (4, "no row 4"), (7, "timed out")] {
        let mut ended = outcome(claim_one(&client, (id, first, first + 2, 1)).await?.run, Failed);
        ended.message = Some(words.to_owned());
        finish(&client, &[ended]).await?;
    }
    let run = claim_one(&client, (id, 10, 12, 1)).await?;
    client
        .execute(
            "SELECT pgbatch.fail_item($1, $2, 11, 'no row 5', false)",
            &[&run.run, &run.token.to_string()],
        )
        .await?;
    finish(&client, &[outcome(run.run, Succeeded)]).await?;
    let sql = format!(
        "SELECT string_agg(concat_ws(' ', failures, first_item, sample), '; ') FROM pgbatch.batch_errors({id})"
    );
    assert_eq!(value::<String>(&client, &sql).await?, "3 1 no row 17; 1 7 timed out");
    let bounded = format!("SELECT string_agg(sample, '; ') FROM pgbatch.batch_errors({id}, runs_max => 2)");
    assert_eq!(value::<String>(&client, &bounded).await?, "timed out; no row 5", "of the last runs");
    Ok(())
}

#[tokio::test]
async fn a_map_has_each_item_or_ranges_of_them_in_which_a_failure_shows() -> Tested {
    let (_database, client) = with_queue("").await?;
    all_kinds(&client).await?;
    let map = async |batch: i64, cells: i32| {
        let sql = format!(
            "SELECT coalesce(string_agg(first_item || '-' || last_item || ' ' || state, ', '), '') FROM pgbatch.batch_map({batch}, {cells})"
        );
        value::<String>(&client, &sql).await
    };
    let each = "1-1 succeeded, 2-2 failed, 3-3 retrying, 4-4 retrying, 5-5 running, 6-6 running, 7-7 pending, 8-8 pending, 9-9 pending";
    assert_eq!(map(1, 9).await?, each);
    assert_eq!(
        map(1, 4).await?,
        "1-3 failed, 4-6 retrying, 7-9 pending",
        "item 2 failed, and item 1 did not"
    );
    assert_eq!(map(4, 100).await?, "1-1 succeeded", "the one item of a batch");
    assert_eq!(map(99, 100).await?, "");
    Ok(())
}

#[tokio::test]
async fn one_sees_what_one_may_read_and_nothing_else() -> Tested {
    let (database, client) = with_queue("").await?;
    all_kinds(&client).await?;
    client
        .batch_execute(
            "SELECT pgbatch.create_queue('open', sql => 'SELECT 1'); SELECT pgbatch.enqueue('open');
             SELECT pgbatch.set_deadline(i, now()) FROM unnest('{1,6}'::int[]) i",
        )
        .await?;
    let superuser = database.connect_as(SUPERUSER).await?;
    let role = format!("peeker_{}", database.name);
    superuser.batch_execute(&format!("CREATE ROLE {role} LOGIN")).await?;
    client.batch_execute(&format!("SELECT pgbatch.grant('open', '{role}', 'read')")).await?;
    let peeker = database.connect_as(&role).await?;
    for (sql, expected) in [
        ("SELECT string_agg(name, ' ') FROM pgbatch.peek_queues()", "open"),
        ("SELECT ids::text FROM pgbatch.find_batches()", "{6}"),
        ("SELECT string_agg(id::text, ' ') FROM pgbatch.peek_batches('{1,4,6}')", "6"),
        ("SELECT pgbatch.find_deadlines()::text", "{6}"),
        ("SELECT count(*)::text FROM pgbatch.batch_errors(1)", "0"),
        ("SELECT count(*)::text FROM pgbatch.batch_map(1)", "0"),
        ("SELECT claimed::text FROM pgbatch.peek_progress(1, 10)", "0"),
    ] {
        assert_eq!(value::<String>(&peeker, sql).await?, expected, "{sql}");
    }
    Ok(())
}
