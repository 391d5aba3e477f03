//! retry_batch.

use pgbatch_core::run::Outcome;
use pgbatch_core::state::RunState::{Failed, Succeeded};
use tokio_postgres::Client;

use crate::support::{
    Tested, batch, claim_one, enqueue, finish, observe, outcome, refused, value, with_queue,
};

async fn retry(client: &Client, id: i64) -> Tested<i64> {
    Ok(client.query_one("SELECT pgbatch.retry_batch($1)", &[&id]).await?.get(0))
}

/// A batch of 7 items that failed for good in its first attempt, but for item 4.
async fn failed_batch(client: &Client) -> Tested<i64> {
    let id = enqueue(client, 7, ", max_attempts => 1").await?;
    for (first, last, state) in [(1, 3, Failed), (4, 4, Succeeded), (5, 7, Failed)] {
        let run = claim_one(client, (id, first, last, 1)).await?.run;
        finish(client, &[outcome(run, state)]).await?;
    }
    assert_eq!(batch(client, id).await?, "failed: 1 succeeded, 6 failed");
    Ok(id)
}

#[tokio::test]
async fn failed_items_run_again_in_ranges_of_the_queue() -> Tested {
    let (_database, client) = with_queue(", items_per_run => 2").await?;
    let id = failed_batch(&client).await?;
    assert_eq!(retry(&client, id).await?, 6);
    assert_eq!(batch(&client, id).await?, "running: 6 retrying, 1 succeeded");
    let view = observe(&client).await?;
    let ranges: Vec<_> =
        view.queues[0].retries.iter().map(|r| (r.first_item, r.last_item, r.attempt)).collect();
    assert_eq!(ranges, [(1, 2, 2), (3, 3, 2), (5, 6, 2), (7, 7, 2)]);
    for (first, last) in [(1, 2), (3, 3), (5, 6), (7, 7)] {
        let state = if first == 5 { Failed } else { Succeeded };
        let run = claim_one(&client, (id, first, last, 2)).await?.run;
        finish(&client, &[outcome(run, state)]).await?;
    }
    assert_eq!(batch(&client, id).await?, "failed: 5 succeeded, 2 failed");
    assert_eq!(retry(&client, id).await?, 2, "and once more");
    let run = claim_one(&client, (id, 5, 6, 3)).await?.run;
    assert_eq!(finish(&client, &[outcome(run, Succeeded)]).await?.len(), 1);
    assert_eq!(batch(&client, id).await?, "succeeded: 7 succeeded");
    assert_eq!(retry(&client, id).await?, 0, "nothing failed");
    assert_eq!(batch(&client, id).await?, "succeeded: 7 succeeded");
    Ok(())
}

#[tokio::test]
async fn one_cause_out_of_many_is_retried_or_single_items() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 7, ", max_attempts => 1").await?;
    for (first, last, words) in
        [(1, 3, "deadlock: process 4001"), (4, 4, "no customer 7"), (5, 5, "deadlock: process 5"), (6, 7, "")]
    {
        let run = claim_one(&client, (id, first, last, 1)).await?.run;
        let message = Some(words.to_owned()).filter(|words| !words.is_empty());
        finish(&client, &[Outcome { message, exit_code: Some(137), ..outcome(run, Failed) }]).await?;
    }
    let some = async |arguments: &str| -> Tested<(i64, String)> {
        let retried = value(&client, &format!("SELECT pgbatch.retry_batch({id}, {arguments})")).await?;
        let left = format!(
            "SELECT coalesce(string_agg(item_no::text, ' ' ORDER BY item_no), '') FROM pgbatch.items
             WHERE batch_id = {id} AND state = 'failed'"
        );
        Ok((retried, value(&client, &left).await?))
    };
    assert_eq!(some("error => 'no customer'").await?, (0, "1 2 3 4 5 6 7".to_owned()), "not the whole of it");
    assert_eq!(batch(&client, id).await?, "failed: 7 failed", "nothing is retried, so it stays as it was");
    assert_eq!(some("'{2,7}', 'deadlock: process 1'").await?, (1, "1 3 4 5 6 7".to_owned()), "both");
    assert_eq!(some("error => 'deadlock: process 0'").await?, (3, "4 6 7".to_owned()));
    assert_eq!(some("items => '{1,4}'").await?, (1, "6 7".to_owned()), "1 has not failed any more");
    assert_eq!(some("error => 'exit code 1'").await?, (2, String::new()), "in the words of the view");
    for (wrong, named) in [("8", "8"), ("0", "0"), ("NULL", "NULL")] {
        let call = format!("SELECT pgbatch.retry_batch({id}, '{{1,{wrong}}}')");
        let error = refused(client.execute(&call, &[]).await)?;
        assert_eq!(error.code().code(), "22023");
        assert_eq!(error.message(), format!("{named} is not an item of batch {id}"));
    }
    Ok(())
}

