//! What `watch_count` refuses, and whom.

use e2e::postgres::{OWNER, SUPERUSER};

use crate::support::{Tested, refused, value, with_queue};

/// Arguments after the name, and what is said of them.
const ARGUMENTS: [(&str, &str, &str); 29] = [
    ("NULL, 'q', 'SELECT n FROM t'", "22023", "name must be of 1 to 128 characters, not NULL"),
    ("'w', 'q', 'SELECT n FROM t'", "42710", "trigger \"w\" exists already"),
    ("'x', 'nope', 'SELECT n FROM t'", "42704", "queue \"nope\" does not exist"),
    ("'x', 'many', 'SELECT n FROM t'", "22023", "queue \"many\" has items_per_run 2"),
    ("'x', 'p', NULL", "22023", "query must not be NULL"),
    ("'x', 'p', 'SELECT nope FROM t'", "22023", "query is invalid: column \"nope\" does not exist"),
    ("'x', 'p', 'SELECT 1'", "22023", "query is invalid: it reads no table"),
    (
        "'x', 'p', 'SELECT n FROM t WHERE now() > now()'",
        "22023",
        "query is invalid: the result of now() changes by itself",
    ),
    (
        "'x', 'p', 'SELECT n, n AS m FROM t'",
        "22023",
        "query is invalid: it returns (integer, integer), not one number",
    ),
    ("'x', 'p', 'SELECT n::text FROM t'", "22023", "query is invalid: it returns (text), not one number"),
    ("'x', 'p', 'SELECT FROM t'", "22023", "query is invalid: it returns (), not one number"),
    ("'x', 'p', 'SELECT n FROM t', target => 0", "22023", "target must be from 0.001 to 1e15, not 0"),
    ("'x', 'p', 'SELECT n FROM t', target => 'NaN'", "22023", "target must be from 0.001 to 1e15, not NaN"),
    ("'x', 'p', 'SELECT n FROM t', target => NULL", "22023", "target must be from 0.001 to 1e15, not NULL"),
    ("'x', 'p', 'SELECT n FROM t', activation => NULL", "22023", "activation must be a number, not NULL"),
    ("'x', 'p', 'SELECT n FROM t', activation => 'NaN'", "22023", "activation must be a number, not NaN"),
    ("'x', 'p', 'SELECT n FROM t', strategy => 'greedy'", "22023", "strategy is invalid: 'greedy'"),
    ("'x', 'p', 'SELECT n FROM t', strategy => NULL", "22023", "strategy is invalid: NULL"),
    (
        "'x', 'p', 'SELECT n FROM t', custom_deduction => 1",
        "22023",
        "custom_deduction and custom_running_percentage are for the strategy 'custom'",
    ),
    (
        "'x', 'p', 'SELECT n FROM t', strategy => 'custom'",
        "22023",
        "custom_running_percentage must be at least 0, not NULL",
    ),
    ("'x', 'p', 'SELECT n FROM t', custom_deduction => NULL", "22023", "custom_deduction must not be NULL"),
    ("'x', 'p', 'SELECT n FROM t', min_runs => -1", "22023", "min_runs must be at least 0, not -1"),
    ("'x', 'p', 'SELECT n FROM t', max_runs => 0", "22023", "max_runs must be at least 1, not 0"),
    (
        "'x', 'p', 'SELECT n FROM t', min_runs => 5, max_runs => 4",
        "22023",
        "min_runs and max_runs must be at most max_runs, not 5 and 4",
    ),
    (
        "'x', 'p', 'SELECT n FROM t', max_runs => 10001",
        "22023",
        "min_runs and max_runs must be at most 10000, not 0 and 10001",
    ),
    ("'x', 'p', 'SELECT n FROM t', combine => 'median'", "22023", "combine is invalid: 'median'"),
    ("'x', 'p', 'SELECT n FROM t', combine => NULL", "22023", "combine is invalid: NULL"),
    (
        "'x', 'q', 'SELECT n FROM t', combine => 'sum'",
        "22023",
        "queue \"q\" has another strategy, minimum, maximum or combination by trigger \"w\"",
    ),
    (
        "'x', 'p', 'SELECT n FROM theirs'",
        "42501",
        "query is invalid: it reads public.theirs, which is not of owner",
    ),
];

#[tokio::test]
async fn arguments_that_may_not_be() -> Tested {
    let (database, client) = with_queue("").await?;
    let superuser = database.connect_as(SUPERUSER).await?;
    superuser.batch_execute("CREATE TABLE theirs (n int); GRANT SELECT ON theirs TO PUBLIC").await?;
    client
        .batch_execute(
            "SELECT pgbatch.create_queue('p', sql => 'SELECT 1'), pgbatch.create_queue('many', sql => 'SELECT 1', items_per_run => 2);
             CREATE TABLE t (n int); SELECT pgbatch.watch_count('w', 'q', 'SELECT n FROM t')",
        )
        .await?;
    let stored = "SELECT (SELECT count(*) FROM pgbatch.trigger) + (SELECT count(*) FROM pgbatch.demand)
        + (SELECT count(*) FROM pgbatch.scaling) + (SELECT count(*) FROM pg_views WHERE viewname LIKE 'watched%')
        + (SELECT count(DISTINCT tgargs) FROM pg_trigger WHERE tgname LIKE 'pgbatch%')";
    for (arguments, sqlstate, says) in ARGUMENTS {
        let call = format!("SELECT pgbatch.watch_count({arguments})");
        let error = refused(client.batch_execute(&call).await).map_err(|e| format!("{arguments}: {e}"))?;
        assert_eq!((error.code().code(), error.message()), (sqlstate, says), "{arguments}");
        assert!(error.hint().is_some(), "no HINT: {arguments}");
        assert_eq!(value::<i64>(&client, stored).await?, 5, "left by {arguments}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_no_policy_is_no_number_of_jobs() -> Tested {
    let (_database, client) = with_queue("").await?;
    for (arguments, says) in [
        (r#"'[]', '{"strategy": "greedy"}', 0, 0"#, "policy is invalid: "),
        (r#"'{}', '{}', 0, 0"#, "readings is invalid: "),
    ] {
        let error =
            refused(client.batch_execute(&format!("SELECT pgbatch.jobs_to_create({arguments})")).await)?;
        assert!(error.code().code() == "22023" && error.message().starts_with(says), "{error}");
    }
    let readings = r#"[{"value": 7, "target": 2, "is_active": true}]"#;
    let jobs = format!("SELECT pgbatch.jobs_to_create('{readings}', '{{\"max\": 10}}', 1, 1)");
    assert_eq!(value::<i32>(&client, &jobs).await?, 3);
    Ok(())
}

#[tokio::test]
async fn only_the_extensions_owner_may_count() -> Tested {
    let (database, client) = with_queue("").await?;
    let role = format!("counter_{}", database.name);
    database.connect_as(SUPERUSER).await?.batch_execute(&format!("CREATE ROLE {role} LOGIN")).await?;
    client
        .batch_execute(&format!(
            "CREATE TABLE t (n int); GRANT USAGE ON SCHEMA pgbatch TO {role}; GRANT EXECUTE ON FUNCTION pgbatch.watch_count TO {role}"
        ))
        .await?;
    let counter = database.connect_as(&role).await?;
    let error =
        refused(counter.batch_execute("SELECT pgbatch.watch_count('w', 'q', 'SELECT n FROM t')").await)?;
    let says = format!("watch_count() may be called by the extension's owner only, by {OWNER}");
    assert_eq!((error.code().code(), error.message()), ("42501", says.as_str()));
    Ok(())
}
