//! TLS to PostgreSQL: who is let in, and who is believed.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;

use e2e::postgres::{Listen, OWNER, Options, SUPERUSER, Server};
use e2e::wait::until;
use e2e::world::World;

use crate::person::{pgbatch, run};
use crate::{SOON, Tested};

/// Makes `NAME.crt` and `NAME.key` in a folder, signed by the authority `ca` that is there; or an authority.
fn certificate(dir: &Path, name: &str, subject: &str, authority: bool) -> Tested {
    let (crt, key) = (format!("{name}.crt"), format!("{name}.key"));
    let mut command = Command::new("openssl");
    command.current_dir(dir).args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    command.args(["-nodes", "-days", "2", "-subj", &format!("/CN={subject}"), "-out", &crt, "-keyout", &key]);
    if !authority {
        command.args(["-CA", "ca.crt", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:FALSE"]);
        command.args(["-addext", &format!("subjectAltName=DNS:{subject}")]);
    }
    let output = command.output()?;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(words.into()) }
}

/// Has the server speak TLS over TCP and nothing else: its owner comes in by a certificate, everybody else by a password.
async fn only_tls(world: &World, dir: &Path) -> Tested {
    let superuser = world.database.connect_as(SUPERUSER).await?;
    let data: String = superuser.query_one("SHOW data_directory", &[]).await?.get(0);
    for file in ["ca.crt", "server.crt", "server.key"] {
        let text = std::fs::read_to_string(dir.join(file))?;
        let rows = format!("SELECT unnest(string_to_array('{}', E'\\n'))", text.trim());
        // Of the server's user, and nobody else may read it: else it refuses its key.
        let copy = format!("COPY ({rows}) TO PROGRAM 'umask 077 && cat >{data}/{file}'");
        superuser.batch_execute(&copy).await?;
    }
    for (setting, value) in [
        ("ssl_ca_file", "ca.crt"),
        ("ssl_cert_file", "server.crt"),
        ("ssl_key_file", "server.key"),
        ("ssl", "on"),
    ] {
        superuser.batch_execute(&format!("ALTER SYSTEM SET {setting} = '{value}'")).await?;
    }
    superuser.batch_execute(&format!("ALTER ROLE {SUPERUSER} PASSWORD 'secret'")).await?;
    let by_certificate = format!("hostssl all {OWNER} all cert");
    let rules = ["local all all trust", &by_certificate, "hostssl all all all scram-sha-256"];
    Ok(world.database.let_in(&rules).await?)
}

#[tokio::test]
async fn both_ends_are_verified() -> Tested {
    let listen = Listen { address: IpAddr::V4(Ipv4Addr::LOCALHOST), port: None, password: None };
    let server = Server::start(&Options { listen: Some(listen), ..Options::default() })?;
    let world = World::on("cli_tls", &server).await?;
    let dir = world.dir.join("tls");
    std::fs::create_dir_all(&dir)?;
    certificate(&dir, "ca", "authority", true)?;
    certificate(&dir, "other", "another authority", true)?;
    certificate(&dir, "server", "localhost", false)?;
    certificate(&dir, "client", OWNER, false)?;
    only_tls(&world, &dir).await?;

    let path = |name: &str| dir.join(name).display().to_string();
    let usual = [
        ("HOME", "/nonexistent".to_owned()),
        ("PGHOST", "localhost".to_owned()),
        ("PGPORT", world.database.socket().1.to_string()),
        ("PGDATABASE", world.database.name.clone()),
        ("PGUSER", OWNER.to_owned()),
        ("PGSSLMODE", "verify-full".to_owned()),
        ("PGSSLROOTCERT", path("ca.crt")),
        ("PGSSLCERT", path("client.crt")),
        ("PGSSLKEY", path("client.key")),
    ];
    // Of what is usual, with these changes; an empty one is not set.
    let say = |changes: &[(&str, &str)]| {
        let mut variables: Vec<(String, String)> =
            usual.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        variables.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
        let set = changes.iter().filter(|(_, value)| !value.is_empty());
        variables.extend(set.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        run(pgbatch(&variables, &["ls"]))
    };
    until("the server to have read its settings", SOON, async || {
        say(&[]).ok().filter(|said| said.status == 0 && said.err.is_empty())
    })
    .await;
    let (other, no_certificate) = (path("other.crt"), [("PGSSLCERT", ""), ("PGSSLKEY", "")]);
    for (changes, expected) in [
        (&[("PGSSLROOTCERT", other.as_str())][..], "UnknownIssuer"),
        (&[("PGSSLROOTCERT", "system")], "UnknownIssuer"),
        (&[("PGHOST", "127.0.0.1")], "not valid for name"),
        (&no_certificate, "connection requires a valid client certificate"),
        (&[("PGSSLKEY", "")], "sslcert and sslkey go together"),
        (&[("PGSSLKEY", "/nonexistent")], "sslkey /nonexistent: "),
        (&[("PGSSLMODE", "disable")], "no encryption"),
    ] {
        let said = say(changes)?;
        assert!(said.status == 2 && said.err.contains(expected), "{changes:?}: {}", said.err);
    }
    // The password is worth nothing on another connection than the one that it was given for.
    let by_password = [
        &no_certificate[..],
        &[("PGUSER", SUPERUSER), ("PGPASSWORD", "secret"), ("PGCHANNELBINDING", "require")],
    ]
    .concat();
    let said = say(&by_password)?;
    assert_eq!((said.status, said.err.as_str()), (0, ""));
    let mut wrong = by_password;
    wrong.push(("PGPASSWORD", "wrong"));
    let said = say(&wrong)?;
    assert!(said.status == 2 && said.err.contains("password authentication failed"), "{}", said.err);
    Ok(())
}
