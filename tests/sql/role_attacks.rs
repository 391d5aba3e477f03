//! Attempts to get at more than was granted: by other roles, names, sessions and errands, by what is left of a dropped role, and by
//! what a view tells on the way.

use e2e::postgres::{OWNER, Server};
use tokio_postgres::Client;

use crate::dump::copy;
use crate::roles::Stage;
use crate::support::{Tested, refused, value};

/// The SQLSTATE of a statement that must fail.
pub(crate) async fn code(client: &Client, sql: &str) -> Tested<String> {
    let error = refused(client.batch_execute(sql).await).map_err(|e| format!("{sql}: {e}"))?;
    Ok(error.code().code().to_owned())
}

pub(crate) const INTO_A: &str = "SELECT pgbatch.enqueue('a')";
pub(crate) const INTO_B: &str = "SELECT pgbatch.enqueue('b')";

#[tokio::test]
async fn a_right_is_that_of_the_role_that_is_set() -> Tested {
    let stage = Stage::set().await?;
    let (enqueuer, stranger) = (stage.role("enqueuer"), stage.role("stranger"));
    for (become_it, back) in
        [("SET ROLE", "RESET ROLE"), ("SET SESSION AUTHORIZATION", "RESET SESSION AUTHORIZATION")]
    {
        let session = &stage.superuser;
        session.batch_execute(&format!("{become_it} {enqueuer}; {INTO_A}")).await?;
        assert_eq!(code(session, INTO_B).await?, "42501", "{become_it}");
        session.batch_execute(&format!("{become_it} {stranger}")).await?;
        assert_eq!(code(session, INTO_A).await?, "42501", "{become_it}");
        session.batch_execute(&format!("{back}; {INTO_B}")).await?;
    }
    // In one transaction: what another role has begun is not to be added to.
    let begin = format!(
        "BEGIN; CREATE TEMPORARY TABLE opened AS SELECT id FROM
             pgbatch.open_query_batch('b', NULL, 0, NULL, NULL, NULL, NULL, NULL);
         GRANT SELECT ON opened TO PUBLIC; SET LOCAL ROLE {enqueuer}"
    );
    for step in ["add_query_items(id, 1, '{}')", "close_query_batch(id, 1)"] {
        stage.superuser.batch_execute(&begin).await?;
        assert_eq!(
            code(&stage.superuser, &format!("SELECT pgbatch.{step} FROM opened")).await?,
            "42501",
            "{step}"
        );
        stage.superuser.batch_execute("ROLLBACK").await?;
    }
    // A member that has to set the role first, as NOINHERIT says, has nothing before.
    let member = stage.role("member");
    // Granted anew: since PostgreSQL 16 the grant remembers what the role was when it was given.
    let not_inherited = format!(
        "REVOKE group_of_{member} FROM {member}; ALTER ROLE {member} NOINHERIT; GRANT group_of_{member} TO {member}"
    );
    stage.superuser.batch_execute(&not_inherited).await?;
    let client = stage.client("member").await?;
    assert_eq!(code(&client, INTO_A).await?, "42501");
    client.batch_execute(&format!("SET ROLE group_of_{member}; {INTO_A}")).await?;
    Ok(())
}

#[tokio::test]
async fn names_that_are_found_first_do_no_harm() -> Tested {
    let stage = Stage::set().await?;
    stage
        .superuser
        .batch_execute(
            "GRANT CREATE ON SCHEMA public TO PUBLIC;
             CREATE FUNCTION public.may(text, text) RETURNS bool LANGUAGE sql AS 'SELECT true';
             CREATE FUNCTION public.pg_has_role(name, oid, text) RETURNS bool LANGUAGE sql AS 'SELECT true';
             CREATE FUNCTION public.yes(text, text) RETURNS bool LANGUAGE sql AS 'SELECT true';
             CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.yes)",
        )
        .await?;
    for role in ["enqueuer", "blanket"] {
        let client = stage.client(role).await?;
        client
            .batch_execute(&format!(
                "CREATE TEMPORARY TABLE queue_right AS SELECT 'b' AS queue, 'own' AS what, '{0}' AS role_name, '{0}'::regrole::oid AS role_id;
                 CREATE TEMPORARY TABLE pg_roles AS SELECT '{0}'::name AS rolname, true AS rolsuper;
                 SET search_path = pg_temp, public, pg_catalog",
                stage.role(role)
            ))
            .await?;
        for sql in [INTO_B, "SELECT pgbatch.enqueue('b', label => 'l')", "SELECT pgbatch.pause_queue('b')"] {
            assert_eq!(code(&client, sql).await?, "42501", "{role}, {sql}");
        }
    }
    Ok(())
}

