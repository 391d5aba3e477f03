//! What `watch_rows` refuses, and whom.

use e2e::postgres::{OWNER, SUPERUSER};
use tokio_postgres::Client;

use crate::support::{Tested, refused, value, with_queue};

/// Queries, and what is said of them.
const QUERIES: [(&str, &str); 20] = [
    ("", "query is invalid: syntax error at end of input"),
    ("DELETE FROM t RETURNING a", "query is invalid: syntax error at or near \"DELETE\""),
    ("SELECT nope FROM t", "query is invalid: column \"nope\" does not exist"),
    ("SELECT a, a FROM t", "query is invalid: column \"a\" specified more than once"),
    ("SELECT FROM t", "query is invalid: it has no column"),
    ("SELECT 1 AS a", "query is invalid: it reads no table"),
    ("SELECT a FROM t WHERE at < now()", "query is invalid: the result of now() changes by itself"),
    ("SELECT a FROM v", "query is invalid: the result of now() changes by itself"),
    (
        "SELECT a FROM t WHERE at < CURRENT_DATE",
        "query is invalid: it depends on the time or the session, as CURRENT_DATE and CURRENT_USER do",
    ),
    (
        "SELECT a FROM t WHERE current_setting('x') = 'x'",
        "query is invalid: the result of current_setting(text) changes by itself",
    ),
    ("SELECT a, random() FROM t", "query is invalid: random() is volatile"),
    (
        "SELECT mine AS a FROM t, mine()",
        "query is invalid: public.mine() is not immutable, so it may read what cannot be seen from here",
    ),
    (
        "SELECT a FROM t TABLESAMPLE SYSTEM (1)",
        "query is invalid: a sample of a table is another one each time",
    ),
    ("SELECT a FROM t FOR UPDATE", "query is invalid: it locks rows"),
    (
        "SELECT a FROM m",
        "query is invalid: it reads public.m, a materialized view, and nobody is told when that changes",
    ),
    (
        "SELECT f.a FROM t, f",
        "query is invalid: it reads public.f, a foreign table, and nobody is told when that changes",
    ),
    (
        "SELECT last_value FROM s",
        "query is invalid: it reads public.s, a relation that is no table, and nobody is told when that changes",
    ),
    (
        "SELECT relname FROM t, pg_class",
        "query is invalid: it reads pg_class, a system catalog, and nobody is told when that changes",
    ),
    (
        "SELECT id FROM t, pgbatch.batch",
        "query is invalid: it reads pgbatch.batch, a relation of pgbatch, and nobody is told when that changes",
    ),
    ("SELECT a FROM theirs", "query is invalid: it reads public.theirs, which is not of owner"),
];

/// Checks that a call is refused with this message and a HINT, and leaves nothing.
async fn check(client: &Client, arguments: &str, sqlstate: &str, says: &str) -> Tested {
    let error = refused(client.batch_execute(&format!("SELECT pgbatch.watch_rows({arguments})")).await)?;
    assert_eq!((error.code().code(), error.message()), (sqlstate, says), "{arguments}");
    assert!(error.hint().is_some(), "no HINT: {arguments}");
    let left = "SELECT (SELECT count(*) FROM pgbatch.trigger)
        + (SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'pgbatch%')
        + (SELECT count(*) FROM pg_views WHERE viewname LIKE 'watched%')";
    assert_eq!(value::<i64>(client, left).await?, 0, "left by {arguments}");
    Ok(())
}

#[tokio::test]
async fn queries_that_may_not_be() -> Tested {
    let (database, client) = with_queue("").await?;
    let superuser = database.connect_as(SUPERUSER).await?;
    superuser
        .batch_execute(
            "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE f (a int) SERVER s;
             CREATE TABLE theirs (a int); GRANT SELECT ON theirs, f TO PUBLIC",
        )
        .await?;
    client
        .batch_execute(
            "CREATE TABLE t (a int, at timestamptz); CREATE MATERIALIZED VIEW m AS SELECT 1 AS a;
             CREATE VIEW v AS SELECT a FROM t WHERE at < now(); CREATE SEQUENCE s;
             CREATE FUNCTION mine() RETURNS SETOF int STABLE LANGUAGE sql AS 'SELECT a FROM t'",
        )
        .await?;
    for (query, says) in QUERIES {
        let sqlstate = if query.contains("theirs") { "42501" } else { "22023" };
        check(&client, &format!("'w', 'q', $q${query}$q$"), sqlstate, says).await?;
    }
    Ok(())
}

