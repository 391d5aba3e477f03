//! What `watch_kafka` and `seek_kafka` refuse, and whom.

use e2e::postgres::SUPERUSER;

use crate::support::{Tested, refused, value, with_queue};

/// Arguments after the name, and what is said of them.
const ARGUMENTS: [(&str, &str, &str); 14] = [
    ("NULL, 'q', 'k:1', 't'", "22023", "name must be of 1 to 128 characters, not NULL"),
    ("'n', 'q', NULL, 't'", "22023", "bootstrap_servers is invalid: NULL"),
    ("'n', 'q', 'k', 't'", "22023", "bootstrap_servers is invalid: \"k\""),
    ("'n', 'q', 'k:1;j:2', 't'", "22023", "bootstrap_servers is invalid: \"k:1;j:2\""),
    ("'n', 'q', 'k:1', NULL", "22023", "topic must not be NULL without a consumer group"),
    ("'n', 'q', 'k:1', 'a b'", "22023", "topic is invalid: \"a b\""),
    ("'n', 'q', 'k:1', '..'", "22023", "topic is invalid: \"..\""),
    ("'n', 'q', 'k:1', 't', ''", "22023", "consumer_group must be of 1 to 255 characters, not 0"),
    ("'n', 'q', 'k:1', 't', lag_threshold => 0", "22023", "lag_threshold must be at least 1, not 0"),
    (
        "'n', 'q', 'k:1', 't', records_per_item => NULL",
        "22023",
        "records_per_item must be at least 1, not NULL",
    ),
    ("'n', 'q', 'k:1', 't', options => NULL", "22023", "options is invalid: NULL, expected a JSON object"),
    ("'n', 'q', 'k:1', 't', options => '[]'", "22023", "options is invalid: array, expected a JSON object"),
    ("'n', 'no', 'k:1', 't'", "42704", "queue \"no\" does not exist"),
    ("'taken', 'q', 'k:1', 't'", "42710", "trigger \"taken\" exists already"),
];

