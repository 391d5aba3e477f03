//! What `schedule` and its kin refuse, and whom.

use e2e::postgres::{OWNER, SUPERUSER};

use crate::support::{Tested, refused, value, with_queue};

/// Calls, and what is said of them.
const CALLS: [(&str, &str, &str); 34] = [
    ("schedule(NULL, 'q', '@daily')", "22023", "name must be of 1 to 128 characters, not NULL"),
    ("schedule('', 'q', '@daily')", "22023", "name must be of 1 to 128 characters, not 0"),
    ("schedule('x', NULL, '@daily')", "42704", "queue NULL does not exist"),
    ("schedule('x', 'nope', '@daily')", "42704", "queue \"nope\" does not exist"),
    ("schedule('x', 'q', NULL)", "22023", "cron must not be NULL"),
    ("schedule('x', 'q', '@daily', NULL)", "22023", "timezone must not be NULL"),
    ("schedule('x', 'q', '')", "22023", "cron is invalid: it is empty"),
    (
        "schedule('x', 'q', 'daily')",
        "22023",
        "cron is invalid: Pattern must have 5 or 6 fields when years are disallowed",
    ),
    ("schedule('x', 'q', '0 25 * * *')", "22023", "cron is invalid: Number out of bounds"),
    ("schedule('x', 'q', '0 2 , * *')", "22023", "cron is invalid: a field names nothing"),
    ("schedule('x', 'q', '0 0 31 2 *')", "22023", "cron is invalid: \"0 0 31 2 *\" never occurs"),
    (
        "schedule('x', 'q', '@daily', 'Mars/Olympus')",
        "22023",
        "timezone is invalid: \"Mars/Olympus\" is not known",
    ),
    ("schedule('x', 'q', '@daily', items => '{}')", "22023", "items is empty"),
    (
        "schedule('x', 'q', '@daily', items => '{\"{}\", \"[]\"}')",
        "22023",
        "items[2] is invalid: array, expected a JSON object",
    ),
    (
        "schedule('x', 'q', '@daily', items => ARRAY[NULL]::jsonb[])",
        "22023",
        "items[1] is invalid: NULL, expected a JSON object",
    ),
    (
        "schedule('x', 'q', '@daily', items => ARRAY[jsonb_build_object('a', repeat('x', 65500))])",
        "22023",
        "items[1] is too large: 65550 bytes as text, at most 65536 are allowed",
    ),
    (
        "schedule('x', 'q', '@daily', items => '{\"{}\"}', query => 'SELECT 1 AS x')",
        "22023",
        "items and query are both given",
    ),
    (
        "schedule('x', 'q', '@daily', query => 'SELECT nope')",
        "22023",
        "query is invalid: column \"nope\" does not exist",
    ),
    (
        "schedule('x', 'q', '@daily', query => 'DELETE FROM t')",
        "22023",
        "query is invalid: syntax error at or near \"DELETE\"",
    ),
    ("schedule('x', 'q', '@daily', query => '')", "22023", "query is invalid: syntax error at end of input"),
    ("schedule('x', 'q', '@daily', missed => 'run')", "22023", "missed is invalid: 'run'"),
    ("schedule('x', 'q', '@daily', missed => NULL)", "22023", "missed is invalid: NULL"),
    (
        "schedule('x', 'q', '@daily', missed_window => '0')",
        "22023",
        "missed_window must be from 00:00:01 to 100 years, not 00:00:00",
    ),
    ("schedule('x', 'q', '@daily', overlap => 'never')", "22023", "overlap is invalid: 'never'"),
    (
        "schedule('x', 'q', '@daily', missed => 'run_all', overlap => 'skip')",
        "22023",
        "missed 'run_all' contradicts overlap 'skip'",
    ),
    (
        "schedule('x', 'q', '@daily', finish_within => '0')",
        "22023",
        "finish_within must be from 00:00:01 to 100 years, not 00:00:00",
    ),
    (
        "schedule('x', 'q', '@daily', finish_within => '101 years')",
        "22023",
        "finish_within must be from 00:00:01 to 100 years, not 101 years",
    ),
    (
        "alter_schedule('s', finish_within => '-1 h')",
        "22023",
        "finish_within must be from 00:00:01 to 100 years, not -01:00:00",
    ),
    ("alter_schedule('x', '@daily')", "42704", "schedule \"x\" does not exist"),
    (
        "alter_schedule('s', 'daily')",
        "22023",
        "cron is invalid: Pattern must have 5 or 6 fields when years are disallowed",
    ),
    ("alter_schedule('s', items => '{\"{}\"}')", "22023", "items are those of the query"),
    ("backfill(NULL, now() - interval '1 h', now())", "42704", "schedule NULL does not exist"),
    (
        "backfill('s', '2000-01-01', NULL)",
        "22023",
        "the span from 2000-01-01 00:00:00+00 to NULL is no past time",
    ),
    ("backfill('s', '2000-01-01', '2000-02-01')", "22023", "the span has more than 10000 occurrences"),
];

