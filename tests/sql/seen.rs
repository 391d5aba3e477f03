//! A session that has looked before finds what a new one finds, though it does not search again what it has seen.

use pgbatch_core::state::RunState;
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::dice::Dice;
use crate::support::{EPOCH, Tested, claim, enqueue, finish, observe, outcome, value, with_queue};

/// What observe() tells, but for the time.
async fn look(client: &Client) -> Tested<Value> {
    let mut view: Value = client.query_one(&format!("SELECT pgbatch.observe({EPOCH})"), &[]).await?.get(0);
    view["now"] = Value::Null;
    Ok(view)
}

/// What a session sees that has seen nothing.
async fn first_look(client: &Client) -> Tested<Value> {
    client.batch_execute("RESET pgbatch.seen").await?;
    look(client).await
}

/// Sessions that enqueue, each in a transaction that may stay open for a while.
struct Enqueuers {
    clients: Vec<(Client, bool)>,
}

impl Enqueuers {
    async fn step(&mut self, dice: &mut Dice) -> Tested {
        let at = usize::try_from(dice.roll(self.clients.len() as u64))?;
        let (client, open) = &mut self.clients[at];
        if !*open && dice.roll(2) == 0 {
            client.batch_execute("BEGIN").await?;
            *open = true;
        }
        let queue = dice.pick(&["q", "r", "keyed"]);
        let priority = i32::try_from(dice.roll(4))? - 1;
        let sql = match dice.roll(8) {
            0 => "SELECT pg_current_xact_id()::text".to_owned(),
            1 => format!(
                "SAVEPOINT s; SELECT pgbatch.enqueue('{queue}', priority => {priority}); ROLLBACK TO s;
                 SELECT pgbatch.enqueue('{queue}', priority => {priority})"
            ),
            2 => format!(
                "SELECT pgbatch.enqueue('{queue}', priority => {priority}, after => ARRAY[min(id)])
                 FROM pgbatch.batches WHERE state IN ('pending', 'running')"
            ),
            3 => format!("SELECT pgbatch.enqueue_query('{queue}', 'SELECT 1 FROM generate_series(1, 3)')"),
            4 => "SELECT pgbatch.retry_batch(id) FROM pgbatch.batches WHERE state = 'failed' LIMIT 1"
                .to_owned(),
            5 => {
                "SELECT pgbatch.cancel_batch(min(id)) FROM pgbatch.batches WHERE state = 'pending'".to_owned()
            }
            key => {
                format!("SELECT pgbatch.enqueue('{queue}', priority => {priority}, key => 'k{}')", key % 2)
            }
        };
        if sql.starts_with("SAVEPOINT") && !*open {
            return Ok(());
        }
        // Two of them may be in each other's way; then this one gives up.
        client.batch_execute("SET lock_timeout = '100ms'").await?;
        if client.batch_execute(&sql).await.is_err() {
            client.batch_execute("ROLLBACK").await?;
            *open = false;
        }
        if *open && dice.roll(3) == 0 {
            client.batch_execute(dice.pick(&["COMMIT", "COMMIT", "ROLLBACK"])).await?;
            *open = false;
        }
        Ok(())
    }
}

/// The dispatcher's part: it claims what it sees, and runs end.
async fn dispatch(client: &Client, dice: &mut Dice) -> Tested {
    let view = observe(client).await?;
    for queue in &view.queues {
        let fresh = queue.fresh.iter().map(|f| (f.batch, f.next_item, 1));
        let retries = queue.retries.iter().map(|r| (r.batch, r.first_item, r.attempt));
        for (batch, item, attempt) in fresh.chain(retries) {
            if dice.roll(2) == 0 {
                let item = i32::try_from(item)?;
                claim(client, &[(batch, item, item, i32::try_from(attempt)?)]).await?;
            }
        }
    }
    let ends = view.live.iter().filter(|_| dice.roll(2) == 0);
    let ends: Vec<_> = ends
        .map(|run| if run.run % 3 == 0 { RunState::Failed } else { RunState::Succeeded })
        .zip(view.live.iter().map(|run| run.run))
        .map(|(state, run)| outcome(run, state))
        .collect();
    finish(client, &ends).await?;
    Ok(())
}

#[tokio::test]
async fn it_finds_what_a_new_session_finds_whoever_commits_when() -> Tested {
    let mut fresh = 0;
    for seed in 0..3 {
        let dice = &mut Dice::new(seed);
        let (database, leader) = with_queue(", retry_backoff => '1 ms'").await?;
        let limits = "SELECT pgbatch.create_limit('both', 7);
            SELECT pgbatch.create_queue('r', sql => 'SELECT 1', limit_name => 'both');
            SELECT pgbatch.create_queue('keyed', sql => 'SELECT 1', max_per_key => 1, limit_name => 'both')";
        leader.batch_execute(limits).await?;
        let other = database.connect().await?;
        let mut enqueuers = Enqueuers { clients: Vec::new() };
        for _ in 0..3 {
            enqueuers.clients.push((database.connect().await?, false));
        }
        for step in 0..100 {
            for _ in 0..dice.roll(4) {
                enqueuers.step(dice).await?;
            }
            if dice.roll(3) == 0 {
                dispatch(&leader, dice).await?;
            }
            // The first of the two may move waiting batches on: both have their turn.
            let (seen, new) = if dice.roll(2) == 0 {
                (look(&leader).await?, first_look(&other).await?)
            } else {
                let new = first_look(&other).await?;
                (look(&leader).await?, new)
            };
            assert_eq!(seen, new, "seed {seed}, step {step}");
            fresh += seen["queues"].as_array().map_or(0, Vec::len);
        }
    }
    assert!(fresh > 200, "there was something to see: {fresh}");
    Ok(())
}