/// The caller's query has the caller's rights and his rows.
#[tokio::test]
async fn a_query_sees_what_row_security_leaves_its_caller() -> Tested {
    let stage = Stage::set().await?;
    stage
        .owner
        .batch_execute(
            "CREATE TABLE secured (id int PRIMARY KEY, whose text); GRANT SELECT ON secured TO PUBLIC;
             ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
             CREATE POLICY mine ON secured USING (whose = current_user)",
        )
        .await?;
    let name = stage.role("enqueuer");
    stage.owner.execute("INSERT INTO secured VALUES (1, 'somebody'), (2, $1)", &[&name]).await?;
    let client = stage.client("enqueuer").await?;
    for call in ["enqueue_query('a', 'SELECT id FROM secured')", "enqueue_ranges('a', 'secured', 'id', 10)"] {
        let batch: i64 = value(&client, &format!("SELECT pgbatch.{call}")).await?;
        let items = format!("SELECT string_agg(item::text, '') FROM pgbatch.items WHERE batch_id = {batch}");
        let items: String = value(&stage.owner, &items).await?;
        assert!(items == "{\"id\": 2}" || items == "{\"to\": 2, \"from\": 2}", "{call}: {items}");
    }
    // What is behind the views is not his to read for that.
    let error = refused(
        client.batch_execute("SELECT pgbatch.enqueue_query('a', 'SELECT name FROM pgbatch.queue')").await,
    )?;
    assert_eq!(error.code().code(), "42501");
    Ok(())
}

/// A function that costs nothing is asked first, where PostgreSQL may choose.
#[tokio::test]
async fn no_function_in_a_where_sees_a_row_of_another_queue() -> Tested {
    let stage = Stage::set().await?;
    stage.superuser.batch_execute("GRANT CREATE ON SCHEMA public TO PUBLIC").await?;
    let reader = stage.client("reader").await?;
    reader
        .batch_execute(
            "CREATE FUNCTION public.tell(anyelement) RETURNS bool LANGUAGE plpgsql COST 0.0000001 AS
             $$ BEGIN IF $1::text ~ '(^|-)b$' THEN RAISE 'told %', $1; END IF; RETURN true; END $$",
        )
        .await?;
    for (relation, column) in [
        ("queues", "name"),
        ("batches", "queue"),
        ("runs", "queue"),
        ("triggers", "name"),
        ("run", "queue"),
        ("schedule", "trigger_name"),
        ("limits", "queues"),
        ("items JOIN pgbatch.batches ON id = batch_id", "queue"),
    ] {
        let count: i64 =
            value(&reader, &format!("SELECT count(*) FROM pgbatch.{relation} WHERE public.tell({column})"))
                .await?;
        assert!(count > 0, "{relation}");
    }
    Ok(())
}

