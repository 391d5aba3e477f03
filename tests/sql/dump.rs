//! pg_dump and restore into a new database, by the extension's owner, who is no superuser.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use e2e::postgres::{Database, OWNER, Options, SUPERUSER, Server};
use pgbatch_core::run::RunSpec;
use pgbatch_core::state::RunState::{Failed, Succeeded};
use tokio_postgres::Client;

use crate::support::{
    Bell, Tested, claim_one, drop_pgbatch, enqueue, finish, outcome, refused, value, with_queue,
};

fn program(name: &str, database: &Database, role: &str) -> Tested<Command> {
    let (host, port) = database.socket();
    let mut command = Command::new(Server::programs()?.join(name));
    command.arg("-h").arg(host).args(["-p", &port.to_string(), "-U", role, "-d", &database.name]);
    Ok(command)
}

fn checked(output: Output) -> Tested<Vec<u8>> {
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(String::from_utf8_lossy(&output.stderr).into())
}

/// Dumps one database into another.
pub(crate) fn copy(from: &Database, to: &Database, role: &str) -> Tested {
    let dump = checked(program("pg_dump", from, role)?.output()?)?;
    let mut psql = program("psql", to, role)?
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    psql.stdin.take().ok_or("no input")?.write_all(&dump)?;
    checked(psql.wait_with_output()?).map(drop)
}

/// Everything that is stored, as text.
async fn content(client: &Client) -> Tested<String> {
    let mut tables = Vec::new();
    for table in ["installation", "queue", "batch", "item", "run", "report", "retry"] {
        let sql = format!(
            "SELECT coalesce(string_agg(t::text, E'\\n' ORDER BY t::text), '') FROM pgbatch.{table} t"
        );
        let rows: String = value(client, &sql).await?;
        assert!(!rows.is_empty(), "table {table} is empty, so nothing is proved of it");
        tables.push(format!("{table}\n{rows}"));
    }
    Ok(tables.join("\n"))
}

/// A batch of each kind in queue `q`, of which the first has a retry, a live run and a report. Returns it and the live run.
async fn fill(client: &Client) -> Tested<(i64, RunSpec)> {
    let id = enqueue(client, 4, ", label => 'l', key => 'k', unique_key => 'u'").await?;
    enqueue(client, 2, &format!(", after => ARRAY[{id}]")).await?;
    let failed = claim_one(client, (id, 1, 1, 1)).await?.run;
    let live = claim_one(client, (id, 2, 3, 1)).await?;
    client.query("SELECT pgbatch.complete_item($1, $2, 2)", &[&live.run, &live.token]).await?;
    finish(client, &[outcome(failed, Failed)]).await?;
    Ok((id, live))
}

/// Ids go on, the live run ends with its own token, the guard is there, also for whoever owns the extension.
async fn goes_on(client: &Client, owner: &Client, id: i64, live: &RunSpec) -> Tested {
    let next: i64 = value(client, "SELECT pgbatch.enqueue('q')").await?;
    assert_eq!(next, id + 2);
    client.query("SELECT pgbatch.complete_item($1, $2, 3)", &[&live.run, &live.token]).await?;
    finish(client, &[outcome(live.run, Succeeded)]).await?;
    assert_eq!(claim_one(client, (id, 4, 4, 1)).await?.run, live.run + 1);
    assert_eq!(refused(owner.batch_execute(drop_pgbatch()).await)?.code().code(), "2BP01");
    client.batch_execute("SELECT pgbatch.create_queue('r', sql => 'SELECT 1')").await?;
    Ok(())
}

async fn check(role: &str) -> Tested {
    let (database, client) = with_queue(", max_attempts => 2").await?;
    let (id, live) = fill(&client).await?;
    let copied = Server::shared()?.empty_database().await?;
    copy(&database, &copied, role)?;
    let restored = copied.connect_as(role).await?;
    assert_eq!(content(&restored).await?, content(&client).await?);
    goes_on(&restored, &restored, id, &live).await
}

/// The extension is not created anew there: its tables and what they hold are taken over as they are.
#[tokio::test]
async fn pg_upgrade_takes_everything_along() -> Tested {
    let mut server = Server::start(&Options::default())?;
    let database = server.database().await?;
    let client = database.connect().await?;
    client.batch_execute("SELECT pgbatch.create_queue('q', sql => 'SELECT 1', max_attempts => 2)").await?;
    let (id, live) = fill(&client).await?;
    let before = content(&client).await?;
    drop(client);
    server.upgrade()?;
    let database = server.existing_database(&database.name);
    let client = database.connect().await?;
    assert_eq!(content(&client).await?, before);
    // The bell of the new server is another one, and rings.
    let mut bell = Bell::of(&database).await?;
    let rung = bell.rings().await?;
    // As it has it, each extension is the superuser's afterwards; what is in it keeps its owner.
    goes_on(&client, &database.connect_as(SUPERUSER).await?, id, &live).await?;
    assert!(bell.rings().await? > rung);
    Ok(())
}

#[tokio::test]
async fn an_ordinary_owner_dumps_and_restores_everything() -> Tested {
    check(OWNER).await
}

#[tokio::test]
async fn a_superuser_dumps_and_restores_everything() -> Tested {
    check(SUPERUSER).await
}
