//! deploy/recipes: each file is run by psql, as a user pastes it, and does what it promises.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use e2e::postgres::{Database, OWNER, Server};
use pgbatch_core::plan::plan;
use pgbatch_core::run::RunSpec;
use pgbatch_core::snapshot::{ExecutorView, Snapshot};
use pgbatch_core::state::RunState::{Failed, Succeeded};
use serde_json::{Value, json};
use tokio_postgres::Client;
use tokio_postgres::types::{Json, Type};

use crate::support::{EPOCH, Tested, batch, database, finish, observe, outcome, value};

/// A test for each file of the folder, named as the file is.
macro_rules! recipes {
    ($($name:ident),* $(,)?) => {
        const TESTED: &[&str] = &[$(stringify!($name)),*];
        $(
            #[tokio::test]
            async fn $name() -> Tested {
                promise::$name().await
            }
        )*
    };
}

recipes!(
    backfill,
    dead_letters,
    fan_out_fan_in,
    from_a_trigger,
    from_pg_cron,
    idempotent_enqueue,
    limits,
    nightly_chain,
    serial_per_tenant,
);

#[test]
fn every_recipe_is_tested_and_listed() -> Tested {
    let folder = e2e::repository().join("deploy/recipes");
    let listed = std::fs::read_to_string(folder.join("README.md"))?;
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(&folder)? {
        let file = entry?.file_name().into_string().map_err(|name| format!("{name:?}"))?;
        if file == "README.md" {
            continue;
        }
        assert!(listed.contains(&format!("[{file}]({file})")), "{file} is not in the README");
        found.insert(file);
    }
    let tested: BTreeSet<String> = TESTED.iter().map(|name| format!("{name}.sql")).collect();
    assert_eq!(found, tested);
    Ok(())
}

/// A database after a recipe, which psql has run after these statements.
async fn cooked(recipe: &str, before: &str) -> Tested<(Database, Client)> {
    let database = database().await?;
    let client = database.connect().await?;
    client.batch_execute(before).await?;
    let (host, port) = database.socket();
    let output = Command::new(Server::programs()?.join("psql"))
        .args([
            "--no-psqlrc",
            "--quiet",
            "--set=ON_ERROR_STOP=1",
            "--username",
            OWNER,
            "--dbname",
            &database.name,
            "--host",
        ])
        .arg(host)
        .args(["--port", &port.to_string(), "--file"])
        .arg(e2e::repository().join(format!("deploy/recipes/{recipe}.sql")))
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.is_empty(), "{recipe}: {}: {said}", output.status);
    Ok((database, client))
}

/// What a dispatcher claims now, claimed: in words, `ship {"id": 2}`, and the runs.
async fn carry_out(client: &Client) -> Tested<(Vec<String>, Vec<RunSpec>)> {
    let store = observe(client).await?;
    let executor = ExecutorView { synced: true, ..ExecutorView::default() };
    let claims = serde_json::to_value(plan(&Snapshot { local_now: store.now, store, executor }).claims)?;
    let rows = client.query(&format!("SELECT pgbatch.claim({EPOCH}, $1)"), &[&claims]).await?;
    let runs: Vec<RunSpec> =
        rows.iter().map(|row| Ok(row.try_get::<_, Json<RunSpec>>(0)?.0)).collect::<Tested<_>>()?;
    let mut words = Vec::new();
    for run in &runs {
        let sql = "SELECT string_agg(item::text, ' ' ORDER BY item_no) FROM pgbatch.items WHERE run_id = $1";
        let items: String = client.query_one(sql, &[&run.run]).await?.get(0);
        words.push(format!("{} {items}", run.queue));
    }
    words.sort();
    Ok((words, runs))
}

/// What the statement of a run of SQL returns. As in `pgbatch run-sql` its parameter is a jsonb.
async fn run_sql(client: &Client, run: &RunSpec) -> Tested<Value> {
    let sql = "SELECT item, statement FROM pgbatch.run_statement($1, $2)";
    let row = client.query_one(sql, &[&run.run, &run.token]).await?;
    let (item, statement): (Value, String) = (row.get(0), row.get(1));
    let statement = client.prepare_typed(&statement, &[Type::JSONB]).await?;
    Ok(client.query_one(&statement, &[&item]).await?.get(0))
}