#[tokio::test]
async fn the_right_to_read_shows_no_token_and_writes_nothing() -> Tested {
    let stage = Stage::set().await?;
    for role in ["reader", "chief"] {
        let client = stage.client(role).await?;
        for sql in [
            "SELECT token FROM pgbatch.run",
            "TABLE pgbatch.run",
            "SELECT r FROM pgbatch.run r",
            "SELECT options FROM pgbatch.kafka_trigger",
            "SELECT id FROM pgbatch.run FOR UPDATE",
            "DELETE FROM pgbatch.batch",
            "UPDATE pgbatch.queue SET paused = true",
            "UPDATE pgbatch.queues SET paused = true",
            "INSERT INTO pgbatch.queue_right SELECT 'b', 'own', current_user, NULL, now(), ''",
            "INSERT INTO pgbatch.rights SELECT 'b', current_user, 'own', now(), ''",
            "ALTER TABLE pgbatch.queue DISABLE ROW LEVEL SECURITY",
            "SELECT pgbatch.give('b', 'x', 'own')",
            "SELECT pgbatch.settle_privileges('x')",
            "SELECT pgbatch.may('b', 'own')",
            "TABLE pgbatch.kafka_cursor",
            "TABLE pgbatch.installation",
            "TABLE pgbatch.scaled_job",
        ] {
            let code = code(&client, sql).await?;
            assert!(code == "42501" || code == "55000", "{role}, {sql}: {code}");
        }
    }
    Ok(())
}

/// PostgreSQL runs the functions of an index for whoever analyzes the table, also by itself as a superuser: the session's role
/// says nothing there.
#[tokio::test]
async fn what_runs_on_anothers_errand_has_no_right() -> Tested {
    let stage = Stage::set().await?;
    stage.superuser.batch_execute("GRANT CREATE ON SCHEMA public TO PUBLIC").await?;
    let client = stage.client("member").await?;
    for (name, call) in [
        ("enqueues", "enqueue('b')"),
        ("enqueues_own", "enqueue('a')"),
        ("pauses", "pause_queue('b')"),
        ("cancels", "cancel_batch(2)"),
        ("reads", "explain_item(2, 1)"),
        ("waits", "wait_batch(2, '0 s')"),
    ] {
        client
            .batch_execute(&format!(
                "CREATE FUNCTION public.{name}(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
                 $$ BEGIN IF current_user <> session_user THEN PERFORM pgbatch.{call}; END IF; RETURN 1; END $$;
                 CREATE TABLE public.{name} (a int); CREATE INDEX ON public.{name} (public.{name}(a)); INSERT INTO public.{name} VALUES (1)"
            ))
            .await?;
        for errand in [format!("ANALYZE public.{name}"), format!("REINDEX TABLE public.{name}")] {
            assert_eq!(code(&stage.superuser, &errand).await?, "42501", "{errand}, {call}");
        }
    }
    assert_eq!(value::<i64>(&stage.owner, "SELECT count(*) FROM pgbatch.batch").await?, 2);
    assert_eq!(value::<i64>(&stage.owner, "SELECT count(*) FROM pgbatch.queue WHERE paused").await?, 0);
    Ok(())
}

