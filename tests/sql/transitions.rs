//! One table of transitions: in SQL, in Rust, in the README; what is not in it does not happen.

use std::collections::{BTreeMap, BTreeSet};

use e2e::repository;
use pgbatch_core::state::{BatchState, ItemState, RunState};
use tokio_postgres::Client;

use crate::dice::Dice;
use crate::support::{
    Tested, claim_one, database, enqueue, finish, observe, outcome, refused, value, with_queue,
};

/// What, from ("-": it is made so), to.
type Change = (String, String, String);

fn change(what: &str, from: &str, to: &str) -> Change {
    (what.to_owned(), from.to_owned(), to.to_owned())
}

async fn of_sql(client: &Client) -> Tested<BTreeMap<Change, String>> {
    let rows = client
        .query("SELECT kind, coalesce(from_state, '-'), to_state, set_by FROM pgbatch.transitions()", &[]);
    let rows = rows.await?;
    let table: BTreeMap<_, _> =
        rows.iter().map(|row| (change(row.get(0), row.get(1), row.get(2)), row.get(3))).collect();
    assert_eq!(table.len(), rows.len(), "each change once");
    Ok(table)
}

macro_rules! of_rust {
    ($what:literal, $state:ident) => {{
        let first = $state::ALL.iter().filter(|s| s.is_first()).map(|s| change($what, "-", s.word()));
        let next = $state::ALL.iter().flat_map(|from| {
            let next = $state::ALL.iter().filter(|to| from.can_become(**to));
            next.map(|to| change($what, from.word(), to.word()))
        });
        first.chain(next).collect::<Vec<_>>()
    }};
}

fn of_readme() -> Tested<BTreeMap<Change, String>> {
    let text = std::fs::read_to_string(repository().join("README.md"))?;
    let section = text.split("\n## States\n").nth(1).and_then(|rest| rest.split("\n## ").next());
    let rows = section.ok_or("no section States")?.lines().filter(|line| line.starts_with("| ")).skip(1);
    let mut table = BTreeMap::new();
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [what, from, to, set_by] = cells.as_slice() else { return Err(row.into()) };
        for (from, to) in from.split(", ").flat_map(|from| to.split(", ").map(move |to| (from, to))) {
            let twice = table.insert(change(what, from, to), (*set_by).to_owned());
            assert_eq!(twice, None, "{row}");
        }
    }
    Ok(table)
}

#[tokio::test]
async fn sql_rust_and_readme_have_one_table() -> Tested {
    let sql = of_sql(&database().await?.connect().await?).await?;
    let rust: BTreeSet<_> =
        [of_rust!("batch", BatchState), of_rust!("item", ItemState), of_rust!("run", RunState)]
            .into_iter()
            .flatten()
            .collect();
    assert_eq!(sql.keys().cloned().collect::<BTreeSet<_>>(), rust);
    assert_eq!(sql, of_readme()?);
    Ok(())
}

#[tokio::test]
async fn who_sets_a_state_is_a_function() -> Tested {
    let client = database().await?.connect().await?;
    for set_by in of_sql(&client).await?.values() {
        for function in set_by.split(", ") {
            let there = format!(
                "SELECT EXISTS (SELECT FROM pg_proc WHERE pronamespace = 'pgbatch'::regnamespace AND proname = '{function}')"
            );
            assert!(value::<bool>(&client, &there).await?, "{function}");
        }
    }
    Ok(())
}

/// What else a row in that state must have: its constraints are not what is to refuse the change here.
fn consistent_batch(state: BatchState) -> String {
    let end = if state.is_final() { "now(), now(), 0, 0, 0" } else { "NULL, NULL, NULL, NULL, NULL" };
    format!("'{state}', {end}, now()")
}

fn consistent_run(state: RunState) -> String {
    let end = if state.is_final() { "now(), 1, 0" } else { "NULL, NULL, NULL" };
    format!("'{state}', {end}")
}