/// Everything that could be left by a call.
const STORED: &str = "SELECT (SELECT string_agg(t::text, ' ') FROM pgbatch.schedule t)
    || (SELECT string_agg(t::text, ' ') FROM pgbatch.trigger t) || (SELECT count(*) FROM pgbatch.batch)
    || (SELECT count(*) FROM pg_views WHERE viewname LIKE 'scheduled%') || (SELECT count(*) FROM pgbatch.occurrence)";

#[tokio::test]
async fn calls_that_may_not_be() -> Tested {
    let (_database, client) = with_queue("").await?;
    client
        .batch_execute(
            "SET TimeZone = 'UTC'; SELECT pgbatch.schedule('s', 'q', '* * * * *', query => 'SELECT 1 AS x')",
        )
        .await?;
    let before: String = value(&client, STORED).await?;
    for (call, sqlstate, says) in CALLS {
        let error = refused(client.batch_execute(&format!("SELECT pgbatch.{call}")).await)
            .map_err(|e| format!("{call}: {e}"))?;
        assert_eq!((error.code().code(), error.message()), (sqlstate, says), "{call}");
        assert!(error.hint().is_some(), "no HINT: {call}");
        assert_eq!(value::<String>(&client, STORED).await?, before, "left by {call}");
    }
    for span in ["now(), now() + interval '1 h'", "now(), now() - interval '1 h'", "'-infinity', now()"] {
        let error = refused(client.batch_execute(&format!("SELECT pgbatch.backfill('s', {span})")).await)?;
        assert!(
            error.message().starts_with("the span from ") && error.message().ends_with(" is no past time"),
            "{error}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn whoever_may_schedule_may_not_give_a_query_nor_change_what_others_made() -> Tested {
    let (database, owner) = with_queue("").await?;
    owner.batch_execute("SELECT pgbatch.schedule('s', 'q', '* * * * *', query => 'SELECT 1 AS x')").await?;
    let superuser = database.connect_as(SUPERUSER).await?;
    let [maker, other] = ["planner", "rival"].map(|role| format!("{role}_{}", database.name));
    for role in [&maker, &other] {
        superuser.batch_execute(&format!("CREATE ROLE {role} LOGIN")).await?;
        owner.batch_execute(&format!("SELECT pgbatch.grant('q', '{role}', 'manage')")).await?;
    }
    let planner = database.connect_as(&maker).await?;
    planner.batch_execute("SELECT pgbatch.schedule('mine', 'q', '* * * * *')").await?;
    let error = refused(
        planner.batch_execute("SELECT pgbatch.schedule('x', 'q', '* * * * *', query => 'SELECT 1')").await,
    )?;
    assert_eq!(error.message(), format!("query may be given by the extension's owner only, by {OWNER}"));
    assert_eq!((error.code().code(), error.hint().is_some()), ("42501", true));
    let rival = database.connect_as(&other).await?;
    for (client, name, who) in [(&rival, "mine", &other), (&planner, "s", &maker)] {
        for call in [
            format!("alter_schedule('{name}', '0 0 * * *')"),
            format!("backfill('{name}', now() - interval '1 h', now())"),
            format!("drop_trigger('{name}')"),
            format!("withdraw_trigger('{name}')"),
        ] {
            if name == "s" && call.contains("_trigger") {
                continue;
            }
            let error = refused(client.batch_execute(&format!("SELECT pgbatch.{call}")).await)?;
            assert_eq!(
                (error.code().code(), error.message()),
                ("42501", format!("trigger \"{name}\" is not of {who}").as_str()),
                "{call}"
            );
        }
    }
    let error = refused(planner.batch_execute("SELECT pgbatch.drop_trigger('s')").await)?;
    assert_eq!(error.code().code(), "42501", "the view is the owner's");
    planner
        .batch_execute(
            "SELECT pgbatch.alter_schedule('mine', '0 0 * * *'); SELECT pgbatch.drop_trigger('mine')",
        )
        .await?;
    owner.batch_execute("SELECT pgbatch.drop_trigger('s')").await?;
    assert_eq!(value::<i64>(&owner, "SELECT count(*) FROM pgbatch.schedule").await?, 0);
    Ok(())
}
