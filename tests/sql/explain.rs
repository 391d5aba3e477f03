//! explain_item: every gate in words, and the same reasons as the dispatcher's plan has.

use std::collections::BTreeSet;

use pgbatch_core::plan::{CLAIMS_MAX, Plan, Reason, plan};
use pgbatch_core::snapshot::{ExecutorView, Snapshot, StoreView};
use pgbatch_core::state::RunState::{Failed, Succeeded};
use serde_json::json;
use tokio_postgres::Client;

use crate::dice::Dice;
use crate::support::{EPOCH, Tested, claim_one, enqueue, finish, observe, outcome, value, with_queue};

const GATES: &str =
    "batch not_before after paused retry max_parallel limit max_per_key max_starts order dispatcher run";

/// The closed gates of an item, each with its words: `paused: queue "q" is paused; ...`. Checks that all are listed.
async fn closed(client: &Client, batch: i64, item: i32) -> Tested<Vec<String>> {
    let rows = client.query("SELECT * FROM pgbatch.explain_item($1, $2)", &[&batch, &item]).await?;
    let gates: Vec<&str> = rows.iter().map(|row| row.get("gate")).collect();
    assert_eq!(gates.join(" "), GATES);
    let closed = rows.iter().filter(|row| !row.get::<_, bool>("open"));
    let words = |row: &tokio_postgres::Row| format!("{}: {}", row.get::<_, &str>(0), row.get::<_, &str>(2));
    assert!(rows.iter().all(|row| !row.get::<_, &str>("words").is_empty()));
    Ok(closed.map(words).collect())
}

/// A database with queue `q`, and a leader.
async fn led(arguments: &str) -> Tested<(e2e::postgres::Database, Client)> {
    let (database, client) = with_queue(arguments).await?;
    client.execute("SELECT pgbatch.try_lead()", &[]).await?;
    Ok((database, client))
}

/// Checks that exactly one gate is closed, and that it says all of these words.
async fn held(client: &Client, batch: i64, item: i32, says: &[&str]) -> Tested {
    let closed = closed(client, batch, item).await?;
    assert_eq!(closed.len(), 1, "{closed:#?}");
    for words in says {
        assert!(closed[0].contains(words), "{words:?} is not in {:?}", closed[0]);
    }
    Ok(())
}

#[tokio::test]
async fn without_a_dispatcher_it_says_what_to_do() -> Tested {
    let (database, client) = with_queue("").await?;
    let id = enqueue(&client, 1, "").await?;
    held(&client, id, 1, &["dispatcher: no dispatcher is connected", "start \"pgbatch dispatch"]).await?;
    let leader = database.connect().await?;
    leader.execute("SELECT pgbatch.try_lead()", &[]).await?;
    assert_eq!(closed(&client, id, 1).await?, Vec::<String>::new(), "nothing holds it");
    Ok(())
}

#[tokio::test]
async fn what_holds_a_whole_batch() -> Tested {
    let (_database, client) = led("").await?;
    let late = enqueue(&client, 1, ", not_before => '2999-01-02 00:00+00'").await?;
    held(&client, late, 1, &["not_before: not before 2999-01-02 00:00:00+00 (in "]).await?;
    let after = enqueue(&client, 1, &format!(", after => ARRAY[{late}]")).await?;
    held(&client, after, 1, &[&format!("after: waits until these have succeeded: batch {late} (waiting)")])
        .await?;
    client.execute("SELECT pgbatch.cancel_batch($1)", &[&late]).await?;
    let ended = closed(&client, late, 1).await?;
    assert!(ended[0].contains(": cancelled by owner") && ended[0].starts_with("batch: batch"), "{ended:?}");
    assert_eq!(ended[1], "run: it was cancelled");
    held(&client, after, 1, &[&format!("batch {late} (cancelled)")]).await?;
    observe(&client).await?;
    let hopeless = closed(&client, after, 1).await?;
    assert!(hopeless[0].ends_with(&format!(": batch {late} was cancelled")), "{hopeless:?}");
    let cancelling = enqueue(&client, 1, "").await?;
    claim_one(&client, (cancelling, 1, 1, 1)).await?;
    client.execute("SELECT pgbatch.cancel_batch($1)", &[&cancelling]).await?;
    let words = closed(&client, cancelling, 1).await?;
    assert!(
        words[0].contains("is being cancelled since") && words[0].contains("cancelled by owner"),
        "{words:?}"
    );
    Ok(())
}

