//! Grants and what becomes of them: by whom, of what, in a dump, on all queues, taken back, and two at once.

use e2e::postgres::{OWNER, SUPERUSER, Server};
use serde_json::{Value, json};

use crate::dump::copy;
use crate::role_attacks::{INTO_A, INTO_B, code};
use crate::roles::Stage;
use crate::support::{Tested, claim_one, refused, until_waiting, value, with_queue};

#[tokio::test]
async fn a_dump_takes_rights_along() -> Tested {
    for dumper in [OWNER, SUPERUSER] {
        let stage = Stage::set().await?;
        let copied = Server::shared()?.empty_database().await?;
        copy(&stage.database, &copied, dumper)?;
        let enqueuer = copied.connect_as(&stage.role("enqueuer")).await?;
        enqueuer.batch_execute(INTO_A).await?;
        assert_eq!(code(&enqueuer, INTO_B).await?, "42501");
        let member = copied.connect_as(&stage.role("member")).await?;
        member.batch_execute("SELECT pgbatch.pause_queue('a')").await?;
        assert_eq!(value::<i64>(&member, "SELECT count(*) FROM pgbatch.queues").await?, 1);
        copied
            .connect_as(&stage.role("dispatcher"))
            .await?
            .batch_execute("SELECT pgbatch.try_lead()")
            .await?;

        // A restore in another cluster: the number is that of the role which has the name there, or none.
        let restored = copied.connect_as(dumper).await?;
        restored
            .batch_execute(
                "INSERT INTO pgbatch.queue_right VALUES ('b', 'own', 'nobody is called so', 10, now(), 'x'),
                     ('b', 'own', 'owner', 10, now(), 'x')",
            )
            .await?;
        let bound = "SELECT string_agg(coalesce(role_id::regrole::text, 'nobody'), ' ' ORDER BY role_name)
            FROM pgbatch.queue_right WHERE queue = 'b'";
        assert_eq!(value::<String>(&restored, bound).await?, "nobody owner");
    }
    Ok(())
}

#[tokio::test]
async fn a_dropped_queue_leaves_no_right() -> Tested {
    let (database, owner) = with_queue("").await?;
    let superuser = database.connect_as(SUPERUSER).await?;
    let role = format!("shop_{}", database.name);
    superuser.batch_execute(&format!("CREATE ROLE {role} LOGIN")).await?;
    owner
        .batch_execute(&format!(
            "SELECT pgbatch.grant('q', '{role}', 'enqueue'), pgbatch.grant('q', '{role}', 'read'); SELECT pgbatch.drop_queue('q');
             SELECT pgbatch.create_queue('q', sql => 'SELECT 1')"
        ))
        .await?;
    assert_eq!(value::<i64>(&owner, "SELECT count(*) FROM pgbatch.queue_right").await?, 0);
    let client = database.connect_as(&role).await?;
    assert_eq!(code(&client, "SELECT pgbatch.enqueue('q')").await?, "42501");
    superuser.batch_execute(&format!("DROP ROLE {role}")).await?;
    Ok(())
}

/// Who may make queues owns those that he makes.
#[tokio::test]
async fn a_maker_of_queues_owns_his_own() -> Tested {
    let stage = Stage::set().await?;
    let (name, stranger) = (stage.role("blanket"), stage.role("stranger"));
    let maker = stage.client("blanket").await?;
    let template = r#"{"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}}"#;
    maker
        .batch_execute(&format!(
            "SELECT pgbatch.create_queue('mine', '{template}'); SELECT pgbatch.enqueue('mine')"
        ))
        .await?;
    maker.batch_execute(&format!("SELECT pgbatch.grant('mine', '{stranger}', 'read')")).await?;
    let seen: String =
        value(&stage.client("stranger").await?, "SELECT string_agg(name, ' ') FROM pgbatch.queues").await?;
    assert_eq!(seen, "mine");
    for call in [
        format!("create_queue('there', '{template}', namespace => 'other')"),
        format!("create_queue('much', '{template}', limit_name => 'shared')"),
        "alter_queue('mine', namespace => 'other')".to_owned(),
        "alter_queue('mine', limit_name => 'shared')".to_owned(),
        format!("grant('mine', '{stranger}', 'own')"),
        format!("grant('a', '{stranger}', 'read')"),
        format!("grant('*', '{stranger}', 'read')"),
        format!("revoke('a', '{name}', 'read')"),
        format!("grant_dispatcher('{name}')"),
    ] {
        assert_eq!(code(&maker, &format!("SELECT pgbatch.{call}")).await?, "42501", "{call}");
    }
    maker.batch_execute("SELECT pgbatch.cancel_batch(3); SELECT pgbatch.drop_queue('mine')").await?;
    Ok(())
}

