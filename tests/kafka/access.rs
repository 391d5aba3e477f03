//! Listeners, logins and rights.

use std::path::Path;

use e2e::dispatcher::Dispatcher;
use e2e::kafka::Allowed;
use e2e::wait::until;
use serde_json::{Value, json};

use crate::support::{SOON, Stage, Tested};

/// A token that is not signed, as the broker's listener for tests takes it.
fn token(name: &str) -> Tested<String> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let part = |json: &Value| base64(json.to_string().as_bytes());
    let claims = json!({"sub": name, "iat": now, "exp": now + 3600});
    Ok(format!("{}.{}.", part(&json!({"alg": "none"})), part(&claims)))
}

/// The URL's alphabet, without padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            text.push(char::from(ALPHABET[(bits >> (18 - 6 * place)) as usize & 63]));
        }
    }
    text
}

/// Credentials as a mounted Secret has them, and a dispatcher that may read them.
fn dispatcher(stage: &Stage, flags: &[&str]) -> Tested<Dispatcher> {
    let folder = stage.world.dir.join("credentials");
    std::fs::create_dir_all(folder.join("elsewhere"))?;
    for name in ["ca.crt", "client.crt", "client.key", "client-encrypted.key"] {
        std::fs::copy(stage.broker.certificates().join(name), folder.join(name))?;
    }
    write(&folder, "admin", "admin-secret\n")?;
    write(&folder, "dispatcher", "dispatcher-secret")?;
    write(&folder, "key-password", "key-secret\n")?;
    write(&folder, "token", &token("admin")?)?;
    write(&folder, "elsewhere/admin", "admin-secret")?;
    write(&folder, "elsewhere/bootstrap-servers", "kafka.example:9092")?;
    let folder = format!("--kafka-credentials={}", folder.display());
    Ok(stage.world.dispatcher(&[&[folder.as_str()], flags].concat())?)
}

fn write(folder: &Path, name: &str, text: &str) -> Tested {
    Ok(std::fs::write(folder.join(name), text)?)
}