#[tokio::test]
async fn what_holds_a_queue() -> Tested {
    let (_database, client) = led(", max_parallel => 5").await?;
    let id = enqueue(&client, 9, "").await?;
    client.batch_execute("SELECT pgbatch.pause_queue('q')").await?;
    held(&client, id, 1, &["paused: queue \"q\" is paused; pgbatch.resume_queue('q') lets it go on"]).await?;
    client.batch_execute("SELECT pgbatch.resume_queue('q')").await?;
    held(
        &client,
        id,
        6,
        &[&format!("order: 5 items of its queue go first: 5 of batch {id}"), "room for 5 runs"],
    )
    .await?;
    for item in 1..=5 {
        claim_one(&client, (id, item, item, 1)).await?;
    }
    held(&client, id, 6, &["max_parallel: queue \"q\" has 5 of 5 runs: q-1, q-2, q-3 and 2 more"]).await?;
    client
        .batch_execute(
            "SELECT pgbatch.alter_queue('q', max_parallel => 50, max_starts => 5, max_starts_per => '1 h')",
        )
        .await?;
    held(&client, id, 6, &["max_starts: ", "has started all of 5 runs", "next may start at ", "(in 00:59:"])
        .await?;
    client
        .batch_execute(
            "SELECT pgbatch.create_limit('licences', 5), pgbatch.create_queue('r', sql => 'SELECT 1', limit_name => 'licences'),
                 pgbatch.alter_queue('q', max_starts => 500, limit_name => 'licences')",
        )
        .await?;
    let other: i64 = value(&client, "SELECT pgbatch.enqueue('r')").await?;
    held(
        &client,
        other,
        1,
        &["limit: limit \"licences\" of 2 queues has 5 of 5 runs: q-1, q-2, q-3 and 2 more"],
    )
    .await?;
    client.batch_execute("SELECT pgbatch.alter_limit('licences', 6)").await?;
    held(&client, other, 1, &["limit: ", "queues of higher priority, or before it by name, take the rest"])
        .await?;
    Ok(())
}

#[tokio::test]
async fn what_holds_a_key() -> Tested {
    let (_database, client) = led(", max_per_key => 1").await?;
    let id = enqueue(&client, 2, ", key => 'a'").await?;
    let next = enqueue(&client, 1, ", key => 'a'").await?;
    held(&client, next, 1, &["max_per_key: key \"a\" has 0 of 1 runs; earlier items with this key go first"])
        .await?;
    let run = claim_one(&client, (id, 1, 1, 1)).await?.run;
    held(&client, id, 2, &["max_per_key: key \"a\" has 1 of 1 runs: q-1"]).await?;
    let mut failed = outcome(run, Failed);
    (failed.retry_in_ms, failed.message) = (3_600_000, Some("the disk is full".to_owned()));
    finish(&client, &[failed]).await?;
    held(
        &client,
        id,
        1,
        &["retry: attempt 2 of 3 is due at ", "(in 00:59:", "attempt 1 failed: the disk is full"],
    )
    .await?;
    let order = format!("they go in order, and item 1 of batch {id} waits for its attempt 2, due at ");
    held(&client, next, 1, &["max_per_key: key \"a\" has 0 of 1 runs; ", &order]).await?;
    Ok(())
}

