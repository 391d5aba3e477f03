//! `import`: ScaledJobs of KEDA from files and from a pipe.

use std::io::Write;
use std::process::Stdio;

use e2e::world::World;

use crate::person::{ask, pgbatch, say, variables};
use crate::{Tested, parsed};

const MANIFEST: &str = "deploy/examples/keda/scaled-job.yaml";
const TABLES: &str = include_str!("../../deploy/examples/claps/tables.sql");

async fn world(test: &str) -> Result<(World, String), Box<dyn std::error::Error>> {
    let world = World::new(test).await?;
    world.client.batch_execute(TABLES).await?;
    Ok((world, e2e::repository().join(MANIFEST).display().to_string()))
}

async fn made(world: &World) -> Result<i64, tokio_postgres::Error> {
    let sql = "SELECT (SELECT count(*) FROM pgbatch.queues) + (SELECT count(*) FROM pgbatch.triggers)";
    Ok(world.client.query_one(sql, &[]).await?.get(0))
}

/// The program reads the manifest: PostgreSQL need not be able to.
#[tokio::test]
async fn a_server_without_the_library_gets_the_same() -> Tested {
    let (with, file) = world("cli_import_with").await?;
    let without = World::sql_only("cli_import_without").await?;
    without.client.batch_execute(TABLES).await?;
    for arguments in [&["import", &file, "--dry-run"][..], &["import", &file]] {
        assert_eq!(ask(&without, arguments)?, ask(&with, arguments)?);
    }
    assert_eq!((made(&without).await?, made(&with).await?), (2, 2));
    Ok(())
}

#[tokio::test]
async fn import_tells_what_was_made_and_what_is_not_as_it_was() -> Tested {
    let (world, file) = world("cli_import").await?;
    let dry = ask(&world, &["import", &file, "--dry-run"])?;
    assert!(dry.ends_with("\nA dry run: nothing was made.\n"), "{dry}");
    assert!(
        dry.contains(
            "\n-- trigger, spec.triggers[0]\nSELECT pgbatch.watch_count('claps', 'claps', 'SELECT COUNT(1)"
        ),
        "{dry}"
    );
    assert_eq!(made(&world).await?, 0);

    let told = ask(&world, &["import", &file])?;
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].starts_with("WHAT "), "{told}");
    assert!(
        lines[1].starts_with("queue ") && lines[1].ends_with("10 succeeded and 5 failed ones kept"),
        "{told}"
    );
    assert!(
        lines[2].starts_with("trigger ") && lines[2].contains("a Job for each 1 of the number"),
        "{told}"
    );
    assert!(told.contains("spec.pollingInterval") && told.contains("nothing is polled"), "{told}");
    assert!(
        told.contains(
            "\n-- suggestion, spec.triggers[0].metadata.query\nSELECT pgbatch.drop_trigger('claps');"
        ),
        "{told}"
    );
    assert_eq!(made(&world).await?, 2);

    let again = say(&world, &["import", &file])?;
    assert_eq!(again.status, 2);
    let expected =
        format!("pgbatch: {file}: spec.jobTargetRef: queue \"claps\" exists already (hint: Change it with");
    assert!(again.err.starts_with(&expected), "{}", again.err);
    Ok(())
}

#[tokio::test]
async fn import_takes_several_documents_or_none_of_them() -> Tested {
    let (world, file) = world("cli_import_many").await?;
    let one = std::fs::read_to_string(file)?;
    let other = one.replace("name: claps\n", "name: other\n");
    let secret = "kind: Secret\nmetadata: {name: login}\n";
    let bad = other.replace("SELECT COUNT(1)", "SELECT nope");
    let import = |text: &str| {
        let mut command = pgbatch(&variables(&world), &["import", "-", "-o", "json"]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().ok_or_else(|| std::io::Error::other("no pipe"))?.write_all(text.as_bytes())?;
        child.wait_with_output()
    };
    let refused = import(&format!("{one}---\n{bad}"))?;
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{told}");
    assert!(
        told.contains("standard input: spec.triggers[0]: query is invalid: column \"nope\" does not exist"),
        "{told}"
    );
    assert_eq!(made(&world).await?, 0, "all or none");

    let none = import(secret)?;
    let told = String::from_utf8_lossy(&none.stderr).into_owned();
    assert!(told.contains("there is no ScaledJob, but Secret \"login\""), "{told}");

    let whole = import(&format!("{one}---\n{secret}---\n{other}"))?;
    let json = parsed(&String::from_utf8(whole.stdout)?)?;
    assert_eq!(
        (&json[0]["scaled_job"], &json[1]["scaled_job"]),
        (&"claps".into(), &"other".into()),
        "{json:#}"
    );
    assert_eq!(json[1]["rows"][0]["what"], "queue");
    assert_eq!(made(&world).await?, 4);
    Ok(())
}