#[tokio::test]
async fn a_manager_may_not_reach_beyond_the_queue() -> Tested {
    let stage = Stage::set().await?;
    for role in ["manager", "chief"] {
        let client = stage.client(role).await?;
        for (setting, call) in [
            ("limit_name", "reset_queue('a', 'limit_name')"),
            ("namespace", "alter_queue('a', namespace => 'other')"),
        ] {
            let error = refused(client.batch_execute(&format!("SELECT pgbatch.{call}")).await)?;
            assert_eq!(
                error.message(),
                format!("{setting} may be set by the extension's owner only, by {OWNER}")
            );
            assert_eq!((error.code().code(), error.hint().is_some()), ("42501", true), "{role}");
        }
    }
    let manager = stage.client("manager").await?;
    let error = refused(manager.batch_execute("SELECT pgbatch.alter_queue('a', sql => 'SELECT 2')").await)?;
    let name = stage.role("manager");
    let expected = format!("queue \"a\" does not exist, or role \"{name}\" has not the right \"own\" on it");
    assert_eq!((error.code().code(), error.message()), ("42501", expected.as_str()));
    Ok(())
}

/// So that a statement can do no more than whoever wrote it, least of all what the dispatcher may.
#[tokio::test]
async fn a_statement_is_told_to_nobody_but_the_login_of_whoever_wrote_it() -> Tested {
    let stage = Stage::set().await?;
    let run = claim_one(&stage.owner, (1, 2, 2, 1)).await?;
    assert_eq!(run.sql_role, None);
    let statement = format!("SELECT statement FROM pgbatch.run_statement({}, '{}')", run.run, run.token);
    let author = "SELECT coalesce(sql_role, '') FROM pgbatch.queues WHERE name = 'a'";
    let (name, chief) = (stage.role("chief"), stage.client("chief").await?);
    chief.batch_execute("SELECT pgbatch.alter_queue('a', sql => 'SELECT 2')").await?;
    assert_eq!(value::<String>(&stage.owner, author).await?, name);
    assert_eq!(value::<String>(&chief, &statement).await?, "SELECT 2");
    // SET ROLE is no login: the session could go back from it.
    stage.superuser.batch_execute(&format!("SET ROLE {name}")).await?;
    for (client, login) in [
        (&stage.owner, OWNER.to_owned()),
        (&stage.superuser, SUPERUSER.to_owned()),
        (&stage.client("manager").await?, stage.role("manager")),
    ] {
        let error = refused(client.query(&statement, &[]).await)?;
        let expected = format!(
            "the statement of queue \"a\" is by role \"{name}\", and this session logged in as \"{login}\""
        );
        assert_eq!((error.code().code(), error.message()), ("42501", expected.as_str()));
        assert!(error.hint().is_some_and(|hint| hint.contains("--sql-secrets")));
    }
    // Another setting changes no author, and a Job template has none.
    chief.batch_execute("SELECT pgbatch.alter_queue('a', max_parallel => 3)").await?;
    let next = "SELECT json_build_object('r', s -> 'sql_role') FROM pgbatch.run_specs($1) s";
    let spec: Value = stage.owner.query_one(next, &[&vec![run.run]]).await?.get(0);
    assert_eq!(spec["r"], json!(name));
    stage
        .owner
        .batch_execute(&format!(
            "SELECT pgbatch.revoke('a', '{name}', 'own'), pgbatch.grant('a', '{name}', 'read')"
        ))
        .await?;
    let error = refused(chief.query(&statement, &[]).await)?;
    let expected =
        format!("the statement of queue \"a\" is by role \"{name}\", which does not own the queue any more");
    assert_eq!((error.code().code(), error.message()), ("42501", expected.as_str()));
    stage.owner.batch_execute("SELECT pgbatch.alter_queue('a', sql => 'SELECT 3')").await?;
    assert_eq!(value::<String>(&stage.owner, author).await?, "");
    assert_eq!(value::<String>(&stage.owner, &statement).await?, "SELECT 3");
    Ok(())
}