async fn succeed(client: &Client, runs: &[RunSpec]) -> Tested {
    let outcomes: Vec<_> = runs.iter().map(|run| outcome(run.run, Succeeded)).collect();
    finish(client, &outcomes).await.map(drop)
}

/// Carries out and lets succeed, until there is nothing more: what each round claimed.
async fn rounds(client: &Client) -> Tested<Vec<Vec<String>>> {
    let mut rounds = Vec::new();
    loop {
        let (words, runs) = carry_out(client).await?;
        if runs.is_empty() {
            return Ok(rounds);
        }
        rounds.push(words);
        succeed(client, &runs).await?;
    }
}

async fn states(client: &Client) -> Tested<String> {
    value(
        client,
        "SELECT coalesce(string_agg(queue || ' ' || state, ', ' ORDER BY id), '') FROM pgbatch.batches",
    )
    .await
}

mod promise {
    use super::*;

    pub(super) async fn nightly_chain() -> Tested {
        let (_database, client) = cooked("nightly_chain", "").await?;
        let two_nights = "SELECT pgbatch.backfill('nightly', '2026-01-01', '2026-01-03')";
        assert_eq!(value::<i32>(&client, two_nights).await?, 2);
        let (claimed, starts) = carry_out(&client).await?;
        let night = |day| format!("{{\"scheduled_for\": \"2026-01-0{day}T01:30:00Z\"}}");
        assert_eq!(claimed, [1, 2].map(|day| format!("chains {}", night(day))));
        let mut chains = Vec::new();
        for start in &starts {
            chains.push(run_sql(&client, start).await?);
        }
        succeed(&client, &starts).await?;

        let (claimed, loads) = carry_out(&client).await?;
        assert_eq!(claimed, [1, 2].map(|day| format!("load {}", night(day))), "the rest waits");
        // The second night's load fails for good.
        let of = |chain: &Value, step: &str| chain[step].as_i64().ok_or("no step");
        let bad = of(&chains[1], "load")?;
        for attempt in 1..=3 {
            let run = match attempt {
                1 => loads.iter().find(|run| run.batch == bad).ok_or("not claimed")?.run,
                _ => carry_out(&client).await?.1.first().ok_or("no retry")?.run,
            };
            finish(&client, &[outcome(run, Failed)]).await?;
        }
        let good: Vec<_> = loads.into_iter().filter(|run| run.batch != bad).collect();
        succeed(&client, &good).await?;
        let expected = [
            vec!["sums {\"region\": \"north\"}".to_owned(), "sums {\"region\": \"south\"}".to_owned()],
            vec![format!("mail {}", night(1))],
        ];
        assert_eq!(rounds(&client).await?, expected);
        for step in ["sums", "mail"] {
            let of_bad = of(&chains[1], step)?;
            assert!(batch(&client, of_bad).await?.starts_with("cancelled"), "{step}");
            let why = format!("SELECT cancel_reason FROM pgbatch.batches WHERE id = {of_bad}");
            assert!(!value::<String>(&client, &why).await?.is_empty());
            assert!(batch(&client, of(&chains[0], step)?).await?.starts_with("succeeded"), "{step}");
        }
        Ok(())
    }

    pub(super) async fn fan_out_fan_in() -> Tested {
        let (_database, client) = cooked("fan_out_fan_in", "").await?;
        let (claimed, parts) = carry_out(&client).await?;
        let part = |(id, name)| format!("count-words {{\"id\": {id}, \"name\": \"{name}\"}}");
        assert_eq!(claimed, [(1, "a.txt"), (2, "b.txt"), (3, "c.txt")].map(part));
        for (part, words) in parts.iter().zip([10, 200, 3000]) {
            assert_eq!(
                states(&client).await?,
                "count-words running, add-up waiting",
                "until all have succeeded"
            );
            let mut done = outcome(part.run, Succeeded);
            done.result = Some(json!({"words": words}));
            finish(&client, &[done]).await?;
        }
        let (claimed, total) = carry_out(&client).await?;
        assert_eq!(claimed, ["add-up {\"of\": 1}"]);
        let added = run_sql(&client, &total[0]).await?;
        assert_eq!(added, json!({"words": 3210}));
        Ok(())
    }

