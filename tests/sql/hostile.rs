//! What a hostile caller writes into the arguments of every public function stays text. Here the caller is the extension's
//! owner: where a value were pasted into a statement, it would be run with all his rights.

use pgbatch_core::state::RunState::Succeeded;
use tokio_postgres::Client;

use crate::role_calls::calls;
use crate::roles::Stage;
use crate::support::{Tested, batch, claim_one, finish, observe, outcome, value, with_queue};

/// What would make the table `pwned` if it were pasted between quotes of either kind, into a body, a list or a format.
const PAYLOADS: [&str; 8] = [
    "x'; CREATE TABLE public.pwned (); --",
    "x\"; CREATE TABLE public.pwned (); --",
    "x\\'; CREATE TABLE public.pwned (); --",
    "x); CREATE TABLE public.pwned (); --",
    "$$; CREATE TABLE public.pwned (); $$",
    "$q$; CREATE TABLE public.pwned (); $q$",
    "x' || public.pwn() || '",
    "%1$s %s %I %L %",
];

/// Arguments that are SQL, which the caller's own rights run, or PostgreSQL's own input functions parse.
const IS_SQL: [&str; 3] = ["query", "condition", "sql"];

/// Fails if one of them was run.
const HARM: &str = "DO $$ BEGIN IF to_regclass('public.pwned') IS NOT NULL THEN
    RAISE 'the value was run' USING ERRCODE = 'PWNED'; END IF; END $$";
const PWNED: &str = "PWNED";

/// Where an attack is put into a call.
const PLACE: &str = "<attack>";

async fn stage() -> Tested<Stage> {
    let stage = Stage::set().await?;
    stage
        .owner
        .batch_execute(
            "CREATE FUNCTION public.pwn() RETURNS text LANGUAGE plpgsql AS
                 $$ BEGIN CREATE TABLE IF NOT EXISTS public.pwned (); RETURN ''; END $$",
        )
        .await?;
    Ok(stage)
}

/// The value as SQL writes it: as text, in an object, in an array.
fn literals(payload: &str) -> [String; 3] {
    let json = serde_json::to_string(payload).unwrap_or_default();
    let array = payload.replace('\\', "\\\\").replace('"', "\\\"");
    [payload.to_owned(), format!("{{{json}: {json}}}"), format!("{{\"{array}\"}}")]
        .map(|text| format!("'{}'", text.replace('\'', "''")))
}

/// The call with each of its literals in turn replaced by [`PLACE`], but one that is a query.
fn places(call: &str) -> Vec<String> {
    let parts: Vec<&str> = call.split('\'').collect();
    (1..parts.len())
        .step_by(2)
        .filter(|place| !parts[*place].starts_with("SELECT"))
        .map(|place| {
            let (before, after) = (parts[..place].join("'"), parts[place + 1..].join("'"));
            format!("{before}{PLACE}{after}")
        })
        .collect()
}

/// The call with each further argument that is text, or is made of it, in turn.
async fn further(client: &Client, function: &str, call: &str) -> Tested<Vec<String>> {
    let sql = format!(
        "SELECT a.name FROM pg_proc p
         CROSS JOIN LATERAL unnest(p.proargnames, p.proargtypes::oid[]) WITH ORDINALITY a (name, type, number)
         WHERE p.oid = 'pgbatch.{function}'::regproc AND a.number > p.pronargs - p.pronargdefaults AND a.number <= p.pronargs
             AND a.type::regtype::text IN ('text', 'text[]', 'name', 'jsonb', 'jsonb[]', 'regclass')"
    );
    let names = client.query(&sql, &[]).await?;
    let Some(end) = call.rfind(')') else { return Ok(vec![]) };
    let (start, end) = call.split_at(end);
    let comma = if start.ends_with('(') { "" } else { ", " };
    let name = names.iter().map(|row| row.get::<_, &str>(0));
    let further = name.filter(|name| !IS_SQL.contains(name) && !call.contains(&format!("{name} => ")));
    Ok(further.map(|name| format!("{start}{comma}{name} => {PLACE}{end}")).collect())
}

/// Makes the call and takes it back; says what it did that it must not.
async fn attack(client: &Client, call: &str) -> Tested<Option<String>> {
    let done = client.batch_execute(&format!("BEGIN; {call}; {HARM}")).await;
    client.batch_execute("ROLLBACK").await?;
    let Err(error) = done else { return Ok(None) };
    // Any other error is a refusal, which changes nothing; a syntax error would be that of a value that was pasted.
    let is_harm = |code: &str| ["42601", "XX000", PWNED].contains(&code);
    Ok(error.as_db_error().is_none_or(|e| is_harm(e.code().code())).then(|| format!("{error:?}")))
}

#[tokio::test]
async fn no_argument_of_any_function_is_run() -> Tested {
    let stage = stage().await?;
    let mut harm = Vec::new();
    let mut attacks = 0;
    for call in calls() {
        let sql = stage.filled(call.sql, 0);
        if !sql.starts_with("SELECT") {
            continue;
        }
        let mut calls = places(&sql);
        calls.extend(further(&stage.owner, call.function, &sql).await?);
        for place in calls {
            for payload in PAYLOADS {
                for literal in literals(payload) {
                    let attacked = place.replace(PLACE, &literal);
                    attacks += 1;
                    if let Some(did) = attack(&stage.owner, &attacked).await? {
                        harm.push(format!("{attacked}: {did}"));
                    }
                }
            }
        }
    }
    eprintln!("{attacks} attacks");
    assert!(attacks > 1000, "{attacks} attacks");
    assert!(harm.is_empty(), "{} of {attacks}: {harm:#?}", harm.len());
    Ok(())
}

/// What is allowed and strange is served like anything else, and holds up nobody.
#[tokio::test]
async fn strange_values_are_served() -> Tested {
    let (_database, client) = with_queue("").await?;
    for strange in [
        "item => (repeat('{\"a\":', 6000) || '1' || repeat('}', 6000))::jsonb",
        "not_before => '9998-12-31 23:59:59.999999+00'",
        "not_before => '4713-01-01 BC'",
        "item => '{\"a\": 1e40000, \"b\": -1e-16000, \"\": {}, \"\\u001b[31m\": \"\\u202e\"}'",
        "label => E'\\x01\\n\\u202e', key => '\u{10ffff}', unique_key => ' '",
        "priority => -2147483648",
        "priority => 2147483647, max_attempts => 2147483647",
    ] {
        let id: i64 = value(&client, &format!("SELECT pgbatch.enqueue('q', {strange})")).await?;
        let view = observe(&client).await.map_err(|e| format!("{strange}: {e}"))?;
        if view.queues.iter().any(|q| q.fresh.iter().any(|f| f.batch == id)) {
            let run = claim_one(&client, (id, 1, 1, 1)).await.map_err(|e| format!("{strange}: {e}"))?;
            finish(&client, &[outcome(run.run, Succeeded)]).await?;
            assert_eq!(batch(&client, id).await?, "succeeded: 1 succeeded", "{strange}");
        } else {
            assert!(strange.starts_with("not_before"), "{strange}");
        }
        client.query(&format!("SELECT pgbatch.explain_item({id}, 1)"), &[]).await?;
    }
    Ok(())
}