/// What is left of a role is nobody's.
#[tokio::test]
async fn a_later_role_of_the_same_name_has_nothing() -> Tested {
    let stage = Stage::set().await?;
    let enqueuer = stage.role("enqueuer");
    let drop = format!("DROP ROLE {enqueuer}");
    assert_eq!(code(&stage.superuser, &drop).await?, "2BP01", "it has privileges");
    stage
        .superuser
        .batch_execute(&format!("DROP OWNED BY {enqueuer}; {drop}; CREATE ROLE {enqueuer} LOGIN"))
        .await?;
    let rights = format!("SELECT count(*) FROM pgbatch.rights WHERE role = '{enqueuer}'");
    assert_eq!(value::<i64>(&stage.owner, &rights).await?, 0);
    let client = stage.client("enqueuer").await?;
    assert_eq!(code(&client, INTO_A).await?, "42501");

    // Neither when it comes to EXECUTE by a group, nor in a copy of the database, nor by a right on another queue.
    stage.superuser.batch_execute(&format!("GRANT {} TO {enqueuer}", stage.role("chief"))).await?;
    client.batch_execute(INTO_A).await?;
    stage.superuser.batch_execute(&format!("REVOKE {} FROM {enqueuer}", stage.role("chief"))).await?;
    let copied = Server::shared()?.empty_database().await?;
    copy(&stage.database, &copied, OWNER)?;
    let restored = copied.connect().await?;
    restored.batch_execute(&format!("SELECT pgbatch.grant('b', '{enqueuer}', 'enqueue')")).await?;
    stage.owner.batch_execute(&format!("SELECT pgbatch.grant('b', '{enqueuer}', 'enqueue')")).await?;
    for database in [&copied, &stage.database] {
        let client = database.connect_as(&enqueuer).await?;
        client.batch_execute(INTO_B).await?;
        assert_eq!(code(&client, INTO_A).await?, "42501");
    }

    // A renamed role is another one, until it is granted its rights again.
    let (reader, renamed) = (stage.role("reader"), stage.role("renamed"));
    stage
        .superuser
        .batch_execute(&format!("ALTER ROLE {reader} RENAME TO {renamed}; CREATE ROLE {reader} LOGIN"))
        .await?;
    assert_eq!(
        value::<i64>(&stage.client("renamed").await?, "SELECT count(*) FROM pgbatch.batches").await?,
        0
    );
    assert_eq!(code(&stage.client("reader").await?, "SELECT FROM pgbatch.batches").await?, "42501");
    stage.owner.batch_execute(&format!("SELECT pgbatch.grant('a', '{renamed}', 'read')")).await?;
    // That of the stage, and the one above.
    assert_eq!(
        value::<i64>(&stage.client("renamed").await?, "SELECT count(*) FROM pgbatch.batches").await?,
        2
    );
    Ok(())
}

/// Waiting for a batch tells how it ended.
#[tokio::test]
async fn one_waits_for_no_batch_of_a_queue_that_is_closed_to_one() -> Tested {
    let stage = Stage::set().await?;
    let client = stage.client("enqueuer").await?;
    client.batch_execute("SELECT pgbatch.enqueue('a', after => '{1}')").await?;
    let error = refused(client.batch_execute("SELECT pgbatch.enqueue('a', after => '{2}')").await)?;
    assert_eq!((error.code().code(), error.message()), ("42704", "batch 2 does not exist"));
    Ok(())
}

/// What is not there, and what is not one's own, look the same.
#[tokio::test]
async fn an_error_does_not_tell_what_there_is() -> Tested {
    let stage = Stage::set().await?;
    let client = stage.client("member").await?;
    for (there, not_there) in [
        ("enqueue('b')", "enqueue('x')"),
        ("pause_queue('b')", "pause_queue('x')"),
        ("cancel_batch(2)", "cancel_batch(9)"),
        ("wait_batch(2)", "wait_batch(9)"),
        ("explain_item(2, 1)", "explain_item(9, 1)"),
        ("trigger_drop('k-b')", "trigger_drop('k-x')"),
        ("alter_schedule('s-b')", "alter_schedule('s-x')"),
        ("seek_kafka('k-b', 0, 0)", "seek_kafka('k-x', 0, 0)"),
    ] {
        let mut told = Vec::new();
        for call in [there, not_there] {
            let error = refused(client.batch_execute(&format!("SELECT pgbatch.{call}")).await)?;
            assert!(error.hint().is_some(), "{call}");
            let same = |text: &str| {
                text.replace("\"b\"", "\"x\"")
                    .replace("'b'", "'x'")
                    .replace("batch 2", "batch 9")
                    .replace("-b\"", "-x\"")
            };
            told.push((error.code().code().to_owned(), same(error.message()), error.hint().map(same)));
        }
        assert_eq!(told[0], told[1], "{there}");
        if there.starts_with("enqueue") {
            let member = stage.role("member");
            assert_eq!(
                told[0].1,
                format!(
                    "queue \"x\" does not exist, or role \"{member}\" has not the right \"enqueue\" on it"
                )
            );
            assert_eq!(
                told[0].2.as_deref(),
                Some(format!("The view pgbatch.rights lists what the role has. An owner grants: SELECT pgbatch.grant('x', '{member}', 'enqueue').").as_str())
            );
        }
        assert_eq!(told[0].0, "42501", "{there}");
    }
    Ok(())
}