/// Whoever makes a queue writes its statement; a group that cannot log in cannot.
#[tokio::test]
async fn a_statement_is_by_a_role_that_can_log_in_and_a_job_template_by_none() -> Tested {
    let stage = Stage::set().await?;
    let (maker, blanket) = (stage.client("blanket").await?, stage.role("blanket"));
    maker.batch_execute("SELECT pgbatch.create_queue('mine', sql => 'SELECT 4')").await?;
    assert_eq!(
        value::<String>(&maker, "SELECT sql_role FROM pgbatch.queues WHERE name = 'mine'").await?,
        blanket
    );
    let template = r#"{"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}}"#;
    maker.batch_execute(&format!("SELECT pgbatch.alter_queue('mine', '{template}')")).await?;
    let none = "SELECT sql_role IS NULL FROM pgbatch.queues WHERE name = 'mine'";
    assert!(value::<bool>(&maker, none).await?);
    stage
        .superuser
        .batch_execute(&format!(
            "CREATE ROLE {blanket}_group; GRANT {blanket}_group TO {blanket};
             SELECT pgbatch.grant('mine', '{blanket}_group', 'own')"
        ))
        .await?;
    maker.batch_execute(&format!("SET ROLE {blanket}_group")).await?;
    let error = refused(maker.batch_execute("SELECT pgbatch.alter_queue('mine', sql => 'SELECT 5')").await)?;
    let expected = format!(
        "role \"{blanket}_group\" cannot log in, and the runs of a statement log in as the role that wrote it"
    );
    assert_eq!((error.code().code(), error.message()), ("22023", expected.as_str()));
    Ok(())
}

#[tokio::test]
async fn revoking_takes_what_nothing_else_brings() -> Tested {
    let stage = Stage::set().await?;
    let member = format!("group_of_{}", stage.role("member"));
    let client = stage.client("member").await?;
    client.batch_execute("BEGIN; SELECT pgbatch.pause_queue('a'); ROLLBACK").await?;
    stage
        .owner
        .batch_execute(&format!(
            "SELECT pgbatch.grant('b', '{member}', 'read'), pgbatch.revoke('a', '{member}', 'manage')"
        ))
        .await?;
    assert_eq!(code(&client, "SELECT pgbatch.pause_queue('a')").await?, "42501");
    let count = "SELECT count(*) FROM pgbatch.queues";
    assert_eq!(value::<i64>(&client, count).await?, 2);
    stage.owner.batch_execute(&format!("SELECT pgbatch.revoke('a', '{member}', 'read')")).await?;
    assert_eq!(value::<i64>(&client, count).await?, 1, "the other queue is still to be read");
    stage
        .owner
        .batch_execute(&format!(
            "SELECT pgbatch.revoke('b', '{member}', 'read'), pgbatch.revoke('a', '{member}', 'enqueue'),
                pgbatch.revoke('a', '{member}', 'own'), pgbatch.revoke_dispatcher('{member}')"
        ))
        .await?;
    for sql in [count, INTO_A, "SELECT pgbatch.contract_version()"] {
        assert_eq!(code(&client, sql).await?, "42501", "{sql}");
    }
    stage.superuser.batch_execute(&format!("DROP ROLE {member}")).await?;
    Ok(())
}

#[tokio::test]
async fn a_right_on_all_queues_is_one_on_those_to_come() -> Tested {
    let stage = Stage::set().await?;
    let role = stage.role("stranger");
    stage
        .owner
        .batch_execute(&format!(
            "SELECT pgbatch.grant('*', '{role}', 'read'), pgbatch.grant('*', '{role}', 'enqueue');
             SELECT pgbatch.create_queue('c', sql => 'SELECT 1')"
        ))
        .await?;
    let client = stage.client("stranger").await?;
    assert_eq!(value::<i64>(&client, "SELECT count(*) FROM pgbatch.queues").await?, 3);
    client.batch_execute("SELECT pgbatch.enqueue('c')").await?;
    assert_eq!(code(&client, "SELECT pgbatch.enqueue('d')").await?, "42704");
    Ok(())
}

