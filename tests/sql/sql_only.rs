//! The SQL without the library beside the extension: the same functions, which decide the same.

use std::collections::BTreeSet;

use e2e::postgres::Server;
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::support::{EPOCH, Tested, batch, claim, enqueue, refused, value};

/// These need the library: without it, the dispatcher listens and tries by itself.
pub(crate) const LIBRARY_ONLY: [&str; 3] = ["await_lead", "doorbell_seq", "wait"];

/// A database with each.
async fn both() -> Tested<(Client, Client)> {
    let server = Server::shared()?;
    let (with, without) = (server.empty_database().await?, server.empty_database().await?);
    with.connect().await?.batch_execute("CREATE EXTENSION pgbatch").await?;
    without.install_sql_only().await?;
    Ok((with.connect().await?, without.connect().await?))
}

#[tokio::test]
async fn they_have_the_same_functions_relations_and_version() -> Tested {
    const OBJECTS: &str = "
        SELECT p.prokind::text || ' ' || p.oid::regprocedure || coalesce(' returns ' || pg_get_function_result(p.oid), '')
            || coalesce(' -- ' || obj_description(p.oid, 'pg_proc'), '')
        FROM pg_proc p WHERE p.pronamespace = 'pgbatch'::regnamespace
        UNION ALL
        SELECT c.relkind::text || ' ' || c.relname || coalesce('.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod), '')
        FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
        WHERE c.relnamespace = 'pgbatch'::regnamespace";
    let (with, without) = both().await?;
    let objects = async |client: &Client| -> Tested<BTreeSet<String>> {
        Ok(client.query(OBJECTS, &[]).await?.iter().map(|row| row.get(0)).collect())
    };
    let (library, sql) = (objects(&with).await?, objects(&without).await?);
    let missing: BTreeSet<&str> =
        library.difference(&sql).map(|object| object.split(['.', '(']).nth(1).unwrap_or(object)).collect();
    assert_eq!(missing, LIBRARY_ONLY.into(), "in a server with the library only");
    // What is more is for these alone, and no part of the contract.
    let public: Vec<_> = sql.difference(&library).filter(|object| object.contains(" -- ")).collect();
    assert_eq!(public, Vec::<&String>::new());
    let version = "SELECT pgbatch.version()";
    assert_eq!(value::<String>(&without, version).await?, value::<String>(&with, version).await?);
    Ok(())
}

/// The next three occurrences, or the message of the ERROR.
async fn occurrences(client: &Client, cron: &str, zone: &str, after: i64) -> Tested<String> {
    const NEXT: &str = "WITH RECURSIVE o (n, at) AS (SELECT 0, $3::bigint UNION ALL
            SELECT n + 1, pgbatch.next_occurrence($1, $2, at) FROM o WHERE n < 3 AND at IS NOT NULL)
        SELECT coalesce(string_agg(at::text, ' ' ORDER BY n), '') FROM o WHERE n > 0";
    match client.query_one(NEXT, &[&cron, &zone, &after]).await {
        Ok(row) => Ok(row.get(0)),
        Err(error) => Ok(error.as_db_error().ok_or("no answer")?.message().to_owned()),
    }
}

/// A field of an expression, mostly a right one.
fn field(low: u32, high: u32, names: &[&str]) -> String {
    let number = || fastrand::u32(low..=high);
    match fastrand::u32(0..12) {
        0..=3 => "*".to_owned(),
        4 => format!("*/{}", fastrand::u32(1..=high)),
        5 => {
            let first = number();
            format!("{first}-{}", fastrand::u32(first..=high))
        }
        6 => {
            let first = number();
            format!("{first}-{}/{}", fastrand::u32(first..=high), fastrand::u32(1..9))
        }
        7 => format!("{},{}", number(), number()),
        8 if !names.is_empty() => names[fastrand::usize(..names.len())].to_owned(),
        _ => number().to_string(),
    }
}

