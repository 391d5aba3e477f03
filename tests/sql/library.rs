//! The library while servers have it loaded: replaced by another file, dropped and created anew.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use e2e::postgres::{Options, SUPERUSER, Server};
use e2e::repository;
use tokio_postgres::Client;

use crate::support::{LIMIT, Tested, database, enqueue, sleep, until_waiting, value, with_queue};

const SEQ: &str = "SELECT pgbatch.doorbell_seq()";

/// Whether a session has a library mapped whose file was replaced.
async fn has_old_file(client: &Client) -> Tested<bool> {
    let pid: i32 = value(client, "SELECT pg_backend_pid()").await?;
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let ours: Vec<&str> = maps.lines().filter(|line| line.contains("/pgbatch.so")).collect();
    assert!(!ours.is_empty(), "a session that has not loaded it");
    Ok(ours.iter().all(|line| line.ends_with("(deleted)")))
}

/// `make install` over a server that runs: sessions go on with the file that they have, and both ring each other.
#[tokio::test]
async fn sessions_with_the_old_file_and_with_the_new_one_ring_each_other() -> Tested {
    let (database, old) = with_queue("").await?;
    value::<i64>(&old, SEQ).await?;
    let mut install = Command::new(repository().join("pg_extension/install.sh"));
    install.arg(Server::programs()?.join("pg_config"));
    install.args(std::env::var_os("PGBATCH_SO"));
    assert!(install.status()?.success(), "installed");
    let new = database.connect().await?;
    let seq: i64 = value(&new, SEQ).await?;
    assert_eq!(value::<i64>(&old, SEQ).await?, seq, "one number");
    assert!(has_old_file(&old).await?, "the old session has the old file");
    assert!(!has_old_file(&new).await?, "the new session has the new file");

    let sleeping = sleep(new, seq);
    until_waiting(&old, "Extension").await;
    enqueue(&old, 1, "").await?;
    let (woken, new) = tokio::time::timeout(LIMIT, sleeping).await??;
    woken?;
    let seq: i64 = value(&old, SEQ).await?;
    let sleeping = sleep(old, seq);
    until_waiting(&new, "Extension").await;
    enqueue(&new, 1, "").await?;
    tokio::time::timeout(LIMIT, sleeping).await??.0?;
    Ok(())
}

/// The bell is the server's: who sleeps on it hears the queue of the extension that came after.
#[tokio::test]
async fn an_extension_that_is_created_anew_rings_who_slept_before() -> Tested {
    let (database, client) = with_queue("").await?;
    let now: i64 = value(&client, SEQ).await?;
    let sleeping = sleep(database.connect().await?, now);
    until_waiting(&client, "Extension").await;
    client.batch_execute("BEGIN; DROP EXTENSION pgbatch CASCADE; CREATE EXTENSION pgbatch; COMMIT").await?;
    client.batch_execute("SELECT pgbatch.create_queue('q', sql => 'SELECT 1')").await?;
    enqueue(&client, 1, "").await?;
    tokio::time::timeout(LIMIT, sleeping).await??.0?;
    Ok(())
}

/// The library stays mapped, so the commit can ring though the function is gone.
#[tokio::test]
async fn a_transaction_that_enqueues_may_drop_the_extension() -> Tested {
    let (database, client) = with_queue("").await?;
    client
        .batch_execute("BEGIN; SELECT pgbatch.enqueue('q'); DROP EXTENSION pgbatch CASCADE; COMMIT")
        .await?;
    assert!(value::<bool>(&client, "SELECT to_regnamespace('pgbatch') IS NULL").await?);
    database.connect_as(SUPERUSER).await?.batch_execute("CREATE EXTENSION pgbatch").await?;
    Ok(())
}

/// From PostgreSQL 18 on: in a folder of its own, as the extension's image is mounted (CloudNativePG), and nothing in the server's.
#[tokio::test]
async fn it_lies_in_a_folder_of_its_own_where_the_server_knows_of_such() -> Tested {
    let shared = database().await?.connect().await?;
    if value::<i32>(&shared, "SELECT current_setting('server_version_num')::int").await? < 180_000 {
        return Ok(());
    }
    let folder = std::env::temp_dir().join(format!("pgbatch-extension-path-{}", std::process::id()));
    let pg_config = folder.join("pg_config");
    std::fs::create_dir_all(&folder)?;
    let answers = format!(
        "#!/bin/sh\ncase $1 in --sharedir) echo {0}/share ;; --pkglibdir) echo {0}/lib ;; esac\n",
        folder.display()
    );
    std::fs::write(&pg_config, answers)?;
    std::fs::set_permissions(&pg_config, std::fs::Permissions::from_mode(0o755))?;
    let mut install = Command::new(repository().join("pg_extension/install.sh"));
    assert!(install.arg(&pg_config).args(std::env::var_os("PGBATCH_SO")).status()?.success(), "installed");
    // Told from the one in the server's folder by what it says of itself.
    let control = folder.join("share/extension/pgbatch.control");
    let text = std::fs::read_to_string(&control)?;
    std::fs::write(&control, text.replacen("comment = '", "comment = 'By its path: ", 1))?;

    let settings = [("extension_control_path", "share:$system"), ("dynamic_library_path", "lib:$libdir")]
        .map(|(name, path)| (name.to_owned(), format!("{}/{path}", folder.display())));
    let server = Server::start(&Options { settings: settings.into(), ..Options::default() })?;
    let client = server.database().await?.connect().await?;
    let comment = "SELECT obj_description(oid, 'pg_extension') FROM pg_extension WHERE extname = 'pgbatch'";
    assert!(value::<String>(&client, comment).await?.starts_with("By its path: "));
    value::<i64>(&client, SEQ).await?;
    let pid: i32 = value(&client, "SELECT pg_backend_pid()").await?;
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    assert!(maps.contains(&format!("{}/lib/pgbatch.so", folder.display())), "{maps}");
    std::fs::remove_dir_all(folder)?;
    Ok(())
}
