//! Where the database is, and who may come in.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;

use e2e::postgres::{Listen, OWNER, Options, SUPERUSER, Server};
use e2e::wait::until;
use e2e::world::World;

use crate::person::{pgbatch, run, variables};
use crate::{SOON, Tested};

fn set(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[tokio::test]
async fn the_password_comes_from_the_password_file_of_psql() -> Tested {
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let password = "p:ss\\w/?";
    let listen = Listen { address, port: None, password: Some(password.to_owned()) };
    let server = Server::start(&Options { listen: Some(listen), ..Options::default() })?;
    let world = World::on("cli_pgpass", &server).await?;
    // The server of tests lets everybody in from its own host: not any more, but for its socket.
    world.database.let_in(&["local all all trust", "host all all all scram-sha-256"]).await?;
    let file = world.dir.join("pgpass");
    std::fs::write(&file, "*:1:*:*:wrong\n127.0.0.1:*:*:owner:p\\:ss\\\\w/?\n")?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
    let mut variables = vec![
        set("PGHOST", "127.0.0.1"),
        set("PGPORT", &world.database.socket().1.to_string()),
        set("PGDATABASE", &world.database.name),
        set("PGUSER", OWNER),
        set("PGSSLMODE", "disable"),
        set("HOME", "/nonexistent"),
    ];
    // As soon as the server has read its rules, nobody comes in without a password.
    let said = until("a password to be asked for", SOON, async || {
        run(pgbatch(&variables, &["ls"])).ok().filter(|said| said.status == 2)
    })
    .await;
    assert!(said.err.contains("password"), "{}", said.err);
    variables.push(set("PGPASSFILE", &file.display().to_string()));
    let said = run(pgbatch(&variables, &["ls"]))?;
    assert_eq!((said.status, said.err.as_str()), (0, ""));
    // As psql: a file that others may read is no secret.
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644))?;
    let said = run(pgbatch(&variables, &["ls"]))?;
    assert_eq!(said.status, 2);
    assert!(said.err.contains("is not used: others may read it (hint: chmod 600)"), "{}", said.err);
    variables.push(set("PGPASSWORD", password));
    let said = run(pgbatch(&variables, &["ls"]))?;
    assert_eq!(said.status, 0, "PGPASSWORD comes first: {said:?}");
    Ok(())
}

#[tokio::test]
async fn a_url_comes_before_the_variables() -> Tested {
    let world = World::new("cli_url").await?;
    let wrong = [set("PGHOST", "/nonexistent"), set("PGBATCH_DATABASE_URL", &world.database.url(OWNER))];
    assert_eq!(run(pgbatch(&wrong, &["ls"]))?.status, 0);
    let said = run(pgbatch(&wrong[..1], &["ls", "--database-url", &world.database.url(OWNER)]))?;
    assert_eq!(said.status, 0, "{said:?}");
    Ok(())
}

#[tokio::test]
async fn no_server_no_extension_and_no_right_are_each_told_in_one_line() -> Tested {
    let world = World::new("cli_refused").await?;
    let mut nowhere = variables(&world);
    nowhere.push(set("PGPORT", "1"));
    let said = run(pgbatch(&nowhere, &["status"]))?;
    let hint = "(hint: say where PostgreSQL is with --database-url, or with PGHOST, PGPORT, PGDATABASE and PGUSER)\n";
    assert!(said.err.starts_with("pgbatch: cannot connect to /") && said.err.ends_with(hint), "{}", said.err);
    assert_eq!((said.status, said.err.lines().count()), (2, 1));

    let mut elsewhere = variables(&world);
    elsewhere.extend([set("PGDATABASE", "postgres"), set("PGUSER", SUPERUSER)]);
    let said = run(pgbatch(&elsewhere, &["status"]))?;
    assert!(said.err.contains("does not exist (hint: is this the right database?"), "{}", said.err);
    assert_eq!((said.status, said.err.lines().count()), (2, 1));

    let superuser = world.database.connect_as(SUPERUSER).await?;
    superuser.batch_execute("CREATE ROLE stranger_of_cli LOGIN").await?;
    let mut stranger = variables(&world);
    stranger.push(set("PGUSER", "stranger_of_cli"));
    let said = run(pgbatch(&stranger, &["ls"]))?;
    assert!(said.err.starts_with("pgbatch: permission denied for schema pgbatch (hint: "), "{}", said.err);
    assert_eq!((said.status, said.err.lines().count()), (2, 1));
    Ok(())
}