fn expression() -> String {
    const DAYS: [&str; 9] = ["L", "LW", "15W", "1W", "31W", "30W,L", "?", "31", "29-31"];
    const WEEKDAYS: [&str; 11] =
        ["MON-FRI", "sun", "7", "FRI#2", "5#L", "1L", "MON#5", "?", "+1", "+MON-WED", "TUE-THU#1"];
    const NASTY: [&str; 25] = [
        "60", "-1", "5-1", "1/2", "/5", "*/0", "W", "#", "L#", "1#6", "1#0", "x", "*/*", "1-2-3", "", "1-",
        "*/99999", "1W2", "L5", "5#", "MON-", "32W", "*/70000", "00005", ",",
    ];
    if fastrand::u32(0..30) == 0 {
        return [
            "@daily",
            "@hourly",
            "@weekly",
            "@monthly",
            "@yearly",
            "@annually",
            "@never",
            "",
            "* * *",
            "1 1 1 1 1 1 1",
        ][fastrand::usize(..10)]
        .to_owned();
    }
    let mut fields = vec![
        field(0, 59, &[]),
        field(0, 23, &[]),
        field(1, 31, &DAYS),
        field(1, 12, &["FEB", "dec", "JAN-MAR", "2"]),
        field(0, 7, &WEEKDAYS),
    ];
    if fastrand::bool() {
        fields[2] = "*".to_owned();
    }
    if fastrand::u32(0..5) == 0 {
        fields.insert(0, field(0, 59, &[]));
    }
    if fastrand::u32(0..6) == 0 {
        let place = fastrand::usize(..fields.len());
        fields[place] = NASTY[fastrand::usize(..NASTY.len())].to_owned();
    }
    fields.join(" ")
}

/// Around the moments at which clocks are set, as often as not.
fn moment() -> i64 {
    const CHANGES: [i64; 8] = [
        1_774_746_000,
        1_792_890_000,
        1_772_953_200,
        1_793_512_800,
        1_775_314_800,
        1_791_042_000,
        1_325_239_200,
        1_776_981_600,
    ];
    match fastrand::bool() {
        true => CHANGES[fastrand::usize(..CHANGES.len())] + fastrand::i64(-90_000..90_000),
        false => fastrand::i64(0..4_000_000_000),
    }
}

/// `PGBATCH_CRON_CASES` is how many (1,000 by default), `PGBATCH_SEED` begins them anew.
#[tokio::test]
async fn a_cron_expression_means_the_same() -> Tested {
    const ZONES: [&str; 14] = [
        "UTC",
        "Europe/Paris",
        "America/New_York",
        "Australia/Lord_Howe",
        "Africa/Cairo",
        "Asia/Kathmandu",
        "Pacific/Apia",
        "America/Sao_Paulo",
        "Asia/Tokyo",
        "Pacific/Chatham",
        "Etc/GMT+5",
        "europe/london",
        "Mars/Base",
        "CEST+3",
    ];
    let (with, without) = both().await?;
    let seed = std::env::var("PGBATCH_SEED").map_or(Ok(7), |seed| seed.parse())?;
    fastrand::seed(seed);
    let cases = std::env::var("PGBATCH_CRON_CASES").map_or(Ok(1_000), |cases| cases.parse::<u32>())?;
    let (mut wrong, mut right) = (Vec::new(), 0);
    for _ in 0..cases {
        let (cron, zone, after) = (expression(), ZONES[fastrand::usize(..ZONES.len())], moment());
        let (library, sql) =
            (occurrences(&with, &cron, zone, after).await?, occurrences(&without, &cron, zone, after).await?);
        right += u32::from(!library.contains("invalid"));
        if library != sql {
            wrong.push(format!("{cron:?} {zone} after {after}: {library} with, {sql} without the library"));
        }
    }
    assert!(wrong.is_empty(), "{} of {cases}: {:#?}", wrong.len(), &wrong[..wrong.len().min(12)]);
    assert!(right > cases / 2 && right < cases, "{right} of {cases} were no error");
    Ok(())
}

