//! The password of the dispatcher's role is changed while it runs.

use std::net::{IpAddr, Ipv4Addr};

use e2e::postgres::{Listen, OWNER, Options, SUPERUSER, Server};
use e2e::wait::until;
use e2e::world::World;
use serde_json::json;

use crate::{SOON, Tested, enqueue, until_state};

#[tokio::test]
async fn a_password_that_is_rotated_in_its_file_needs_no_restart() -> Tested {
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let listen = Listen { address, port: None, password: Some("old".to_owned()) };
    let server = Server::start(&Options { listen: Some(listen), ..Options::default() })?;
    let world = World::on("rotation", &server).await?;
    world.shell_queue("q", "exit 0", "").await?;
    let superuser = world.database.connect_as(SUPERUSER).await?;
    world.database.let_in(&["local all all trust", "host all all all scram-sha-256"]).await?;

    let file = world.dir.join("database-url");
    let write = |password: &str| {
        let url =
            world.database.tcp_url(OWNER).unwrap_or_default().replace(":old@", &format!(":{password}@"));
        std::fs::write(&file, format!("{url}?sslmode=disable\n"))
    };
    write("old")?;
    let mut dispatcher = world.dispatcher_of(format!("@{}", file.display()), &[])?;
    let batch = enqueue(&world, "q", json!({})).await?;
    until_state(&world, batch, "succeeded", SOON).await;

    superuser.batch_execute(&format!("ALTER ROLE {OWNER} PASSWORD 'new'")).await?;
    let sessions = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name IN ('pgbatch dispatch', 'pgbatch doorbell')";
    superuser.batch_execute(sessions).await?;
    let batch = enqueue(&world, "q", json!({})).await?;
    until("the old password to be refused", SOON, async || {
        dispatcher.logged().ok().filter(|log| log.contains("password authentication failed"))
    })
    .await;
    write("new")?;
    until_state(&world, batch, "succeeded", SOON).await;
    assert!(dispatcher.is_running()?, "the same process");
    let log = dispatcher.logged()?;
    assert!(!log.contains(":old@") && !log.contains(":new@"), "a password is in the log");
    Ok(())
}
