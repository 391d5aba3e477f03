//! `pgbatch doctor`: what it says of a database that is as it should be, and of what is amiss.

use std::io;

use e2e::postgres::{Database, OWNER, SUPERUSER, Server};
use e2e::wait::until;
use e2e::world::World;
use serde_json::Value;

use crate::person::{Said, pgbatch, run, say, variables};
use crate::{SOON, Tested, parsed};

const DOCTOR: [&str; 3] = ["doctor", "--executor", "process"];

/// Runs it as a role, in a database.
fn examine(world: &World, database: &Database, role: &str) -> io::Result<Said> {
    let mut variables = variables(world);
    for (name, value) in &mut variables {
        match name.as_str() {
            "PGUSER" => role.clone_into(value),
            "PGDATABASE" => database.name.clone_into(value),
            _ => {}
        }
    }
    run(pgbatch(&variables, &[&DOCTOR[..], &["-o", "json"]].concat()))
}

/// Each finding as "what verdict", and what it says of those that are not fine.
fn verdicts(said: &Said) -> Result<(Vec<String>, Vec<String>), Box<dyn std::error::Error>> {
    let findings = parsed(&said.out)?;
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let all = findings.as_array().cloned().unwrap_or_default();
    let verdicts = all.iter().map(|f| format!("{} {}", text(f, "what"), text(f, "verdict"))).collect();
    let amiss = all.iter().filter(|f| f["verdict"] != "fine");
    Ok((verdicts, amiss.map(|f| format!("{} -> {}", text(f, "words"), text(f, "hint"))).collect()))
}

#[tokio::test]
async fn doctor_finds_all_well_with_a_dispatcher() -> Tested {
    let world = World::new("cli_doctor").await?;
    world.shell_queue("claps", "exit 0", "").await?;
    let dispatcher = world.dispatcher(&[])?;
    until("it to lead", SOON, async || dispatcher.logged().ok().filter(|log| log.contains("dispatching")))
        .await;
    let said = examine(&world, &world.database, OWNER)?;
    assert_eq!((said.status, said.err.as_str()), (0, ""));
    let (verdicts, amiss) = verdicts(&said)?;
    assert_eq!(amiss, Vec::<String>::new());
    let wanted = ["connection", "pooler", "extension", "rights", "doorbell", "leader", "transactions"];
    assert_eq!(verdicts, wanted.map(|what| format!("{what} fine")));
    let words = said.out.as_str();
    for part in
        ["by a Unix socket", "speaks contract 2", "shared memory: heard ", "a dispatcher leads: backend "]
    {
        assert!(words.contains(part), "{part}: {words}");
    }
    let table = say(&world, &DOCTOR)?;
    assert!(
        table.out.starts_with("WHAT          VERDICT  WORDS\nconnection    fine     PostgreSQL "),
        "{}",
        table.out
    );
    Ok(())
}

#[tokio::test]
async fn doctor_says_that_nobody_dispatches() -> Tested {
    let world = World::new("cli_doctor_alone").await?;
    let said = say(&world, &DOCTOR)?;
    assert_eq!(said.status, 0, "it works all the same: {}", said.out);
    assert!(
        said.out.contains(
            "leader        warning  no dispatcher is connected (hint: start one: pgbatch dispatch)"
        ),
        "{}",
        said.out
    );
    Ok(())
}

#[tokio::test]
async fn doctor_hears_the_doorbell_of_a_server_without_the_library() -> Tested {
    let world = World::sql_only("cli_doctor_sql_only").await?;
    let (verdicts, _) = verdicts(&examine(&world, &world.database, OWNER)?)?;
    for fine in ["extension fine", "rights fine", "doorbell fine"] {
        assert!(verdicts.contains(&fine.to_owned()), "{verdicts:?}");
    }
    let said = say(&world, &DOCTOR)?.out;
    let version = env!("CARGO_PKG_VERSION");
    assert!(said.contains(&format!("pgbatch {version}, without the library, in database ")), "{said}");
    assert!(said.contains("NOTIFY, as the server has no library of pgbatch: heard "), "{said}");
    Ok(())
}