#[tokio::test]
async fn the_latest_occurrence_is_the_same() -> Tested {
    let (with, without) = both().await?;
    for (cron, since, upto) in [
        ("*/5 * * * *", 1_792_880_000_i64, 1_792_900_000_i64),
        ("0 2 * * *", 1_792_000_000, 1_792_900_000),
        ("0 2 29 2 *", 1_700_000_000, 1_900_000_000),
        ("0 0 31 2 *", 1_700_000_000, 1_900_000_000),
    ] {
        let sql = "SELECT pgbatch.latest_occurrence($1, 'Europe/Paris', $2, $3)";
        let latest = async |client: &Client| -> Tested<Option<i64>> {
            Ok(client.query_one(sql, &[&cron, &since, &upto]).await?.get(0))
        };
        assert_eq!(latest(&without).await?, latest(&with).await?, "{cron}");
    }
    Ok(())
}

#[tokio::test]
async fn a_demand_is_the_same_number_of_jobs() -> Tested {
    let (with, without) = both().await?;
    fastrand::seed(11);
    let pick = |from: &[Value]| from[fastrand::usize(..from.len())].clone();
    let mut seen = BTreeSet::new();
    for _ in 0..3_000 {
        let readings: Vec<Value> = (0..fastrand::usize(0..4))
            .map(|_| {
                json!({
                    "value": pick(&[json!(0), json!(1), json!(7), json!(12.5), json!(100), json!(-3), json!(0.0004), json!(1.1)]),
                    "target": pick(&[json!(1), json!(2), json!(0.1), json!(10), json!(0), json!(0.0003)]),
                    "is_active": fastrand::u32(0..4) > 0,
                })
            })
            .collect();
        let mut policy = json!({
            "strategy": pick(&[json!("default"), json!("custom"), json!("accurate"), json!("eager")]),
            "combine": pick(&[json!("max"), json!("min"), json!("avg"), json!("sum")]),
            "custom_deduction": pick(&[json!(0), json!(1), json!(5)]),
            "custom_running_percentage": pick(&[json!(null), json!(0.5), json!(0.33), json!(1)]),
            "min": pick(&[json!(0), json!(1), json!(4)]),
            "max": pick(&[json!(null), json!(0), json!(3), json!(10), json!(200)]),
        });
        policy.as_object_mut().ok_or("an object")?.retain(|_, value| !value.is_null());
        let (running, pending) = (fastrand::i32(0..12), fastrand::i32(0..6));
        let sql = "SELECT pgbatch.jobs_to_create($1, $2, $3, $4)";
        let readings = json!(readings);
        let jobs = async |client: &Client| -> Tested<i32> {
            Ok(client.query_one(sql, &[&readings, &policy, &running, &pending]).await?.get(0))
        };
        let of_library = jobs(&with).await?;
        assert_eq!(jobs(&without).await?, of_library, "{readings} {policy} {running} {pending}");
        seen.insert(of_library);
    }
    assert!(seen.len() > 10, "{seen:?}");
    Ok(())
}

const TEMPLATE: &str = r#"{"spec": {"template": {"spec": {"containers": [{"name": "a", "imge": "b"}]}}}}"#;