async fn try_update(
    client: &Client,
    update: &str,
    what: &str,
    from: &str,
    to: &str,
    allowed: bool,
) -> Tested {
    client.batch_execute("BEGIN").await?;
    let result = client.batch_execute(update).await;
    client.batch_execute("ROLLBACK").await?;
    if allowed {
        return Ok(result.map_err(|e| format!("{what} {from} -> {to}: {e:?}"))?);
    }
    let error = refused(result)?;
    assert_eq!(error.code().code(), "23514", "{from} -> {to}: {error}");
    assert_eq!(error.message(), format!("{what} 1 is {from} and cannot become {to}"));
    assert!(error.hint().is_some_and(|hint| hint.starts_with("pgbatch.transitions() lists")));
    Ok(())
}

#[tokio::test]
async fn no_batch_changes_in_another_way() -> Tested {
    const COLUMNS: &str = "state, finished_at, expires_at, succeeded, failed, cancelled, cancel_requested_at";
    for from in BatchState::ALL {
        let client = database().await?.connect().await?;
        let insert = format!(
            "INSERT INTO pgbatch.batch (queue, items, has_fresh, priority, max_attempts, created_by, {COLUMNS})
             VALUES ('q', 0, false, 0, 1, 'x', {})",
            consistent_batch(*from)
        );
        client.batch_execute(&insert).await?;
        for to in BatchState::ALL {
            let update = format!("UPDATE pgbatch.batch SET ({COLUMNS}) = ROW({})", consistent_batch(*to));
            let allowed = from == to || from.can_become(*to);
            try_update(&client, &update, "batch", from.word(), to.word(), allowed).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn no_run_changes_in_another_way() -> Tested {
    const COLUMNS: &str = "state, finished_at, succeeded, failed";
    for from in RunState::ALL {
        let client = database().await?.connect().await?;
        let insert = format!(
            "INSERT INTO pgbatch.run (queue, batch_id, first_item, last_item, attempt, max_attempt, {COLUMNS})
             VALUES ('q', 1, 1, 1, 1, 1, {})",
            consistent_run(*from)
        );
        client.batch_execute(&insert).await?;
        for to in RunState::ALL {
            let update = format!("UPDATE pgbatch.run SET ({COLUMNS}) = ROW({})", consistent_run(*to));
            let allowed = from == to || from.can_become(*to);
            try_update(&client, &update, "run", from.word(), to.word(), allowed).await?;
        }
    }
    Ok(())
}

/// One step of a random life.
async fn step(client: &Client, dice: &mut Dice, batches: &[i64]) -> Tested {
    let view = observe(client).await?;
    let live: Vec<i64> = view.live.iter().map(|run| run.run).collect();
    match dice.roll(12) {
        0..=3 => {
            let queue = view.queues.first();
            let fresh = queue.into_iter().flat_map(|q| &q.fresh).map(|f| (f.batch, f.next_item, 1));
            let retries =
                queue.into_iter().flat_map(|q| &q.retries).map(|r| (r.batch, r.first_item, r.attempt));
            for (batch, item, attempt) in fresh.chain(retries) {
                let first = i32::try_from(item)?;
                let last = first + i32::try_from(dice.roll(3))?;
                crate::support::claim(client, &[(batch, first, last, i32::try_from(attempt)?)]).await?;
            }
        }
        4..=5 => {
            let sql = "SELECT pgbatch.complete_item(id, token::text, first_item) FROM pgbatch.run
                WHERE state IN ('starting', 'running') AND id % 3 = 0
                    AND NOT EXISTS (SELECT FROM pgbatch.report p WHERE p.run_id = id AND run.first_item BETWEEN p.first_item AND p.last_item)";
            client.batch_execute(sql).await?;
        }
        6 => {
            let sql = "SELECT pgbatch.fail_item(id, token::text, last_item, 'x', id % 2 = 0) FROM pgbatch.run
                WHERE state IN ('starting', 'running')
                    AND NOT EXISTS (SELECT FROM pgbatch.report p WHERE p.run_id = id AND run.last_item BETWEEN p.first_item AND p.last_item)";
            client.batch_execute(sql).await?;
        }
        7..=9 => {
            let ends = live.iter().map(|run| {
                let all = [RunState::Failed, RunState::Succeeded, RunState::Lost, RunState::Cancelled];
                outcome(*run, all[usize::try_from(dice.roll(4)).unwrap_or(0)])
            });
            finish(client, &ends.collect::<Vec<_>>()).await?;
        }
        10 => {
            // Refused for some: that is theirs to test.
            for batch in batches {
                let _ = client.execute("SELECT pgbatch.retry_batch($1)", &[batch]).await;
            }
        }
        _ if dice.roll(3) == 0 => {
            let batch = batches[usize::try_from(dice.roll(batches.len() as u64))?];
            client.execute("SELECT pgbatch.cancel_batch($1)", &[&batch]).await?;
        }
        _ => {}
    }
    Ok(())
}

async fn states_of(client: &Client) -> Tested<BTreeMap<(String, String), String>> {
    let sql = "SELECT 'item', concat_ws('/', batch_id, item_no), state FROM pgbatch.items
        UNION ALL SELECT 'batch', id::text, state FROM pgbatch.batches
        UNION ALL SELECT 'run', id::text, state FROM pgbatch.runs";
    let rows = client.query(sql, &[]).await?;
    Ok(rows.iter().map(|row| ((row.get(0), row.get(1)), row.get(2))).collect())
}

/// Items have no state of their own to be guarded: it follows from their runs. So random lives are recorded: whatever
/// happens to an item is in the table, and all of the table happens.
#[tokio::test]
async fn random_lives_are_of_the_table_and_need_all_of_it() -> Tested {
    const LIVES: u64 = 20;
    const STEPS: u64 = 25;
    let (_database, client) = with_queue("").await?;
    // Compiling a look at a handful of rows takes longer than the look.
    client.batch_execute("SET jit = off").await?;
    let table: BTreeSet<_> = of_sql(&client).await?.into_keys().collect();
    let mut seen = BTreeSet::new();
    for seed in 0..LIVES {
        let mut dice = Dice::new(seed);
        let first = enqueue(&client, 4, ", max_attempts => 2").await?;
        let second = enqueue(&client, 2, ", max_attempts => 1").await?;
        let after = enqueue(&client, 1, &format!(", after => ARRAY[{second}]")).await?;
        let empty = enqueue(&client, 0, "").await?;
        let batches = [first, second, after, empty];
        let mut before = states_of(&client).await?;
        for _ in 0..STEPS {
            step(&client, &mut dice, &batches).await?;
            let now = states_of(&client).await?;
            for (which, to) in &now {
                let from = before.get(which).map_or("-", String::as_str);
                let made = change(&which.0, from, to);
                if from != to {
                    // A look may move a batch twice, and its trigger guards it.
                    assert!(which.0 == "batch" || table.contains(&made), "life {seed}: {which:?} {made:?}");
                    seen.insert(made);
                }
            }
            before = now;
        }
        client
            .batch_execute("TRUNCATE pgbatch.batch, pgbatch.item, pgbatch.run, pgbatch.retry, pgbatch.report")
            .await?;
    }
    let items: BTreeSet<_> = table.iter().filter(|(what, from, _)| what == "item" && from != "-").collect();
    let missing: Vec<_> = items.into_iter().filter(|change| !seen.contains(*change)).collect();
    assert!(missing.is_empty(), "never seen: {missing:?}");
    Ok(())
}

/// A run that starts is the one change that the random lives leave out.
#[tokio::test]
async fn a_started_run_is_refused_its_beginning() -> Tested {
    let (_database, client) = with_queue("").await?;
    let id = enqueue(&client, 1, "").await?;
    let run = claim_one(&client, (id, 1, 1, 1)).await?.run;
    let started = serde_json::json!([{"run": run, "started_at": "2026-01-01T00:00:00Z"}]);
    client.execute("SELECT pgbatch.start_runs(0, $1)", &[&started]).await?;
    let error = refused(client.batch_execute("UPDATE pgbatch.run SET state = 'starting'").await)?;
    assert_eq!(error.message(), format!("run {run} is running and cannot become starting"));
    Ok(())
}