/// Options of a trigger without a group, and what is said of them.
const OPTIONS: [(&str, &str); 26] = [
    (r#"{"offset_rest": 1}"#, "options.offset_rest is invalid: unknown option"),
    (
        r#"{"offset_reset": "first"}"#,
        "options.offset_reset is invalid: \"first\", expected one of latest, earliest",
    ),
    (r#"{"doorbell": 1}"#, "options.doorbell is invalid: 1, expected true or false"),
    (r#"{"poll_ms": 1.5}"#, "options.poll_ms is invalid: 1.5, expected milliseconds, from 0 to 86400000"),
    (
        r#"{"poll_ms": 99999999}"#,
        "options.poll_ms is invalid: 99999999, expected milliseconds, from 0 to 86400000",
    ),
    (r#"{"poll_ms": 10}"#, "options.poll_ms must be at least 100"),
    (r#"{"refresh_ms": 10}"#, "options.refresh_ms must be at least 100"),
    (r#"{"keda_parity": true}"#, "options.keda_parity is invalid: it is for triggers with a consumer group"),
    (r#"{"tls": 1}"#, "options.tls is invalid: 1, expected a JSON object"),
    (r#"{"tls": {"ca": "x"}}"#, "options.tls.ca is invalid: unknown option"),
    (
        r#"{"tls": {"ca_file": "/etc/passwd"}}"#,
        "options.tls.ca_file is invalid: \"/etc/passwd\", expected the name of a file below the dispatcher's --kafka-credentials",
    ),
    (
        r#"{"tls": {"ca_file": "a/../../b"}}"#,
        "options.tls.ca_file is invalid: \"a/../../b\", expected the name of a file below the dispatcher's --kafka-credentials",
    ),
    (
        r#"{"tls": {"ca_file": "a/.hidden"}}"#,
        "options.tls.ca_file is invalid: \"a/.hidden\", expected the name of a file below the dispatcher's --kafka-credentials",
    ),
    (r#"{"tls": {"cert_file": "c"}}"#, "options.tls is invalid: cert_file and key_file go together"),
    (
        r#"{"tls": {"key_password_file": "c"}}"#,
        "options.tls is invalid: a password of a key, and no key_file",
    ),
    (r#"{"sasl": "PLAIN"}"#, "options.sasl is invalid: \"PLAIN\", expected a JSON object"),
    (r#"{"sasl": {}}"#, "options.sasl.mechanism must be given"),
    (
        r#"{"sasl": {"mechanism": "GSSAPI"}}"#,
        "options.sasl.mechanism is invalid: \"GSSAPI\", expected one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER",
    ),
    (
        r#"{"sasl": {"mechanism": "PLAIN", "password": "hunter2"}}"#,
        "options.sasl.password is invalid: unknown option",
    ),
    (
        r#"{"sasl": {"mechanism": "PLAIN", "username": "a"}}"#,
        "options.sasl is invalid: PLAIN takes one of username, username_file and username_env, and one of password_file and \
         password_env",
    ),
    (
        r#"{"sasl": {"mechanism": "SCRAM-SHA-256", "username": "a", "username_file": "b", "password_file": "c"}}"#,
        "options.sasl is invalid: SCRAM-SHA-256 takes one of username, username_file and username_env, and one of password_file \
         and password_env",
    ),
    (
        r#"{"sasl": {"mechanism": "PLAIN", "username": "a", "password_env": "PGPASSWORD"}}"#,
        "options.sasl.password_env is invalid: \"PGPASSWORD\", expected the name of an environment variable that begins with \
         PGBATCH_KAFKA_CREDENTIAL_",
    ),
    (
        r#"{"sasl": {"mechanism": "PLAIN", "username": "a", "password_env": "PGBATCH_KAFKA_CREDENTIALS"}}"#,
        "options.sasl.password_env is invalid: \"PGBATCH_KAFKA_CREDENTIALS\", expected the name of an environment variable that \
         begins with PGBATCH_KAFKA_CREDENTIAL_",
    ),
    (
        r#"{"sasl": {"mechanism": "OAUTHBEARER", "token_file": "t", "username": "u"}}"#,
        "options.sasl is invalid: OAUTHBEARER takes token_file, and nothing else",
    ),
    (r#"{"linger_ms": -1}"#, "options.linger_ms is invalid: -1, expected milliseconds, from 0 to 86400000"),
    (r#"{"on_lost": null}"#, "options.on_lost is invalid: null, expected one of stop, skip"),
];

/// Options of a trigger with a group: of a topic or of all.
const GROUP_OPTIONS: [(&str, &str, &str); 7] = [
    (
        "'t'",
        r#"{"linger_ms": 1}"#,
        "options.linger_ms is invalid: it is for triggers without a consumer group",
    ),
    (
        "'t'",
        r#"{"activation_lag_threshold": -1}"#,
        "options.activation_lag_threshold is invalid: -1, expected a whole number from 0 on",
    ),
    (
        "'t'",
        r#"{"strategy": "custom"}"#,
        "options.strategy is invalid: \"custom\", expected one of default, accurate, eager",
    ),
    (
        "'t'",
        r#"{"partition_limitation": "1-"}"#,
        "options.partition_limitation is invalid: it must be of numbers and ranges",
    ),
    (
        "NULL",
        r#"{"partition_limitation": "1"}"#,
        "options.partition_limitation is invalid: it is of one topic, and none is given",
    ),
    (
        "'t'",
        r#"{"limit_to_partitions_with_lag": true, "allow_idle_consumers": true}"#,
        "options.limit_to_partitions_with_lag is invalid: it excludes allow_idle_consumers and \
         ensure_even_distribution_of_partitions",
    ),
    (
        "NULL",
        r#"{"ensure_even_distribution_of_partitions": true}"#,
        "options.ensure_even_distribution_of_partitions is invalid: it is of one topic, and none is given",
    ),
];

#[tokio::test]
async fn what_is_refused_leaves_nothing() -> Tested {
    let (_database, client) = with_queue("").await?;
    client.batch_execute("SELECT pgbatch.watch_kafka('taken', 'q', 'k:1', 't')").await?;
    let plain = ARGUMENTS.map(|(arguments, code, says)| (arguments.to_owned(), code, says));
    let options = OPTIONS
        .map(|(options, says)| (format!("'n', 'q', 'k:1', 't', options => '{options}'"), "22023", says));
    let groups = GROUP_OPTIONS.map(|(topic, options, says)| {
        (format!("'n', 'q', 'k:1', {topic}, 'g', options => '{options}'"), "22023", says)
    });
    for (arguments, code, says) in plain.into_iter().chain(options).chain(groups) {
        let error = refused(client.batch_execute(&format!("SELECT pgbatch.watch_kafka({arguments})")).await)
            .map_err(|e| format!("{arguments}: {e}"))?;
        assert_eq!((error.code().code(), error.message()), (code, says), "{arguments}");
        assert!(error.hint().is_some(), "no HINT: {arguments}");
    }
    let left = "SELECT (SELECT count(*) FROM pgbatch.trigger) + (SELECT count(*) FROM pgbatch.kafka_trigger)";
    assert_eq!(value::<i64>(&client, left).await?, 2, "the one that was there");
    Ok(())
}

#[tokio::test]
async fn a_password_is_told_where_it_belongs() -> Tested {
    let (_database, client) = with_queue("").await?;
    let sql = r#"SELECT pgbatch.watch_kafka('n', 'q', 'k:1', 't', options => '{"sasl": {"mechanism": "PLAIN", "password": "hunter2"}}')"#;
    let error = refused(client.batch_execute(sql).await)?;
    assert!(error.hint().is_some_and(|hint| hint.contains("password_file")), "{error:?}");
    assert!(!format!("{} {:?}", error.message(), error.hint()).contains("hunter2"), "{error:?}");
    Ok(())
}

#[tokio::test]
async fn a_trigger_is_listed_keeps_its_queue_and_is_dropped_whole() -> Tested {
    let (_database, client) = with_queue("").await?;
    client
        .batch_execute("SELECT pgbatch.watch_kafka('n', 'q', 'one:9092, two:9092', 'orders', options => '{\"linger_ms\": 5}')")
        .await?;
    let row = client.query_one("SELECT kind, queue, enabled, error FROM pgbatch.triggers", &[]).await?;
    assert_eq!((row.get(0), row.get(1), row.get(2)), ("kafka", "q", true));
    assert_eq!(row.get::<_, Option<String>>(3), None);
    let servers: String = value(&client, "SELECT bootstrap_servers FROM pgbatch.kafka_trigger").await?;
    assert_eq!(servers, "one:9092,two:9092");
    let error = refused(client.batch_execute("SELECT pgbatch.drop_queue('q')").await)?;
    assert_eq!(error.message(), "trigger \"n\" feeds queue \"q\"");
    client.batch_execute("SELECT pgbatch.seek_kafka('n', 0, 5); SELECT pgbatch.drop_trigger('n')").await?;
    let left = "SELECT (SELECT count(*) FROM pgbatch.trigger) + (SELECT count(*) FROM pgbatch.kafka_trigger)
        + (SELECT count(*) FROM pgbatch.kafka_cursor)";
    assert_eq!(value::<i64>(&client, left).await?, 0);
    client.batch_execute("SELECT pgbatch.drop_queue('q')").await?;
    Ok(())
}

#[tokio::test]
async fn what_the_dispatcher_has_to_read_again_is_another_number() -> Tested {
    let (_database, client) = with_queue("").await?;
    let seen = async || value::<Option<String>>(&client, "SELECT change FROM pgbatch.kafka_change").await;
    assert_eq!(seen().await?, None);
    let mut known = vec![];
    for change in [
        "SELECT pgbatch.watch_kafka('n', 'q', 'k:1', 't')",
        "SELECT pgbatch.watch_kafka('m', 'q', 'k:1', 't')",
        "SELECT pgbatch.seek_kafka('n', 0, 5)",
        "SELECT pgbatch.drop_trigger('m'); SELECT pgbatch.watch_kafka('m', 'q', 'k:1', 'u')",
    ] {
        client.batch_execute(change).await?;
        let now = seen().await?;
        assert!(now.is_some() && !known.contains(&now), "{change}: {now:?} after {known:?}");
        known.push(now);
    }
    Ok(())
}

#[tokio::test]
async fn only_who_made_a_trigger_or_the_owner_may_change_it() -> Tested {
    let (database, owner) = with_queue("").await?;
    let superuser = database.connect_as(SUPERUSER).await?;
    let [maker, other] = ["kmaker", "kother"].map(|role| format!("{role}_{}", database.name));
    superuser.batch_execute(&format!("CREATE ROLE {maker} LOGIN; CREATE ROLE {other} LOGIN")).await?;
    owner
        .batch_execute(&format!(
            "SELECT pgbatch.grant('q', '{maker}', 'manage'), pgbatch.grant('q', '{other}', 'manage')"
        ))
        .await?;
    let (maker, stranger) = (database.connect_as(&maker).await?, database.connect_as(&other).await?);
    let make = "SELECT pgbatch.watch_kafka('n', 'q', 'k:1', 't')";
    maker.batch_execute(make).await?;
    for sql in [
        "SELECT pgbatch.drop_trigger('n')",
        "SELECT pgbatch.seek_kafka('n', 0, 1)",
        "SELECT pgbatch.withdraw_trigger('n')",
    ] {
        let error = refused(stranger.batch_execute(sql).await)?;
        assert_eq!(error.code().code(), "42501", "{sql}: {error:?}");
        assert_eq!(error.message(), format!("trigger \"n\" is not of {other}"), "{sql}");
    }
    maker.batch_execute("SELECT pgbatch.seek_kafka('n', 0, 1); SELECT pgbatch.drop_trigger('n')").await?;
    maker.batch_execute(make).await?;
    owner.batch_execute("SELECT pgbatch.drop_trigger('n')").await?;
    assert_eq!(value::<i64>(&owner, "SELECT count(*) FROM pgbatch.kafka_trigger").await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_seek_that_makes_no_sense_is_refused() -> Tested {
    let (_database, client) = with_queue("").await?;
    client
        .batch_execute("SELECT pgbatch.watch_kafka('n', 'q', 'k:1', 't'), pgbatch.watch_kafka('g', 'q', 'k:1', 't', 'group')")
        .await?;
    for (arguments, code, says) in [
        ("'no', 0, 0", "42704", "trigger \"no\" does not exist"),
        ("'g', 0, 0", "42809", "trigger \"g\" follows the offsets of consumer group \"group\""),
        ("'n', -1, 0", "22023", "partition must be at least 0, not -1"),
        ("'n', 0, NULL", "22023", "next_offset must be at least 0, not NULL"),
    ] {
        let error = refused(client.batch_execute(&format!("SELECT pgbatch.seek_kafka({arguments})")).await)?;
        assert_eq!((error.code().code(), error.message()), (code, says), "{arguments}");
    }
    Ok(())
}