/// How many entries of indexes one look reads, those of rows that nobody sees any more included.
async fn entries_read(client: &Client) -> Tested<i64> {
    const READ: &str =
        "SELECT sum(idx_tup_read)::bigint FROM pg_stat_user_indexes WHERE schemaname = 'pgbatch'";
    client.batch_execute("SELECT pg_stat_force_next_flush()").await?;
    let before: i64 = value(client, READ).await?;
    observe(client).await?;
    client.batch_execute("SELECT pg_stat_force_next_flush()").await?;
    Ok(value::<i64>(client, READ).await? - before)
}

/// The least of three looks: after an ANALYZE, and autovacuum may do one at any time, the next look's plans are made anew, and
/// the planner itself reads an index for the ends of its values.
async fn entries_read_by_kept_plans(client: &Client) -> Tested<i64> {
    let mut least = i64::MAX;
    for _ in 0..3 {
        least = least.min(entries_read(client).await?);
    }
    Ok(least)
}

/// What was claimed stays in the indexes as long as somebody could still see it; it must not be searched each time, whatever the
/// planner knew of the tables when it chose.
#[tokio::test]
async fn a_look_does_not_pass_what_was_claimed_while_a_snapshot_is_held() -> Tested {
    for analyzed in [false, true] {
        let (database, client) = with_queue(", max_parallel => 10000, max_attempts => 1").await?;
        let analyze =
            if analyzed { "ANALYZE pgbatch.batch; ANALYZE pgbatch.run; ANALYZE pgbatch.retry" } else { "" };
        let holder = database.connect().await?;
        holder.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_current_xact_id()").await?;
        observe(&client).await?;
        client.batch_execute("SELECT pgbatch.enqueue('q') FROM generate_series(1, 3000)").await?;
        client.batch_execute(analyze).await?;
        loop {
            let view = observe(&client).await?;
            client.batch_execute(analyze).await?;
            let Some(queue) = view.queues.first().filter(|q| !q.fresh.is_empty()) else { break };
            let ranges: Vec<_> = queue.fresh.iter().map(|f| (f.batch, 1, 1, 1)).collect();
            claim(&client, &ranges).await?;
            let live = observe(&client).await?.live;
            let ends: Vec<_> = live.iter().map(|run| outcome(run.run, RunState::Succeeded)).collect();
            finish(&client, &ends).await?;
            client.batch_execute(analyze).await?;
        }
        enqueue(&client, 1, "").await?;
        let read = entries_read_by_kept_plans(&client).await?;
        assert!(read < 200, "analyzed {analyzed}: a look at one batch read {read} entries");
        client.batch_execute("RESET pgbatch.seen").await?;
        let all = entries_read(&client).await?;
        assert!(all > 3000, "the trap is there: a first look read {all} entries");
    }
    Ok(())
}

#[tokio::test]
async fn what_it_has_seen_goes_back_with_its_transaction_and_ends_with_its_lead() -> Tested {
    let (_database, client) = with_queue("").await?;
    let seen = "SELECT current_setting('pgbatch.seen', true)";
    client.batch_execute("SELECT pgbatch.try_lead()").await?;
    let batch = enqueue(&client, 1, "").await?;
    let before = look(&client).await?;
    let noted: String = value(&client, seen).await?;
    client.batch_execute("BEGIN").await?;
    claim(&client, &[(batch, 1, 1, 1)]).await?;
    look(&client).await?;
    client.batch_execute("ROLLBACK").await?;
    assert_eq!(value::<String>(&client, seen).await?, noted);
    assert_eq!(look(&client).await?, before);

    // Another leader has claimed and given back what this one has seen.
    client.batch_execute("SELECT pg_advisory_unlock_all(); SELECT pgbatch.try_lead()").await?;
    assert_eq!(look(&client).await?, before);
    let noted: Value = serde_json::from_str(&value::<String>(&client, seen).await?)?;
    assert_eq!((&noted["epoch"], &noted["fresh"]), (&json!(2), &json!({"q": {"0": batch}})));
    Ok(())
}

/// In one transaction nothing is new by its number.
#[tokio::test]
async fn it_sees_what_its_own_transaction_has_made_between_two_looks() -> Tested {
    let (_database, client) = with_queue("").await?;
    client.batch_execute("BEGIN; SELECT pg_current_xact_id()").await?;
    assert_eq!(observe(&client).await?.queues.len(), 0);
    enqueue(&client, 1, "").await?;
    assert_eq!(observe(&client).await?.queues.len(), 1);
    Ok(())
}