#[tokio::test]
async fn what_a_run_does() -> Tested {
    let (_database, client) = led(", namespace => 'jobs'").await?;
    let id = enqueue(&client, 2, ", max_attempts => 1").await?;
    let run = claim_one(&client, (id, 1, 1, 1)).await?.run;
    held(&client, id, 1, &["run: run 1 (Job q-1 in namespace jobs) is starting since "]).await?;
    let notes =
        json!([{"run": run, "waiting": {"reason": "ImagePullBackOff", "message": "no such image: b"}}]);
    client.execute(&format!("SELECT pgbatch.note_runs({EPOCH}, $1)"), &[&notes]).await?;
    held(&client, id, 1, &["; ImagePullBackOff: no such image: b"]).await?;
    let started = json!([{"run": run, "started_at": "2026-01-02T03:04:05Z"}]);
    client.execute(&format!("SELECT pgbatch.start_runs({EPOCH}, $1)"), &[&started]).await?;
    assert_eq!(closed(&client, id, 1).await?, Vec::<String>::new());
    let words = format!("SELECT words FROM pgbatch.explain_item({id}, 1) WHERE gate = 'run'");
    let words: String = value(&client, &words).await?;
    assert!(
        words.starts_with("run 1 (Job q-1 in namespace jobs) runs since 2026-01-02 03:04:05+00 ("),
        "{words}"
    );
    let mut failed = outcome(run, Failed);
    failed.message = Some("no space left".to_owned());
    finish(&client, &[failed]).await?;
    let retry = format!(": no space left; pgbatch.retry_batch({id}) tries it again");
    held(&client, id, 1, &["run: it failed 2", ", by attempt 1, run 1 (Job q-1 in namespace jobs)", &retry])
        .await?;
    let run = claim_one(&client, (id, 2, 2, 1)).await?.run;
    finish(&client, &[outcome(run, Succeeded)]).await?;
    let words = closed(&client, id, 2).await?;
    assert!(words[0].starts_with("batch: ") && words[1].starts_with("run: it succeeded "), "{words:?}");
    Ok(())
}

#[tokio::test]
async fn it_says_which_items_a_batch_has() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 3, "").await?;
    let empty = enqueue(&client, 0, "").await?;
    let cases = [(id, "0", "22023", "1 to 3"), (id, "4", "22023", "1 to 3"), (id, "NULL", "22023", "1 to 3")];
    for (batch, item, code, hint) in
        cases.into_iter().chain([(empty, "1", "22023", "no items"), (77, "1", "42704", "lists")])
    {
        let sql = format!("SELECT * FROM pgbatch.explain_item({batch}, {item})");
        let error = crate::support::refused(client.query(&sql, &[]).await)?;
        assert_eq!(error.code().code(), code, "{error}");
        assert!(error.hint().is_some_and(|h| h.contains(hint)), "{error:?}");
    }
    Ok(())
}

/// Its cost does not grow with what is queued, and a snapshot of a busy queue does not make it slow.
#[tokio::test]
async fn it_reads_the_heads_of_a_queue_only() -> Tested {
    const ROWS_READ: &str = "SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::bigint
        FROM pg_stat_xact_user_tables WHERE schemaname = 'pgbatch'";
    let (_database, client) = led("").await?;
    client
        .batch_execute(
            "INSERT INTO pgbatch.batch (queue, state, items, has_fresh, priority, max_attempts, created_by)
             SELECT 'q', 'pending', 1, true, 0, 3, 'x' FROM generate_series(1, 20000);
             INSERT INTO pgbatch.item SELECT id, 1, '{}' FROM pgbatch.batch",
        )
        .await?;
    let last: i64 = value(&client, "SELECT max(id) FROM pgbatch.batch").await?;
    client.batch_execute("BEGIN").await?;
    let before: i64 = value(&client, ROWS_READ).await?;
    held(&client, last, 1, &["order: more than 100 items of its queue go first: 1 of batch 1, "]).await?;
    let read = value::<i64>(&client, ROWS_READ).await? - before;
    assert!(read < 2_000, "it read {read} rows");
    Ok(())
}