/// A dispatcher that leads says what is wrong with it, and nothing starts before it is right.
#[tokio::test]
async fn a_queue_starts_nothing_until_its_template_was_checked_and_is_right() -> Tested {
    let (_with, client) = both().await?;
    let error =
        refused(client.batch_execute("SELECT pgbatch.create_queue('q', job_template => '[]')").await)?;
    assert_eq!(error.message(), "job_template is invalid at $: it is array, not an object");
    client
        .batch_execute(&format!(
            "SELECT pgbatch.try_lead(); SELECT pgbatch.create_queue('q', job_template => '{TEMPLATE}');
             SELECT pgbatch.create_queue('s', sql => 'SELECT 1')"
        ))
        .await?;
    let id = enqueue(&client, 1, "").await?;
    let told = async |gate: &str| -> Tested<(Option<String>, bool, String)> {
        let sql = "SELECT (SELECT q.template_error FROM pgbatch.queues q WHERE q.name = 'q'), e.open, e.words
            FROM pgbatch.explain_item($1, 1) e WHERE e.gate = $2";
        let row = client.query_one(sql, &[&id, &gate]).await?;
        Ok((row.get(0), row.get(1), row.get(2)))
    };
    let tried = async || -> Tested<(bool, usize)> {
        let view: Value = value(&client, &format!("SELECT pgbatch.observe({EPOCH})::jsonb")).await?;
        Ok((view["queues"][0]["paused"] == true, claim(&client, &[(id, 1, 1, 1)]).await?.len()))
    };
    let not_yet = "it has not been checked yet: a dispatcher does that".to_owned();
    let words = "the job_template of queue \"q\" has not been checked yet: a dispatcher does that".to_owned();
    assert_eq!(told("paused").await?, (Some(not_yet), false, words));
    assert_eq!(tried().await?, (true, 0), "not checked yet");

    let unchecked = format!("SELECT jsonb_agg(t.queue) FROM pgbatch.unchecked_templates({EPOCH}) t");
    assert_eq!(value::<Value>(&client, &unchecked).await?, json!(["q"]));
    let note = |template: &str, error: &str| {
        format!("SELECT pgbatch.note_template({EPOCH}, 'q', '{template}', {error})")
    };
    client.batch_execute(&note("{}", "'of an older one'")).await?;
    assert_eq!(value::<Value>(&client, &unchecked).await?, json!(["q"]), "that was another template");
    client.batch_execute(&note(TEMPLATE, "'no imge'")).await?;
    let words = "no imge; pgbatch.alter_queue('q', job_template => ...) corrects it".to_owned();
    assert_eq!(told("paused").await?, (Some("no imge".to_owned()), false, words));
    assert_eq!(tried().await?, (true, 0), "it is wrong");
    client.batch_execute("SELECT pgbatch.alter_queue('q', max_parallel => 3)").await?;
    assert_eq!(told("paused").await?.0.as_deref(), Some("no imge"), "another setting corrects nothing");

    let right = TEMPLATE.replace("imge", "image");
    client.batch_execute(&format!("SELECT pgbatch.alter_queue('q', job_template => '{right}')")).await?;
    assert_eq!(tried().await?, (true, 0), "a new one has to be checked");
    client.batch_execute(&note(&right, "NULL")).await?;
    assert_eq!(told("paused").await?.0, None);
    assert_eq!(tried().await?, (false, 1));
    assert_eq!(batch(&client, id).await?, "running: 1 running");
    Ok(())
}

#[tokio::test]
async fn a_scaled_job_is_for_the_program_to_read() -> Tested {
    let (_with, client) = both().await?;
    let error = refused(client.batch_execute("SELECT pgbatch.import_scaled_job('kind: ScaledJob')").await)?;
    assert_eq!(error.code().code(), "0A000");
    assert_eq!(error.message(), "a ScaledJob cannot be read here: this server has no library of pgbatch");
    Ok(())
}

/// As the library refuses it: nobody can tell whose rights it would need.
#[tokio::test]
async fn an_index_enqueues_nothing() -> Tested {
    let (_with, client) = both().await?;
    client
        .batch_execute(
            "SELECT pgbatch.create_queue('q', sql => 'SELECT 1'); CREATE TABLE t (id int); INSERT INTO t VALUES (1);
             CREATE FUNCTION f(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
                 $$ BEGIN PERFORM pgbatch.ring(); RETURN 1; END $$",
        )
        .await?;
    let error = refused(client.batch_execute("CREATE INDEX ON t (f(id))").await)?;
    assert_eq!(error.message(), "pgbatch changes nothing within a security-restricted operation");
    assert_eq!(error.code().code(), "42501");
    Ok(())
}