    pub(super) async fn serial_per_tenant() -> Tested {
        let (database, client) = cooked("serial_per_tenant", "").await?;
        let (claimed, runs) = carry_out(&client).await?;
        assert_eq!(claimed, ["invoices {\"number\": 1}", "invoices {\"number\": 3}"], "one of each tenant");
        // Anna's first waits for its retry, an hour, and so does her second.
        let of = |number: usize| &runs[number];
        let (anna, bert) = if of(0).batch == 1 { (of(0), of(1)) } else { (of(1), of(0)) };
        let mut failed = outcome(anna.run, Failed);
        failed.retry_in_ms = 3_600_000;
        finish(&client, &[failed, outcome(bert.run, Succeeded)]).await?;
        assert_eq!(carry_out(&client).await?.0, [] as [String; 0]);
        client.batch_execute("UPDATE pgbatch.retry SET due_at = now()").await?;
        // This session's last look knows that none is due yet.
        let client = database.connect().await?;
        assert_eq!(rounds(&client).await?, [["invoices {\"number\": 1}"], ["invoices {\"number\": 2}"]]);
        Ok(())
    }

    pub(super) async fn backfill() -> Tested {
        let (_database, client) = cooked("backfill", "").await?;
        assert_eq!(
            value::<Value>(
                &client,
                "SELECT jsonb_agg(jsonb_build_array(label, items) ORDER BY id) FROM
                (SELECT label, items, id FROM pgbatch.batches ORDER BY id LIMIT 2) b"
            )
            .await?,
            json!([["January again", 31], ["daily 2026-02-01T03:00:00Z", 1]])
        );
        assert_eq!(value::<i64>(&client, "SELECT count(*) FROM pgbatch.batches").await?, 1 + 28);
        let again = "SELECT pgbatch.backfill('daily', '2026-02-01', '2026-03-01')";
        assert_eq!(value::<i32>(&client, again).await?, 0, "none is made twice");
        client.batch_execute("SELECT pgbatch.enqueue('days', '{\"day\": \"today\"}')").await?;
        let claimed = rounds(&client).await?.concat();
        assert_eq!(claimed.len(), 28 + 1 + 31);
        let is_january = |words: &&String| words.starts_with("days {\"day\": \"2026-01-");
        assert_eq!(claimed.iter().filter(is_january).count(), 31);
        // Four at a time: seven rounds of today's work and the schedule's, the eighth has the last of them.
        assert_eq!(claimed[..28].iter().filter(is_january).count(), 0, "behind today's work");
        Ok(())
    }

    pub(super) async fn idempotent_enqueue() -> Tested {
        let (_database, client) = cooked("idempotent_enqueue", "").await?;
        let months = "SELECT string_agg(item ->> 'month', ' ' ORDER BY batch_id) FROM pgbatch.items";
        assert_eq!(value::<String>(&client, months).await?, "2026-01 2026-02", "each was asked for twice");
        assert_eq!(rounds(&client).await?.concat().len(), 2);
        client
            .batch_execute(
                "SELECT pgbatch.enqueue('reports', '{\"month\": \"2026-01\"}', unique_key => 'report 2026-01');
                 SELECT request_report('2026-02', '{\"month\": \"2026-02\"}')",
            )
            .await?;
        let expected = "2026-01 2026-02 2026-01";
        assert_eq!(value::<String>(&client, months).await?, expected, "the key is free, the table remembers");
        Ok(())
    }

    pub(super) async fn dead_letters() -> Tested {
        let (_database, client) = cooked("dead_letters", "").await?;
        client
            .batch_execute(
                "SELECT pgbatch.enqueue_query('mails', 'SELECT i AS \"to\" FROM generate_series(1, 4) i')",
            )
            .await?;
        for _attempt in 0..2 {
            let outcomes: Vec<_> = carry_out(&client)
                .await?
                .1
                .iter()
                .map(|run| {
                    let mut outcome = outcome(run.run, if run.first_item == 4 { Succeeded } else { Failed });
                    outcome.message = Some(match run.first_item {
                        3 => "no such mailbox".into(),
                        n => format!("timeout after {n} s"),
                    });
                    outcome
                })
                .collect();
            finish(&client, &outcomes).await?;
        }
        let causes = "SELECT string_agg(concat_ws('|', queue, cause, items, batches), ' ' ORDER BY items DESC) FROM one_cause";
        let said: String = value(&client, causes).await?;
        assert_eq!(said, "mails|timeout after 0 s|2|{1} mails|no such mailbox|1|{1}");
        let again: i64 = value(&client, "SELECT retry_cause('mails', 'timeout')").await?;
        assert_eq!(rounds(&client).await?.concat(), ["mails {\"to\": 1}", "mails {\"to\": 2}"]);
        assert_eq!(batch(&client, again).await?, "succeeded: 2 succeeded");
        let nothing: Option<i64> = value(&client, "SELECT retry_cause('mails', 'disk full')").await?;
        assert_eq!(nothing, None);
        assert_eq!(value::<i64>(&client, "SELECT pgbatch.retry_batch(1)").await?, 3);
        assert_eq!(rounds(&client).await?.concat().len(), 3);
        assert_eq!(batch(&client, 1).await?, "succeeded: 4 succeeded");
        assert_eq!(value::<i64>(&client, "SELECT count(*) FROM one_cause").await?, 0);
        Ok(())
    }

