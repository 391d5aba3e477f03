//! What `enqueue_on_insert` refuses: one ERROR with its SQLSTATE and a HINT, and nothing stored.

use tokio_postgres::Client;

use crate::support::{Tested, refused, value, with_queue};

/// Checks that a statement is refused with this SQLSTATE, message and a HINT, and leaves no trigger.
async fn check(client: &Client, sql: &str, sqlstate: &str, says: &str) -> Tested {
    let error = refused(client.batch_execute(sql).await)?;
    assert_eq!(error.code().code(), sqlstate, "{sql}: {error}");
    assert_eq!(error.message(), says, "{sql}");
    assert!(error.hint().is_some(), "no HINT: {sql}");
    let left = "SELECT (SELECT count(*) FROM pgbatch.trigger) + (SELECT count(*) FROM pg_trigger WHERE tgname = 'pgbatch_q')
        + (SELECT count(*) FROM pg_class WHERE relname = 'new')";
    assert_eq!(value::<i64>(client, left).await?, 0, "left by {sql}");
    Ok(())
}

#[tokio::test]
async fn conditions_that_may_not_be() -> Tested {
    let (_database, client) = with_queue("").await?;
    client
        .batch_execute(
            "CREATE TYPE status AS ENUM ('new'); CREATE DOMAIN positive AS int CHECK (value > 0);
             CREATE FUNCTION mine(int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT true';
             CREATE OPERATOR @@@ (FUNCTION = mine, RIGHTARG = int);
             CREATE TABLE t (a int, b text, at timestamptz, s status)",
        )
        .await?;
    for (condition, sqlstate, says) in [
        ("nope > 1", "42703", "column \"nope\" does not exist"),
        ("old.a > 1", "22023", "missing FROM-clause entry for table \"old\""),
        ("a + 1", "22023", "it must be type boolean, not type integer"),
        ("", "22023", "syntax error at or near \")\""),
        ("a >", "22023", "syntax error at or near \")\""),
        ("a > 1; DROP TABLE t", "22023", "syntax error at or near \";\""),
        ("true), CHECK (a > 1", "22023", "it is not one expression"),
        ("true), extra int CHECK (extra > 1", "22023", "it is not one expression"),
        ("a = 'x'", "22023", "invalid input syntax for type integer: \"x\""),
        ("a > $1", "22023", "there is no parameter $1"),
        ("a IN (SELECT 1)", "22023", "cannot use subquery in condition"),
        ("count(*) > 1", "22023", "aggregate functions are not allowed in conditions"),
        ("generate_series(1, a) > 1", "22023", "set-returning functions are not allowed in conditions"),
        ("random() > a", "22023", "random() is not immutable: its result can differ for the same row"),
        ("at > now()", "22023", "now() is not immutable: its result can differ for the same row"),
        (
            "at::date > 'today'",
            "22023",
            "date(timestamp with time zone) is not immutable: its result can differ for the same row",
        ),
        (
            "b = current_user",
            "22023",
            "it depends on the time or the session, as CURRENT_DATE and CURRENT_USER do",
        ),
        ("new IS NOT NULL", "22023", "it names the row as a whole"),
        ("public.mine(a)", "22023", "public.mine(integer) is not a part of PostgreSQL"),
        ("OPERATOR(public.@@@) a", "22023", "public.mine(integer) is not a part of PostgreSQL"),
        ("mine(a)", "22023", "function mine(integer) does not exist"),
        ("s = 'new'::public.status", "22023", "operator does not exist: text = public.status"),
        ("b::public.status = 'new'", "22023", "type public.status is not a part of PostgreSQL"),
        ("a::public.positive > 0", "22023", "type public.positive is not a part of PostgreSQL"),
    ] {
        let sql = format!("SELECT pgbatch.enqueue_on_insert('t', 'q', $c${condition}$c$)");
        check(&client, &sql, sqlstate, &format!("condition is invalid: {says}")).await?;
    }
    Ok(())
}

#[tokio::test]
async fn tables_and_queues_that_may_not_be() -> Tested {
    let (_database, client) = with_queue("").await?;
    client
        .batch_execute(
            "CREATE TABLE t (a int); CREATE VIEW v AS SELECT 1 AS a; CREATE MATERIALIZED VIEW m AS SELECT 1 AS a;
             CREATE SEQUENCE s",
        )
        .await?;
    for (arguments, sqlstate, says) in [
        ("NULL, 'q'", "22023", "source must not be NULL"),
        ("1::regclass, 'q'", "42704", "source is invalid: relation 1 does not exist"),
        ("'v', 'q'", "42809", "source is invalid: public.v is no table but a view"),
        ("'m', 'q'", "42809", "source is invalid: public.m is no table but a materialized view"),
        ("'s', 'q'", "42809", "source is invalid: public.s is no table but a relation of another kind"),
        ("'pgbatch.batch', 'q'", "22023", "source is invalid: pgbatch.batch belongs to pgbatch"),
        ("'t', 'nope'", "42704", "queue \"nope\" does not exist"),
        ("'t', NULL", "42704", "queue NULL does not exist"),
        ("'t', 'q', name => ''", "22023", "name must be of 1 to 128 characters, not 0"),
        ("'t', 'q', name => repeat('x', 129)", "22023", "name must be of 1 to 128 characters, not 129"),
    ] {
        check(&client, &format!("SELECT pgbatch.enqueue_on_insert({arguments})"), sqlstate, says).await?;
    }
    check(&client, "SELECT pgbatch.drop_trigger('nope')", "42704", "trigger \"nope\" does not exist").await?;
    check(&client, "SELECT pgbatch.drop_trigger(NULL)", "42704", "trigger NULL does not exist").await?;
    Ok(())
}

#[tokio::test]
async fn a_foreign_table_is_refused() -> Tested {
    let (database, client) = with_queue("").await?;
    let superuser = database.connect_as(e2e::postgres::SUPERUSER).await?;
    superuser
        .batch_execute(
            "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE f (a int) SERVER s",
        )
        .await?;
    let says = "source is invalid: public.f is no table but a foreign table";
    check(&client, "SELECT pgbatch.enqueue_on_insert('f', 'q')", "42809", says).await
}

#[tokio::test]
async fn a_second_trigger_is_refused_where_it_would_enqueue_rows_twice() -> Tested {
    let (_database, client) = with_queue("").await?;
    client
        .batch_execute(
            "SELECT pgbatch.create_queue('r', sql => 'SELECT 1'); CREATE TABLE t (a int);
             SELECT pgbatch.enqueue_on_insert('t', 'q'); SELECT pgbatch.enqueue_on_insert('t', 'r', 'a > 1');
             INSERT INTO t VALUES (1), (2)",
        )
        .await?;
    let items = "SELECT string_agg(b.queue || (i.item ->> 'a'), ' ' ORDER BY b.queue, i.item_no)
        FROM pgbatch.items i JOIN pgbatch.batches b ON b.id = i.batch_id";
    assert_eq!(value::<String>(&client, items).await?, "q1 q2 r2");
    for (call, says) in [
        ("'t', 'q', 'a > 2'", "trigger \"t-q\" enqueues the rows of public.t to queue \"q\" already"),
        ("'u', 'q', name => 't-q'", "trigger \"t-q\" exists already"),
    ] {
        client.batch_execute("CREATE TABLE IF NOT EXISTS u (a int)").await?;
        let error =
            refused(client.batch_execute(&format!("SELECT pgbatch.enqueue_on_insert({call})")).await)?;
        assert_eq!((error.code().code(), error.message()), ("42710", says));
        assert!(error.hint().is_some());
    }
    Ok(())
}

/// The condition was checked with the types that its columns had.
#[tokio::test]
async fn a_condition_whose_column_has_changed_stops_the_insert() -> Tested {
    let (_database, client) = with_queue("").await?;
    client
        .batch_execute(
            "CREATE TABLE t (a int, b text); SELECT pgbatch.enqueue_on_insert('t', 'q', 'b > ''c''')",
        )
        .await?;
    client.batch_execute("ALTER TABLE t ALTER a TYPE bigint; INSERT INTO t VALUES (1, 'd')").await?;
    for (change, now) in [("ALTER b TYPE int USING 1", "is of type integer"), ("DROP b", "is not there")] {
        client.batch_execute(&format!("ALTER TABLE t {change}")).await?;
        let error = refused(client.batch_execute("INSERT INTO t (a) VALUES (2)").await)?;
        let says = format!("the condition is about column b of public.t, which was of type text and {now}");
        assert_eq!((error.code().code(), error.message()), ("22023", says.as_str()));
        assert!(error.hint().is_some_and(|h| h.contains("pgbatch.drop_trigger()")));
    }
    client.batch_execute("SELECT pgbatch.drop_trigger('t-q'); INSERT INTO t (a) VALUES (3)").await?;
    Ok(())
}