fn planned(store: StoreView) -> Plan {
    let local_now = store.now;
    let executor = ExecutorView { synced: true, ..ExecutorView::default() };
    plan(&Snapshot { store, executor, local_now })
}

async fn make_world(client: &Client, dice: &mut Dice) -> Tested {
    client
        .batch_execute(
            "TRUNCATE pgbatch.queue, pgbatch.batch, pgbatch.item, pgbatch.run, pgbatch.retry, pgbatch.report,
                 pgbatch.parallel_limit",
        )
        .await?;
    client.batch_execute(&format!("SELECT pgbatch.create_limit('l', {})", 1 + dice.roll(5))).await?;
    for name in ["a", "b", "c"] {
        let arguments = format!(
            "max_parallel => {}, items_per_run => {}, max_per_key => {}, max_starts => {}, max_starts_per => '1 h',
             priority => {}, limit_name => {}",
            1 + dice.roll(6),
            1 + dice.roll(3),
            dice.pick(&["NULL", "1", "1", "2"]),
            dice.pick(&["NULL", "NULL", "3", "6"]),
            dice.roll(2),
            dice.pick(&["NULL", "'l'"]),
        );
        client
            .batch_execute(&format!("SELECT pgbatch.create_queue('{name}', sql => 'x', {arguments})"))
            .await?;
        for _ in 0..dice.roll(4) {
            let enqueue = format!(
                "SELECT pgbatch.enqueue_query('{name}', 'SELECT FROM generate_series(1, {})', key => {}, priority => {})",
                1 + dice.roll(5),
                dice.pick(&["NULL", "'x'", "'y'"]),
                dice.roll(2)
            );
            client.batch_execute(&enqueue).await?;
        }
        if dice.roll(8) == 0 {
            client.batch_execute(&format!("SELECT pgbatch.pause_queue('{name}')")).await?;
        }
    }
    Ok(())
}

/// Carries out a part of the plan, and lets some of what lives end in one way or the other.
async fn go_on(client: &Client, plan: &Plan, live: &[i64], dice: &mut Dice) -> Tested {
    let claims: Vec<_> = plan.claims.iter().filter(|_| dice.roll(3) > 0).collect();
    let claims = serde_json::to_value(claims)?;
    client.execute(&format!("SELECT pgbatch.claim({EPOCH}, $1)"), &[&claims]).await?;
    let mut ends = Vec::new();
    for run in live {
        let mut end = outcome(*run, if dice.roll(3) == 0 { Succeeded } else { Failed });
        end.retry_in_ms = if dice.roll(2) == 0 { 0 } else { 3_600_000 };
        if dice.roll(2) == 0 {
            ends.push(end);
        }
    }
    finish(client, &ends).await?;
    Ok(())
}

/// The gates of which one must be closed for somebody when the plan holds a queue for this reason.
fn gates_of(reason: &Reason) -> &'static [&'static str] {
    match reason {
        Reason::Paused => &["paused"],
        Reason::AtMaxParallel { .. } => &["max_parallel", "order"],
        Reason::AtLimit { .. } => &["limit", "order"],
        Reason::AtMaxPerKey { .. } => &["max_per_key"],
        Reason::AtMaxStarts { .. } => &["max_starts", "order"],
        Reason::RetryDue { .. } => &["retry"],
        // The run is starting, and its gate says why it does not.
        Reason::Refused { .. } => &["run"],
        // What PostgreSQL cannot know; the words of an open gate say where to look.
        Reason::ExecutorNotReady | Reason::StartsUnderWay => &[],
    }
}

const EXPLAINED: &str = "
    SELECT b.queue, i.batch_id, i.item_no, array_remove(array_agg(CASE WHEN NOT e.open THEN e.gate END), NULL)
    FROM pgbatch.items i JOIN pgbatch.batches b ON b.id = i.batch_id
    CROSS JOIN LATERAL pgbatch.explain_item(i.batch_id, i.item_no) e
    WHERE i.state IN ('pending', 'retrying')
    GROUP BY 1, 2, 3";