    pub(super) async fn from_a_trigger() -> Tested {
        let (_database, client) = cooked("from_a_trigger", "").await?;
        client.batch_execute("UPDATE purchase SET paid = true; BEGIN; INSERT INTO purchase (amount, paid) VALUES (999, true); ROLLBACK").await?;
        let claimed = rounds(&client).await?.concat();
        assert_eq!(claimed, ["ship {\"id\": 2, \"paid\": true, \"amount\": 200}", "ship {\"id\": 3}"]);
        Ok(())
    }

    /// A stand-in for pg_cron, of the one function that is called.
    pub(super) async fn from_pg_cron() -> Tested {
        let stand_in = "CREATE SCHEMA cron; CREATE TABLE cron.job (jobname text, schedule text, command text);
            CREATE FUNCTION cron.schedule(job_name text, schedule text, command text) RETURNS bigint LANGUAGE sql
            BEGIN ATOMIC INSERT INTO cron.job VALUES (job_name, schedule, command) RETURNING 1; END";
        let (_database, client) = cooked("from_pg_cron", stand_in).await?;
        assert_eq!(value::<String>(&client, "SELECT schedule FROM cron.job").await?, "*/15 * * * *");
        let command: String = value(&client, "SELECT command FROM cron.job").await?;
        for _quarter in 0..2 {
            client.batch_execute(&command).await?;
        }
        assert_eq!(rounds(&client).await?, [["tidy {\"from\": \"pg_cron\"}"]], "the first was still open");
        client.batch_execute(&command).await?;
        assert_eq!(rounds(&client).await?.len(), 1);
        Ok(())
    }

    pub(super) async fn limits() -> Tested {
        let (_database, client) = cooked("limits", "").await?;
        let live = "SELECT jsonb_object_agg(queue, runs) FROM
            (SELECT queue, count(*) AS runs FROM pgbatch.runs WHERE finished_at IS NULL GROUP BY queue) r";
        client.batch_execute("SELECT pgbatch.alter_limit('mail-server', 3)").await?;
        let (_, first) = carry_out(&client).await?;
        let counts: Value = value(&client, live).await?;
        let of = |counts: &Value, queue: &str| counts[queue].as_i64().unwrap_or_default();
        assert!(of(&counts, "letters") <= 2, "{counts}");
        assert_eq!(of(&counts, "letters") + of(&counts, "parcels"), 3, "{counts}");
        assert_eq!(of(&counts, "api-calls"), 4, "{counts}");
        client.batch_execute("SELECT pgbatch.alter_limit('mail-server', 5)").await?;
        carry_out(&client).await?;
        let counts: Value = value(&client, live).await?;
        assert_eq!(of(&counts, "letters") + of(&counts, "parcels"), 5, "{counts}");
        let calls: Vec<_> = first.into_iter().filter(|run| run.queue == "api-calls").collect();
        succeed(&client, &calls).await?;
        assert!(
            !carry_out(&client).await?.0.iter().any(|words| words.starts_with("api-calls")),
            "not in this hour"
        );
        client
            .batch_execute(
                "UPDATE pgbatch.run SET created_at = created_at - interval '1 h' WHERE queue = 'api-calls'",
            )
            .await?;
        let claimed = carry_out(&client).await?.0;
        assert_eq!(claimed.iter().filter(|words| words.starts_with("api-calls")).count(), 4, "{claimed:?}");
        Ok(())
    }
}
