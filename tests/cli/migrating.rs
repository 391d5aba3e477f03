//! `pgbatch migrate`: creates the extension, updates it, waits for the server, and says what stands in the way.

use std::io;
use std::process::{Command, Stdio};

use e2e::postgres::{Database, OWNER, Options, SUPERUSER, Server, Stop};
use e2e::wait::until;
use serde_json::json;

use crate::person::{Said, pgbatch, run};
use crate::{SOON, Tested, parsed};

/// The variables of somebody who connects as a role to a database.
fn variables(database: &Database, role: &str) -> Vec<(String, String)> {
    let (socket, port) = database.socket();
    let (socket, port) = (socket.display().to_string(), port.to_string());
    let pairs = [
        ("PGHOST", socket),
        ("PGPORT", port),
        ("PGDATABASE", database.name.clone()),
        ("PGUSER", role.to_owned()),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}

fn migrate(database: &Database, role: &str, arguments: &[&str]) -> io::Result<Said> {
    run(pgbatch(&variables(database, role), &[&["migrate", "--wait", "0"], arguments].concat()))
}

/// It must have failed, and said only this.
fn assert_refused(said: &Said, words: &str) {
    assert_eq!(
        (said.status, said.out.as_str(), said.err.as_str()),
        (2, "", format!("pgbatch: {words}\n").as_str())
    );
}

/// The version that the server has the files of.
async fn available(database: &Database) -> Result<String, tokio_postgres::Error> {
    let sql = "SELECT default_version FROM pg_available_extensions WHERE name = 'pgbatch'";
    Ok(database.connect().await?.query_one(sql, &[]).await?.get(0))
}

async fn installed(database: &Database) -> Result<Option<String>, tokio_postgres::Error> {
    let sql = "SELECT extversion FROM pg_extension WHERE extname = 'pgbatch'";
    Ok(database.connect().await?.query_opt(sql, &[]).await?.map(|row| row.get(0)))
}

/// Has the database say that it has this older version, and gives the server's files a script from there that changes nothing.
async fn pretend(database: &Database, version: &str, with_script: bool) -> Tested {
    database
        .connect_as(SUPERUSER)
        .await?
        .execute("UPDATE pg_extension SET extversion = $1 WHERE extname = 'pgbatch'", &[&version])
        .await?;
    if with_script {
        let share = Command::new(Server::programs()?.join("pg_config")).arg("--sharedir").output()?;
        let share = String::from_utf8(share.stdout)?;
        let name = format!("pgbatch--{version}--{}.sql", available(database).await?);
        std::fs::write(format!("{}/extension/{name}", share.trim()), "")?;
    }
    Ok(())
}

#[tokio::test]
async fn migrate_creates_the_extension_and_then_finds_it_there() -> Tested {
    let database = Server::shared()?.empty_database().await?;
    let (name, version) = (&database.name, available(&database).await?);
    let said = migrate(&database, OWNER, &[])?;
    assert_eq!((said.status, said.err.as_str()), (0, ""));
    assert_eq!(said.out, format!("database {name}: pgbatch {version} was created\n"));
    database.connect().await?.execute("SELECT * FROM pgbatch.queues", &[]).await?;

    let said = migrate(&database, OWNER, &[])?;
    assert_eq!((said.status, said.err.as_str()), (0, ""));
    assert_eq!(said.out, format!("database {name}: pgbatch {version} was there already\n"));
    let said = migrate(&database, OWNER, &["-o", "json"])?;
    assert_eq!(
        parsed(&said.out)?,
        json!({"database": name, "before": version, "version": version, "sql_only": false})
    );
    Ok(())
}

#[tokio::test]
async fn an_extension_that_would_be_a_superusers_is_warned_of() -> Tested {
    let database = Server::shared()?.empty_database().await?;
    let said = migrate(&database, SUPERUSER, &[])?;
    assert!(said.status == 0 && said.out.ends_with(" was created\n"), "{said:?}");
    assert!(said.err.contains("WARN") && said.err.contains("with the rights of a superuser"), "{}", said.err);
    Ok(())
}

#[tokio::test]
async fn two_that_migrate_at_once_do_not_disturb_each_other() -> Tested {
    let database = Server::shared()?.empty_database().await?;
    let mut started = vec![];
    for _ in 0..4 {
        let mut command = pgbatch(&variables(&database, OWNER), &["migrate"]);
        started.push(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?);
    }
    let mut created = 0;
    for child in started {
        let output = child.wait_with_output()?;
        let (out, err) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
        assert_eq!((output.status.code(), err.as_str()), (Some(0), ""));
        created += i32::from(out.ends_with(" was created\n"));
    }
    assert_eq!(created, 1);
    Ok(())
}

#[tokio::test]
async fn migrate_updates_to_the_version_of_the_server() -> Tested {
    let database = Server::shared()?.empty_database().await?;
    let version = available(&database).await?;
    database.connect().await?.batch_execute("CREATE EXTENSION pgbatch VERSION '0.1.0'").await?;
    let said = migrate(&database, OWNER, &[])?;
    assert_eq!((said.status, said.err.as_str()), (0, ""));
    let updated = format!("database {}: pgbatch was updated from 0.1.0 to {version}\n", database.name);
    assert_eq!(said.out, updated);
    assert_eq!(installed(&database).await?, Some(version));
    Ok(())
}

/// Where a server cannot have the library; and what --print prints is the same for psql.
#[tokio::test]
async fn migrate_installs_the_sql_alone_where_that_is_asked_for() -> Tested {
    let database = Server::shared()?.empty_database().await?;
    let (name, version) = (&database.name, available(&database).await?);
    let said = migrate(&database, OWNER, &["--sql-only"])?;
    assert_eq!((said.status, said.err.as_str()), (0, ""));
    let words =
        format!("database {name}: pgbatch {version} was installed without the library, as SQL only\n");
    assert_eq!((said.out, installed(&database).await?), (words, None));
    for arguments in [&["--sql-only"][..], &[]] {
        let said = migrate(&database, OWNER, arguments)?;
        assert_eq!(
            said.out,
            format!("database {name}: pgbatch {version} was there already\n"),
            "{}",
            said.err
        );
    }
    let said = migrate(&database, OWNER, &["-o", "json"])?;
    assert_eq!(
        parsed(&said.out)?,
        json!({"database": name, "before": version, "version": version, "sql_only": true})
    );

    let printed = migrate(&database, OWNER, &["--sql-only", "--print"])?;
    let script = std::env::temp_dir().join(format!("pgbatch-{}-{name}.sql", std::process::id()));
    std::fs::write(&script, printed.out)?;
    let other = Server::shared()?.empty_database().await?;
    let mut psql = Command::new(Server::programs()?.join("psql"));
    psql.envs(variables(&other, OWNER)).args([
        "-X",
        "-q",
        "--single-transaction",
        "--set=ON_ERROR_STOP=1",
        "-f",
    ]);
    let said = psql.arg(&script).output()?;
    std::fs::remove_file(&script)?;
    assert!(said.status.success() && said.stderr.is_empty(), "{}", String::from_utf8_lossy(&said.stderr));
    let said: String = other.connect().await?.query_one("SELECT pgbatch.version()", &[]).await?.get(0);
    assert_eq!(said, version);
    Ok(())
}

#[tokio::test]
async fn the_sql_alone_is_updated_by_the_program() -> Tested {
    let database = Server::shared()?.empty_database().await?;
    database.install_sql_only().await?;
    // As one of the version before would be: there was none, so what the step from there brings is taken away.
    let owner = database.connect().await?;
    let version = "SELECT pgbatch.version()";
    owner
        .batch_execute(
            "SELECT pgbatch.create_queue('q', sql => 'SELECT 1'), pgbatch.enqueue('q');
             CREATE OR REPLACE FUNCTION pgbatch.version() RETURNS text LANGUAGE sql STABLE AS $$ SELECT '0.1.0' $$;
             DROP VIEW pgbatch.queues; DROP TRIGGER uncheck_template ON pgbatch.queue;
             ALTER TABLE pgbatch.queue DROP COLUMN template_checked, DROP COLUMN template_error;
             DROP TABLE pgbatch.action CASCADE; ALTER TABLE pgbatch.batch DROP COLUMN traceparent, DROP COLUMN deadline CASCADE;
             CREATE INDEX batch_expires ON pgbatch.batch (expires_at) WHERE expires_at IS NOT NULL;
             ALTER TABLE pgbatch.schedule DROP COLUMN finish_within CASCADE;
             CREATE FUNCTION pgbatch.schedule(text, text, text, text, jsonb[], text, text, interval, text) RETURNS void LANGUAGE sql AS '';
             CREATE FUNCTION pgbatch.register_schedule(text, text, text, text, jsonb[], text, interval, text, boolean) RETURNS void
                 LANGUAGE sql AS '';
             CREATE FUNCTION pgbatch.alter_schedule(text, text, text, jsonb[], text, interval, text, boolean) RETURNS void
                 LANGUAGE sql AS '';
             CREATE FUNCTION pgbatch.retry_batch(bigint) RETURNS bigint LANGUAGE sql AS 'SELECT 0';
             CREATE FUNCTION pgbatch.retry_failed_items(pgbatch.batch) RETURNS bigint LANGUAGE sql AS 'SELECT 0'",
        )
        .await?;
    let said = migrate(&database, OWNER, &[])?;
    let now = available(&database).await?;
    assert_eq!((said.status, said.err.as_str()), (0, ""));
    assert_eq!(said.out, format!("database {}: pgbatch was updated from 0.1.0 to {now}\n", database.name));
    assert_eq!(owner.query_one(version, &[]).await?.get::<_, String>(0), now);
    let pending: i64 = owner.query_one("SELECT pending FROM pgbatch.queues", &[]).await?.get(0);
    assert_eq!(pending, 1);

    owner
        .batch_execute(
            "CREATE OR REPLACE FUNCTION pgbatch.version() RETURNS text LANGUAGE sql STABLE AS $$ SELECT '9.9.9' $$",
        )
        .await?;
    let words = format!(
        "there is no way from pgbatch 9.9.9 to {now} (hint: take a program (image) of that version or later)"
    );
    assert_refused(&migrate(&database, OWNER, &[])?, &words);
    Ok(())
}

#[tokio::test]
async fn an_extension_of_another_contract_is_refused_and_left_as_it_was() -> Tested {
    let database = Server::shared()?.database().await?;
    let version = available(&database).await?;
    pretend(&database, "0.0.9", true).await?;
    for (contract, newer) in [(1000, "program (image)"), (0, "files")] {
        let sql = format!(
            "CREATE OR REPLACE FUNCTION pgbatch.contract_version() RETURNS int LANGUAGE sql AS 'SELECT {contract}'"
        );
        database.connect_as(SUPERUSER).await?.batch_execute(&sql).await?;
        let said = migrate(&database, OWNER, &[])?;
        let words = format!("pgbatch: pgbatch {version} speaks contract {contract}, this program ");
        assert!(said.err.starts_with(&words), "{}", said.err);
        assert!(
            said.err.contains(newer) && said.err.ends_with("; the database was left as it was)\n"),
            "{}",
            said.err
        );
        assert_eq!((said.status, installed(&database).await?.as_deref()), (2, Some("0.0.9")));
    }
    Ok(())
}

#[tokio::test]
async fn what_stands_in_the_way_is_told_with_what_to_do() -> Tested {
    let server = Server::shared()?;
    let empty = server.empty_database().await?;
    let name = &empty.name;
    let superuser = empty.connect_as(SUPERUSER).await?;
    superuser.batch_execute("CREATE ROLE stranger_of_migrate LOGIN").await?;
    assert_refused(
        &migrate(&empty, "stranger_of_migrate", &[])?,
        &format!(
            "permission denied to create extension \"pgbatch\" (hint: as the owner of the database: GRANT CREATE ON \
             DATABASE {name} TO stranger_of_migrate; or connect as him)"
        ),
    );

    superuser
        .batch_execute(&format!("ALTER DATABASE {name} SET dynamic_library_path = '/nonexistent'"))
        .await?;
    assert_refused(
        &migrate(&empty, OWNER, &[])?,
        "could not access file \"pgbatch\": No such file or directory (hint: the server has the SQL of pgbatch, but no \
         library that it can load: take the extension image or package for PostgreSQL 15, let dynamic_library_path name \
         its folder, and note that it needs glibc (not alpine))",
    );
    assert_eq!(installed(&empty).await?, None);

    let owned = server.database().await?;
    pretend(&owned, "0.0.8", true).await?;
    assert_refused(
        &migrate(&owned, "stranger_of_migrate", &[])?,
        "must be owner of extension pgbatch (hint: connect as owner, who owns the extension)",
    );
    pretend(&owned, "99.0.0", false).await?;
    let version = available(&owned).await?;
    assert_refused(
        &migrate(&owned, OWNER, &[])?,
        &format!(
            "extension \"pgbatch\" has no update path from version \"99.0.0\" to version \"{version}\" (hint: the \
             server's files are older than what is installed: give it those of that version or later)"
        ),
    );

    let mut nowhere = variables(&owned, OWNER);
    nowhere.push(("PGDATABASE".to_owned(), "nobody_made_this".to_owned()));
    let said = run(pgbatch(&nowhere, &["migrate"]))?;
    assert_eq!(said.status, 2);
    assert!(
        said.err.ends_with(
            "(hint: as a role that may: CREATE DATABASE, with the role of this URL as its OWNER)\n"
        ),
        "{said:?}"
    );
    Ok(())
}

#[tokio::test]
async fn migrate_waits_for_a_server_that_starts_for_so_long_and_no_longer() -> Tested {
    let mut server = Server::start(&Options::default())?;
    let database = server.empty_database().await?;
    server.stop(Stop::Immediate)?;
    let said = migrate(&database, OWNER, &[])?;
    assert_eq!(said.status, 2);
    let hint =
        "; waited for 0 s (hint: does it run, and is this its address? --wait SECONDS waits for longer)\n";
    assert!(said.err.starts_with("pgbatch: cannot connect to ") && said.err.ends_with(hint), "{}", said.err);

    let log = server.log().with_file_name("migrate.log");
    let mut command = pgbatch(&variables(&database, OWNER), &["migrate", "--wait", "60"]);
    let err = std::fs::File::create(&log)?;
    let migrating = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(err).spawn()?;
    until("it to wait", SOON, async || {
        std::fs::read_to_string(&log).ok().filter(|log| log.contains("waiting for PostgreSQL"))
    })
    .await;
    server.restart()?;
    let output = migrating.wait_with_output()?;
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8(output.stdout)?.ends_with(" was created\n"));
    Ok(())
}