#[tokio::test]
async fn a_bad_grant_is_refused_with_a_hint() -> Tested {
    let stage = Stage::set().await?;
    let stored = "SELECT string_agg(r::text, '' ORDER BY r::text) FROM pgbatch.queue_right r";
    let before: String = value(&stage.owner, stored).await?;
    for (call, code, says) in [
        ("grant(NULL, 'owner', 'read')", "22023", "queue must not be NULL"),
        ("grant('a', NULL, 'read')", "22023", "role must not be NULL"),
        ("grant('a', 'owner', NULL)", "22023", "what must not be NULL"),
        ("grant('a', 'owner', 'write')", "22023", "what is invalid: 'write'"),
        ("grant('a', 'owner', 'dispatch')", "22023", "what is invalid: 'dispatch'"),
        ("grant('x', 'owner', 'read')", "42704", "queue \"x\" does not exist"),
        ("grant('a', 'x; DROP', 'read')", "42704", "role \"x; DROP\" does not exist"),
        ("grant('a', 'public', 'read')", "42704", "role \"public\" does not exist"),
        ("grant('a', '', 'read')", "42704", "role \"\" does not exist"),
        ("revoke('a', 'x', 'read')", "42704", "role \"x\" does not exist"),
        ("grant_dispatcher(NULL)", "22023", "role must not be NULL"),
        ("grant_dispatcher('x')", "42704", "role \"x\" does not exist"),
        ("revoke_dispatcher('x')", "42704", "role \"x\" does not exist"),
    ] {
        let error = refused(stage.owner.batch_execute(&format!("SELECT pgbatch.{call}")).await)?;
        assert_eq!((error.code().code(), error.message()), (code, says), "{call}");
        assert!(error.hint().is_some(), "{call}");
    }
    assert_eq!(value::<String>(&stage.owner, stored).await?, before);
    Ok(())
}

#[tokio::test]
async fn a_role_with_a_strange_name_is_served() -> Tested {
    let (database, owner) = with_queue("").await?;
    let superuser = database.connect_as(SUPERUSER).await?;
    let role = format!("It's \"{}\"; a %I", database.name);
    let quoted = format!("\"{}\"", role.replace('"', "\"\""));
    superuser.batch_execute(&format!("CREATE ROLE {quoted} LOGIN")).await?;
    owner.query("SELECT pgbatch.grant('q', $1, 'enqueue'), pgbatch.grant('q', $1, 'read')", &[&role]).await?;
    superuser.batch_execute(&format!("SET ROLE {quoted}; SELECT pgbatch.enqueue('q')")).await?;
    assert_eq!(value::<String>(&superuser, "SELECT created_by FROM pgbatch.batches").await?, role);
    Ok(())
}

/// Two at once would collide in PostgreSQL's catalogs.
#[tokio::test]
async fn two_grants_at_once_both_hold() -> Tested {
    let stage = Stage::set().await?;
    let second = stage.database.connect().await?;
    let grant = |role: &str| format!("SELECT pgbatch.grant('b', '{}', 'enqueue')", stage.role(role));
    let (one, other) = (grant("stranger"), grant("reader"));
    stage.owner.batch_execute(&format!("BEGIN; {one}")).await?;
    let (done, ()) = tokio::join!(second.batch_execute(&other), async {
        until_waiting(&stage.superuser, "Lock").await;
        let _ = stage.owner.batch_execute("COMMIT").await;
    });
    done?;
    for role in ["stranger", "reader"] {
        stage.client(role).await?.batch_execute(INTO_B).await?;
    }
    Ok(())
}

/// The trap: the session has made its plan while there was nothing, and keeps it.
#[tokio::test]
async fn what_is_asked_for_a_right_does_not_grow_with_all_rights() -> Tested {
    let stage = Stage::set().await?;
    let client = stage.client("enqueuer").await?;
    for _ in 0..9 {
        client.batch_execute(INTO_A).await?;
    }
    stage
        .owner
        .batch_execute(
            "INSERT INTO pgbatch.queue_right SELECT 'q' || i, 'enqueue', 'owner', NULL, now(), '' FROM generate_series(1, 5000) i",
        )
        .await?;
    client.batch_execute("BEGIN").await?;
    let read = "SELECT coalesce(sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)), 0)::bigint
        FROM pg_stat_xact_user_tables WHERE relname = 'queue_right'";
    let before: i64 = value(&client, read).await?;
    client.batch_execute(INTO_A).await?;
    let rows = value::<i64>(&client, read).await? - before;
    assert!((1..20).contains(&rows), "{rows} rows");
    Ok(())
}