#[tokio::test]
async fn every_listener_and_every_login_is_a_way_in() -> Tested {
    let mut stage = Stage::new("logins", 1).await?;
    let _dispatcher = dispatcher(&stage, &[])?;
    let (tls, sasl_tls, sasl) = (stage.broker.tls(), stage.broker.sasl_tls(), stage.broker.sasl());
    let login =
        |mechanism: &str| json!({"mechanism": mechanism, "username": "admin", "password_file": "admin"});
    let ca = json!({"ca_file": "ca.crt"});
    let ways = [
        ("plain", &stage.broker.plain(), json!({})),
        (
            "certificate",
            &tls,
            json!({"tls": {"ca_file": "ca.crt", "cert_file": "client.crt", "key_file": "client.key"}}),
        ),
        (
            "certificate with a key that has a password",
            &tls,
            json!({"tls": {"ca_file": "ca.crt", "cert_file": "client.crt", "key_file": "client-encrypted.key",
                "key_password_file": "key-password"}}),
        ),
        ("PLAIN", &sasl, json!({"sasl": login("PLAIN")})),
        ("PLAIN over TLS", &sasl_tls, json!({"tls": ca, "sasl": login("PLAIN")})),
        ("SCRAM-SHA-256", &sasl, json!({"sasl": login("SCRAM-SHA-256")})),
        ("SCRAM-SHA-512", &sasl_tls, json!({"tls": ca, "sasl": login("SCRAM-SHA-512")})),
        (
            "OAUTHBEARER",
            &sasl_tls,
            json!({"tls": ca, "sasl": {"mechanism": "OAUTHBEARER", "token_file": "token"}}),
        ),
    ];
    for (name, servers, options) in &ways {
        stage.watch_at(name, servers, 1000, options.clone()).await?;
    }
    for (name, ..) in &ways {
        stage.until_looked(name).await;
    }
    stage.kafka.produce("logins", 0, 2).await?;
    for (name, ..) in &ways {
        stage.until_taken(name, 0, 0, 2).await;
        stage.until_error(name, |error| error.is_none()).await;
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_password_is_said_once_stops_nobody_else_and_is_used_when_it_is_right() -> Tested {
    let mut stage = Stage::new("wrong-password", 1).await?;
    let dispatcher = dispatcher(&stage, &["--log=pgbatch_dispatcher=trace"])?;
    let folder = stage.world.dir.join("credentials");
    write(&folder, "changing", "not-it")?;
    let sasl = json!({"mechanism": "SCRAM-SHA-512", "username": "admin", "password_file": "changing"});
    stage.watch_at("wrong", &stage.broker.sasl(), 1000, json!({"sasl": sasl})).await?;
    stage.watch(json!({})).await?;
    stage.until_looked("t").await;
    let error = stage.until_error("wrong", |error| error.is_some()).await.unwrap_or_default();
    assert!(
        error.contains("refused the login")
            && error.contains(&stage.broker.sasl())
            && !error.contains("not-it"),
        "{error}"
    );
    stage.kafka.produce("wrong-password", 0, 1).await?;
    stage.until_taken("t", 0, 0, 1).await;
    // Each try is two SaslAuthenticate; two more at least.
    until("it to be tried again and again", SOON, async || {
        (dispatcher.logged().ok()?.matches("api=36").count() >= 6).then_some(())
    })
    .await;
    let tries =
        || Ok::<_, std::io::Error>(dispatcher.logged()?.matches("the trigger cannot be watched").count());
    write(&folder, "changing", "admin-secret")?;
    stage.until_looked("wrong").await;
    stage.until_error("wrong", |error| error.is_none()).await;
    assert_eq!(tries()?, 1, "it was logged again");
    stage.kafka.produce("wrong-password", 0, 1).await?;
    stage.until_taken("wrong", 0, 1, 2).await;
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_used_is_said_in_words() -> Tested {
    let stage = Stage::new("unusable", 1).await?;
    let _dispatcher = dispatcher(&stage, &[])?;
    let sasl =
        |file: &str| json!({"sasl": {"mechanism": "PLAIN", "username": "admin", "password_file": file}});
    let cases = [
        ("no file", stage.broker.sasl(), sasl("nope"), "the credentials file nope cannot be read"),
        (
            "of others",
            stage.broker.sasl(),
            sasl("elsewhere/admin"),
            "are for the servers in its file bootstrap-servers, not for 127.0.0.1",
        ),
        (
            "no variable",
            stage.broker.sasl(),
            json!({"sasl": {"mechanism": "PLAIN", "username": "admin", "password_env": "PGBATCH_KAFKA_CREDENTIAL_NOPE"}}),
            "has no environment variable PGBATCH_KAFKA_CREDENTIAL_NOPE",
        ),
        ("no CA", stage.broker.sasl_tls(), json!({"tls": true}), "UnknownIssuer"),
        ("no TLS", stage.broker.sasl_tls(), json!({}), "broker 127.0.0.1"),
        ("not a CA", stage.broker.tls(), json!({"tls": {"ca_file": "admin"}}), "it has no PEM certificate"),
        ("no certificate", stage.broker.tls(), json!({"tls": {"ca_file": "ca.crt"}}), "received fatal alert"),
        (
            "wrong key password",
            stage.broker.tls(),
            json!({"tls": {"ca_file": "ca.crt", "cert_file": "client.crt", "key_file": "client-encrypted.key",
                "key_password_file": "admin"}}),
            "the credentials file client-encrypted.key cannot be used",
        ),
        ("nobody", "127.0.0.1:1".to_owned(), json!({}), "Connection refused"),
    ];
    for (name, servers, options, _) in &cases {
        stage.watch_at(name, servers, 1000, options.clone()).await?;
    }
    for (name, _, _, words) in &cases {
        let error = stage.until_error(name, |error| error.is_some()).await.unwrap_or_default();
        assert!(error.contains(words), "{name}: {error}");
        assert!(!error.contains("-secret"), "{name}: {error}");
    }
    // One that is made again is told again; at once, so that its cluster is watched all the time.
    let again = "SELECT pgbatch.drop_trigger('nobody'); SELECT pgbatch.watch_kafka('nobody', 'q', '127.0.0.1:1', 'unusable')";
    stage.world.client.batch_execute(again).await?;
    stage.until_error("nobody", |error| error.is_some()).await;
    Ok(())
}

#[tokio::test]
async fn where_reading_is_denied_the_topic_is_polled_and_triggers_says_so() -> Tested {
    let mut stage = Stage::new("describe-only", 1).await?;
    let _dispatcher = dispatcher(&stage, &[])?;
    let sasl = json!({"mechanism": "SCRAM-SHA-256", "username": "dispatcher", "password_file": "dispatcher"});
    let options = json!({"sasl": sasl, "poll_ms": 200, "refresh_ms": 500});
    stage.watch_at("t", &stage.broker.sasl(), 1000, options).await?;
    let denied = stage.until_error("t", |error| error.is_some()).await.unwrap_or_default();
    assert_eq!(denied, "topic describe-only: access to the topic is denied (DESCRIBE is needed)");
    stage.kafka.allow("describe-only", Allowed::Describe).await?;
    let polled =
        stage.until_error("t", |error| error.is_some_and(|e| e.contains("polled every 200 ms"))).await;
    assert!(polled.is_some_and(|e| e.starts_with("READ on topic describe-only is denied")));
    stage.kafka.produce("describe-only", 0, 3).await?;
    stage.until_taken("t", 0, 0, 3).await;
    stage.kafka.allow("describe-only", Allowed::Read).await?;
    stage.until_error("t", |error| error.is_none()).await;
    stage.kafka.produce("describe-only", 0, 1).await?;
    stage.until_taken("t", 0, 0, 4).await;
    Ok(())
}

#[tokio::test]
async fn polling_that_is_meant_is_no_error() -> Tested {
    let mut stage = Stage::new("polled", 1).await?;
    let _dispatcher = dispatcher(&stage, &[])?;
    stage.watch(json!({"doorbell": false, "poll_ms": 200})).await?;
    stage.until_looked("t").await;
    stage.kafka.produce("polled", 0, 3).await?;
    stage.until_taken("t", 0, 0, 3).await;
    stage.until_error("t", |error| error.is_none()).await;
    Ok(())
}