async fn compare(client: &Client, plan: &Plan, world: &str) -> Tested {
    assert!(plan.claims.len() < CLAIMS_MAX, "or the plan is not all there is");
    let mut to_claim = BTreeSet::new();
    for claim in &plan.claims {
        to_claim.extend((claim.first_item..=claim.last_item).map(|item| (claim.batch, item)));
    }
    let mut closed = BTreeSet::new();
    for row in client.query(EXPLAINED, &[]).await? {
        let (queue, batch, item): (String, i64, i32) = (row.get(0), row.get(1), row.get(2));
        let gates: Vec<String> = row.get(3);
        let claimed = to_claim.contains(&(batch, u32::try_from(item)?));
        assert_eq!(gates.is_empty(), claimed, "item {item} of batch {batch}, {world}: {gates:?}, {plan:#?}");
        closed.extend(gates.into_iter().map(|gate| (queue.clone(), gate)));
    }
    for held in &plan.held {
        let gates = gates_of(&held.reason);
        let found = gates.iter().any(|gate| closed.contains(&(held.queue.clone(), (*gate).to_owned())));
        assert!(found, "{} of {}: none of {gates:?} is closed, {world}", held.reason, held.queue);
    }
    Ok(())
}

/// In many small worlds: an item finds all gates open if and only if the plan claims it, and whatever the plan holds back
/// finds a gate closed that says so.
#[tokio::test]
async fn it_agrees_with_the_plan() -> Tested {
    const WORLDS: u64 = 25;
    const ROUNDS: u64 = 4;
    let (_database, client) = led("").await?;
    let mut reasons: BTreeSet<&'static str> = BTreeSet::new();
    for seed in 0..WORLDS {
        let mut dice = Dice::new(seed);
        make_world(&client, &mut dice).await?;
        for round in 0..ROUNDS {
            let store = observe(&client).await?;
            let live: Vec<_> = store.live.iter().map(|run| run.run).collect();
            let plan = planned(store);
            compare(&client, &plan, &format!("world {seed}, round {round}")).await?;
            reasons.extend(plan.held.iter().flat_map(|held| gates_of(&held.reason)));
            go_on(&client, &plan, &live, &mut dice).await?;
        }
    }
    let all = ["limit", "max_parallel", "max_per_key", "max_starts", "order", "paused", "retry"];
    assert_eq!(reasons.into_iter().collect::<Vec<_>>(), all, "every reason was met");
    Ok(())
}

/// Corners that a small world seldom has: a retry that its queue's runs have become too short for, and a key of which
/// the dispatcher is shown the retry only, though a batch of higher priority has it too.
#[tokio::test]
async fn it_agrees_with_the_plan_in_its_corners() -> Tested {
    let (_database, client) = led(", items_per_run => 3, max_per_key => 1").await?;
    let long = enqueue(&client, 3, "").await?;
    let run = claim_one(&client, (long, 1, 3, 1)).await?.run;
    finish(&client, &[outcome(run, Failed)]).await?;
    client.batch_execute("SELECT pgbatch.alter_queue('q', items_per_run => 1)").await?;
    compare(&client, &planned(observe(&client).await?), "a long retry").await?;
    held(&client, long, 2, &[&format!("order: 1 items of its queue go first: 1 of batch {long}")]).await?;

    let low = enqueue(&client, 2, ", key => 'x'").await?;
    let run = claim_one(&client, (low, 1, 1, 1)).await?.run;
    let high = enqueue(&client, 1, ", key => 'x', priority => 5").await?;
    finish(&client, &[outcome(run, Failed)]).await?;
    compare(&client, &planned(observe(&client).await?), "a key with a retry").await?;
    held(&client, high, 1, &["max_per_key: key \"x\" has 0 of 1 runs; earlier items with this key"]).await?;
    Ok(())
}
