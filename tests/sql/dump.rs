//! pg_dump and restore into a new database, by the extension's owner, who is no superuser.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use e2e::postgres::{Database, OWNER, SUPERUSER, Server};
use pgbatch_core::state::RunState::{Failed, Succeeded};
use tokio_postgres::Client;

use crate::support::{Tested, claim_one, enqueue, finish, outcome, refused, value, with_queue};

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

async fn check(role: &str) -> Tested {
    let (database, client) = with_queue(", max_attempts => 2").await?;
    let id = enqueue(&client, 4, ", label => 'l', key => 'k', unique_key => 'u'").await?;
    enqueue(&client, 2, &format!(", after => ARRAY[{id}]")).await?;
    let failed = claim_one(&client, (id, 1, 1, 1)).await?.run;
    let live = claim_one(&client, (id, 2, 3, 1)).await?;
    client.query("SELECT pgbatch.complete_item($1, $2, 2)", &[&live.run, &live.token]).await?;
    finish(&client, &[outcome(failed, Failed)]).await?;

    let copied = Server::shared()?.empty_database().await?;
    copy(&database, &copied, role)?;
    let restored = copied.connect_as(role).await?;
    assert_eq!(content(&restored).await?, content(&client).await?);

    // Ids go on, the live run ends with its own token, the guard is there.
    let next: i64 = value(&restored, "SELECT pgbatch.enqueue('q')").await?;
    assert_eq!(next, id + 2);
    restored.query("SELECT pgbatch.complete_item($1, $2, 3)", &[&live.run, &live.token]).await?;
    finish(&restored, &[outcome(live.run, Succeeded)]).await?;
    assert_eq!(claim_one(&restored, (id, 4, 4, 1)).await?.run, live.run + 1);
    assert_eq!(refused(restored.batch_execute("DROP EXTENSION pgbatch").await)?.code().code(), "2BP01");
    restored.batch_execute("SELECT pgbatch.create_queue('r', sql => 'SELECT 1')").await?;
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