#[tokio::test]
async fn retried_items_have_as_many_attempts_as_new_ones() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 1, ", max_attempts => 2").await?;
    for round in 0..2 {
        for attempt in [2 * round + 1, 2 * round + 2] {
            assert_ne!(batch(&client, id).await?, "failed: 1 failed", "attempt {attempt}");
            let run = claim_one(&client, (id, 1, 1, attempt)).await?.run;
            finish(&client, &[outcome(run, Failed)]).await?;
        }
        assert_eq!(batch(&client, id).await?, "failed: 1 failed");
        assert_eq!(retry(&client, id).await?, 1);
    }
    Ok(())
}

#[tokio::test]
async fn an_open_batch_retries_what_failed_so_far() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 3, ", max_attempts => 1").await?;
    let run = claim_one(&client, (id, 1, 1, 1)).await?.run;
    claim_one(&client, (id, 2, 2, 1)).await?;
    finish(&client, &[outcome(run, Failed)]).await?;
    assert_eq!(batch(&client, id).await?, "running: 1 pending, 1 running, 1 failed");
    assert_eq!(retry(&client, id).await?, 1);
    assert_eq!(batch(&client, id).await?, "running: 1 pending, 1 running, 1 retrying");
    Ok(())
}

#[tokio::test]
async fn a_cancelled_batch_is_not_retried() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 1, "").await?;
    client.execute("SELECT pgbatch.cancel_batch($1)", &[&id]).await?;
    let error = refused(client.query_one("SELECT pgbatch.retry_batch($1)", &[&id]).await)?;
    assert_eq!(
        (error.code().code(), error.message()),
        ("55000", format!("batch {id} was cancelled").as_str())
    );
    Ok(())
}

#[tokio::test]
async fn a_unique_key_that_is_taken_by_now_stops_it() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 1, ", max_attempts => 1, unique_key => 'u'").await?;
    let run = claim_one(&client, (id, 1, 1, 1)).await?.run;
    finish(&client, &[outcome(run, Failed)]).await?;
    enqueue(&client, 1, ", unique_key => 'u'").await?;
    let error = refused(client.query_one("SELECT pgbatch.retry_batch($1)", &[&id]).await)?;
    assert_eq!(error.code().code(), "55000");
    assert!(error.message().contains("another open batch has its unique key 'u'"), "{error}");
    assert_eq!(batch(&client, id).await?, "failed: 1 failed");
    Ok(())
}

#[tokio::test]
async fn a_batch_of_a_dropped_queue_is_not_retried() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = failed_batch(&client).await?;
    client.batch_execute("SELECT pgbatch.drop_queue('q')").await?;
    let error = refused(client.query_one("SELECT pgbatch.retry_batch($1)", &[&id]).await)?;
    assert_eq!(error.code().code(), "42704");
    assert_eq!(value::<i32>(&client, "SELECT failed FROM pgbatch.batches").await?, 6);
    Ok(())
}

/// Neighbours that had different numbers of attempts go into different runs, and ranges never overlap.
#[tokio::test]
async fn items_with_different_numbers_of_attempts_are_retried_apart() -> Tested {
    let (_database, client) = with_queue(", items_per_run => 3").await?;
    let id = enqueue(&client, 3, ", max_attempts => 2").await?;
    let run = claim_one(&client, (id, 1, 3, 1)).await?;
    for item in [1, 3] {
        client
            .execute("SELECT pgbatch.fail_item($1, $2, $3, 'x', false)", &[&run.run, &run.token, &item])
            .await?;
    }
    finish(&client, &[outcome(run.run, Failed)]).await?;
    let run = claim_one(&client, (id, 2, 2, 2)).await?.run;
    finish(&client, &[outcome(run, Failed)]).await?;
    assert_eq!(retry(&client, id).await?, 3);
    let view = observe(&client).await?;
    let mut ranges: Vec<_> =
        view.queues[0].retries.iter().map(|r| (r.first_item, r.last_item, r.attempt)).collect();
    ranges.sort_unstable();
    assert_eq!(ranges, [(1, 1, 2), (2, 2, 3), (3, 3, 2)]);
    Ok(())
}