#[tokio::test]
async fn names_and_queues_that_may_not_be() -> Tested {
    let (_database, client) = with_queue("").await?;
    for (arguments, sqlstate, says) in [
        ("NULL, 'q', 'SELECT a FROM t'", "22023", "name must be of 1 to 128 characters, not NULL"),
        ("repeat('x', 129), 'q', 'SELECT a FROM t'", "22023", "name must be of 1 to 128 characters, not 129"),
        ("'w', 'nope', 'SELECT a FROM t'", "42704", "queue \"nope\" does not exist"),
        ("'w', 'q', NULL", "22023", "query must not be NULL"),
    ] {
        check(&client, arguments, sqlstate, says).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_does_not_change_by_itself_is_taken() -> Tested {
    let (_database, client) = with_queue("").await?;
    client
        .batch_execute(
            "CREATE TYPE status AS ENUM ('new'); CREATE TABLE t (a int, at timestamptz, s status, j jsonb); CREATE TABLE u (a int);
             CREATE FUNCTION double(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 * 2';
             SELECT pgbatch.watch_rows('w', 'q', $q$
                 SELECT t.a, jsonb_build_object('d', to_char(t.at, 'YYYY'), 'n', double(count(*)::int), 'l', jsonb_agg(u)) AS item
                 FROM t LEFT JOIN u USING (a) JOIN LATERAL jsonb_array_elements(t.j) e ON true
                 WHERE t.s = 'new' AND t.at::date > '2020-01-01' AND t.at + '1 day' > date_trunc('month', t.at)
                     AND NOT EXISTS (SELECT FROM u x WHERE (x.a, 1) < (t.a, 0))
                 GROUP BY t.a, t.at HAVING count(*) > 0 $q$);
             INSERT INTO u VALUES (1); INSERT INTO t VALUES (1, '2026-01-02', 'new', '[1, 2]'), (0, '2020-01-01', 'new', '[1]')",
        )
        .await?;
    crate::support::observe(&client).await?;
    let items: String = value(
        &client,
        "SELECT concat(string_agg(item::text, ''), (SELECT error FROM pgbatch.triggers)) FROM pgbatch.stored_item",
    )
    .await?;
    assert_eq!(items, r#"{"d": "2026", "l": [{"a": 1}, {"a": 1}], "n": 4}"#);
    Ok(())
}

/// The query runs with the owner's rights, so nobody else may say what it is.
#[tokio::test]
async fn only_the_extensions_owner_may_watch() -> Tested {
    let (database, client) = with_queue("").await?;
    let role = format!("watcher_{}", database.name);
    database.connect_as(SUPERUSER).await?.batch_execute(&format!("CREATE ROLE {role} LOGIN")).await?;
    client
        .batch_execute(&format!(
            "GRANT USAGE ON SCHEMA pgbatch TO {role}; GRANT EXECUTE ON FUNCTION pgbatch.watch_rows TO {role}"
        ))
        .await?;
    for other in [&role, SUPERUSER] {
        let stranger = database.connect_as(other).await?;
        let error = refused(stranger.batch_execute("SELECT pgbatch.watch_rows('w', 'q', 'SELECT 1')").await)?;
        let says = format!("watch_rows() may be called by the extension's owner only, by {OWNER}");
        assert_eq!((error.code().code(), error.message()), ("42501", says.as_str()));
        assert!(error.hint().is_some());
    }
    Ok(())
}

/// The names in a query are those of its caller.
#[tokio::test]
async fn a_query_has_its_callers_search_path() -> Tested {
    let (_database, client) = with_queue("").await?;
    client
        .batch_execute(
            "CREATE SCHEMA s; CREATE TABLE s.t (a int);
             CREATE FUNCTION s.hostile(oid, oid) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'hostile'; END $$;
             CREATE FUNCTION s.hostile(name, name) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'hostile'; END $$;
             CREATE OPERATOR s.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = s.hostile);
             CREATE OPERATOR s.<> (LEFTARG = name, RIGHTARG = name, FUNCTION = s.hostile);
             CREATE FUNCTION s.format(text, text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'hostile'; END $$;
             SET search_path = s, pg_catalog; SELECT pgbatch.watch_rows('w', 'q', 'SELECT a FROM t'); INSERT INTO t VALUES (1)",
        )
        .await?;
    crate::support::observe(&client).await?;
    client.batch_execute("SET search_path = pg_catalog").await?;
    assert_eq!(
        value::<String>(&client, "SELECT string_agg(item::text, '') FROM pgbatch.stored_item").await?,
        r#"{"a": 1}"#
    );
    Ok(())
}