#[tokio::test]
async fn doctor_names_each_function_that_the_role_may_not_call() -> Tested {
    let world = World::new("cli_doctor_rights").await?;
    world
        .database
        .connect_as(SUPERUSER)
        .await?
        .batch_execute(
            "DO $$ BEGIN CREATE ROLE doctored LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
             SELECT pgbatch.grant_dispatcher('doctored');
             REVOKE EXECUTE ON FUNCTION pgbatch.claim(bigint, jsonb) FROM doctored;
             REVOKE EXECUTE ON PROCEDURE pgbatch.wait(bigint, bigint) FROM doctored",
        )
        .await?;
    let said = examine(&world, &world.database, "doctored")?;
    assert_eq!(said.status, 1);
    let (verdicts, amiss) = verdicts(&said)?;
    assert_eq!(
        verdicts,
        ["connection fine", "pooler fine", "extension fine", "rights failed", "rights failed"]
    );
    let missing = |routine: &str| {
        format!(
            "role doctored may not call {routine} -> as the extension's owner: SELECT pgbatch.grant_dispatcher('doctored')"
        )
    };
    assert_eq!(amiss, [missing("pgbatch.claim(bigint,jsonb)"), missing("pgbatch.wait(bigint,bigint)")]);
    Ok(())
}

/// What the hint says is enough for all that a dispatcher does, and for doctor but for the queues' Jobs.
#[tokio::test]
async fn doctor_is_content_with_a_role_that_only_dispatches() -> Tested {
    let world = World::new("cli_doctor_dispatcher").await?;
    let superuser = world.database.connect_as(SUPERUSER).await?;
    superuser
        .batch_execute(
            "CREATE ROLE only_dispatches LOGIN; SELECT pgbatch.grant_dispatcher('only_dispatches')",
        )
        .await?;
    let said = examine(&world, &world.database, "only_dispatches")?;
    assert_eq!(said.status, 0, "{}", said.out);
    let (found, amiss) = verdicts(&said)?;
    assert!(
        found.contains(&"rights fine".to_owned()) && found.contains(&"doorbell fine".to_owned()),
        "{found:?}"
    );
    assert!(found.contains(&"queues untried".to_owned()), "{found:?}: {amiss:?}");
    superuser.batch_execute("SELECT pgbatch.grant('*', 'only_dispatches', 'read')").await?;
    let (found, _) = verdicts(&examine(&world, &world.database, "only_dispatches")?)?;
    assert!(!found.contains(&"queues untried".to_owned()), "{found:?}");
    Ok(())
}

#[tokio::test]
async fn doctor_says_what_is_missing_before_anything_else_can_work() -> Tested {
    let world = World::new("cli_doctor_bare").await?;
    let bare = Server::shared()?.empty_database().await?;
    let said = examine(&world, &bare, OWNER)?;
    assert_eq!(said.status, 1);
    let (found, amiss) = verdicts(&said)?;
    assert_eq!(found, ["connection fine", "pooler fine", "extension failed"]);
    assert_eq!(
        amiss,
        [format!("database {} has no pgbatch -> as a user who may: CREATE EXTENSION pgbatch", bare.name)]
    );

    let said = run(pgbatch(
        &[("PGHOST".to_owned(), "/nonexistent".to_owned()), ("PGUSER".to_owned(), OWNER.to_owned())],
        &[&DOCTOR[..], &["-o", "json"]].concat(),
    ))?;
    assert_eq!(said.status, 1);
    let (found, amiss) = verdicts(&said)?;
    assert_eq!(found, ["connection failed"]);
    assert!(amiss[0].starts_with("cannot connect to /nonexistent:5432/"), "{amiss:?}");
    Ok(())
}
