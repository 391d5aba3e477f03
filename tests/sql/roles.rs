//! Who may call what: every public function, as each kind of role, for a queue that was granted and for another one.

use std::collections::BTreeSet;

use e2e::postgres::{Database, SUPERUSER};
use e2e::repository;
use tokio_postgres::Client;

use crate::role_calls::{CALLS, Call, Of, calls};
use crate::support::{Tested, claim_one, database, refused, value};

/// The roles of the matrix, and their rights on queue `a`. The last one may execute everything, and was granted nothing.
const ROLES: [(&str, &str); 9] = [
    ("stranger", ""),
    ("enqueuer", "enqueue"),
    ("manager", "manage"),
    ("reader", "read"),
    // By a group that it is a member of.
    ("member", "enqueue manage read"),
    ("chief", "own"),
    ("dispatcher", "dispatch"),
    ("importer", "dispatch scaled_jobs"),
    ("blanket", ""),
];

/// A database with the queues `a` and `b`, of the extension's owner, and the roles. In each queue there are a batch with a live
/// run and two triggers.
pub(crate) struct Stage {
    pub(crate) database: Database,
    pub(crate) owner: Client,
    pub(crate) superuser: Client,
    /// Per queue: its batch, its run and the run's token.
    runs: [(i64, i64, String); 2],
}

impl Stage {
    pub(crate) async fn set() -> Tested<Self> {
        let database = database().await?;
        let (owner, superuser) = (database.connect().await?, database.connect_as(SUPERUSER).await?);
        owner
            .batch_execute(
                "SELECT pgbatch.try_lead(); SELECT pgbatch.create_limit('shared', 9);
                 CREATE TABLE t (id int PRIMARY KEY); GRANT SELECT, TRIGGER ON t TO PUBLIC",
            )
            .await?;
        let mut runs = Vec::new();
        for queue in ["a", "b"] {
            owner
                .batch_execute(&format!(
                    "SELECT pgbatch.create_queue('{queue}', sql => 'SELECT 1', limit_name => 'shared'),
                        pgbatch.schedule('s-{queue}', '{queue}', '@yearly'), pgbatch.watch_kafka('k-{queue}', '{queue}', 'k:1', 't')"
                ))
                .await?;
            let batch = value(
                &owner,
                &format!("SELECT pgbatch.enqueue_batch('{queue}', ARRAY['{{}}', '{{}}']::jsonb[])"),
            )
            .await?;
            let run = claim_one(&owner, (batch, 1, 1, 1)).await?;
            runs.push((batch, run.run, run.token));
        }
        let runs = runs.try_into().map_err(|_| "two queues")?;
        let stage = Self { database, owner, superuser, runs };
        for (role, rights) in ROLES {
            let role = stage.role(role);
            stage.superuser.batch_execute(&format!("CREATE ROLE {role} LOGIN")).await?;
            let grantee = match role.starts_with("member") {
                true => stage.group(&role).await?,
                false => role.clone(),
            };
            for right in rights.split_whitespace() {
                let call = match right {
                    "dispatch" => format!("grant_dispatcher('{grantee}')"),
                    "scaled_jobs" => format!("grant_dispatcher('{grantee}', scaled_jobs => true)"),
                    right => format!("grant('a', '{grantee}', '{right}')"),
                };
                stage.owner.batch_execute(&format!("SELECT pgbatch.{call}")).await?;
            }
        }
        let blanket = stage.role("blanket");
        stage
            .owner
            .batch_execute(&format!(
                "GRANT USAGE ON SCHEMA pgbatch TO {blanket}; GRANT EXECUTE ON ALL ROUTINES IN SCHEMA pgbatch TO {blanket}"
            ))
            .await?;
        Ok(stage)
    }

    /// Roles belong to the server, and tests share it.
    pub(crate) fn role(&self, name: &str) -> String {
        format!("{name}_{}", self.database.name)
    }

    pub(crate) async fn client(&self, role: &str) -> Tested<Client> {
        Ok(self.database.connect_as(&self.role(role)).await?)
    }

    async fn group(&self, member: &str) -> Tested<String> {
        let group = format!("group_of_{member}");
        self.superuser.batch_execute(&format!("CREATE ROLE {group}; GRANT {group} TO {member}")).await?;
        Ok(group)
    }

    /// The call for queue 0 or 1.
    pub(crate) fn filled(&self, call: &str, queue: usize) -> String {
        let (batch, run, token) = &self.runs[queue];
        [
            ("<queue>", ["a", "b"][queue]),
            ("<batch>", &batch.to_string()),
            ("<run>", &format!("{run}, '{token}'")),
            ("<stranger>", &self.role("stranger")),
        ]
        .iter()
        .fold(call.to_owned(), |call, (place, value)| call.replace(place, value))
    }
}

/// What became of a call: that the caller may not, or its SQLSTATE.
async fn outcome(client: &Client, call: &str) -> Tested<Result<String, String>> {
    client.batch_execute("BEGIN").await?;
    let done = client.batch_execute(call).await;
    client.batch_execute("ROLLBACK").await?;
    if done.is_ok() {
        return Ok(Ok(String::new()));
    }
    let error = refused(done)?;
    let denied =
        ["permission denied for ", "has not the right ", " is not of ", "the extension's owner only"];
    Ok(match error.code().code() {
        "42501" if denied.iter().any(|words| error.message().contains(words)) => {
            Err(error.message().to_owned())
        }
        code => Ok(code.to_owned()),
    })
}

/// Whether a role with these rights on queue `a` may make the call for queue `a`, or for another one.
fn may(rights: &str, call: &Call, on_a: bool) -> bool {
    let mut has: BTreeSet<&str> = rights.split_whitespace().collect();
    if has.contains("own") {
        has.extend(["enqueue", "manage", "read"]);
    }
    if !has.is_empty() {
        has.insert("any");
    }
    (on_a || call.of == Of::Nothing) && call.rights.split_whitespace().any(|right| has.contains(right))
}

#[tokio::test]
async fn each_role_may_call_what_it_was_granted_and_nothing_else() -> Tested {
    let stage = Stage::set().await?;
    let mut wrong = Vec::new();
    for queue in [0, 1] {
        for call in calls() {
            let sql = stage.filled(call.sql, queue);
            let says = outcome(&stage.owner, &sql).await?;
            if !says.as_ref().is_ok_and(|code| call.code == "*" || call.code == code) {
                wrong.push(format!("the owner, {sql}: {says:?}"));
            }
        }
    }
    for (role, rights) in ROLES {
        let client = stage.client(role).await?;
        for queue in [0, 1] {
            for call in calls() {
                if role == "blanket" && call.of == Of::Nothing {
                    continue;
                }
                let sql = stage.filled(call.sql, queue);
                let says = outcome(&client, &sql).await?;
                let right = match may(rights, call, queue == 0) {
                    true => says.as_ref().is_ok_and(|code| call.code == "*" || call.code == code),
                    false => says.is_err(),
                };
                if !right {
                    wrong.push(format!("{role}, {sql}: {says:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

/// Public is what is described, and what a right brings.
#[tokio::test]
async fn every_public_function_is_in_the_matrix() -> Tested {
    let client = database().await?.connect().await?;
    let sql =
        "SELECT DISTINCT p.proname::text FROM pg_proc p WHERE p.pronamespace = 'pgbatch'::regnamespace AND (
            obj_description(p.oid, 'pg_proc') IS NOT NULL
            OR p.proname = ANY (SELECT unnest(pgbatch.right_functions(r)) FROM unnest(
                '{any,enqueue,manage,read,own,dispatch,scaled_jobs}'::text[]) r))";
    let public: BTreeSet<String> = client.query(sql, &[]).await?.iter().map(|row| row.get(0)).collect();
    let called: BTreeSet<String> = CALLS.iter().map(|call| call.function.to_owned()).collect();
    let missing: Vec<_> = public.difference(&called).collect();
    assert!(missing.is_empty(), "not in tests/sql/role_calls.rs: {missing:?}");
    let listed = std::fs::read_to_string(repository().join("tests/sql/objects.txt"))?.replace('"', "");
    for function in called {
        assert!(listed.contains(&format!("function pgbatch.{function}(")), "{function} does not exist");
    }
    for Call { function, sql, .. } in CALLS {
        assert!(sql.contains(&format!("pgbatch.{function}(")), "{sql} calls {function}");
    }
    Ok(())
}

/// The one list of what a dispatcher calls is the database's; the dispatcher's, which doctor reads, is compared with it, and with
/// what its source calls by a test there.
#[tokio::test]
async fn a_dispatcher_is_granted_what_the_program_calls() -> Tested {
    let client = database().await?.connect().await?;
    let source = std::fs::read_to_string(repository().join("dispatcher/src/store/mod.rs"))?;
    let list =
        source.split_once("FUNCTIONS: [&str").and_then(|(_, rest)| rest.split_once("];")).ok_or("no list")?.0;
    let called: BTreeSet<String> = list.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    let brought: Vec<String> = value(&client, "SELECT pgbatch.right_functions('dispatch')").await?;
    let granted: BTreeSet<String> = brought.into_iter().collect();
    assert!(called.is_subset(&granted), "{called:?} of {granted:?}");
    let more: Vec<_> = granted.difference(&called).map(String::as_str).collect();
    assert_eq!(more, ["explain_dispatcher", "leader_key", "ring", "version"], "these are for doctor");
    Ok(())
}

/// The views, and the tables behind them that the right to read opens too.
#[tokio::test]
async fn one_sees_the_rows_of_the_queues_that_one_may_read() -> Tested {
    const QUEUES: [(&str, &str); 16] = [
        ("queues", "name"),
        ("batches", "queue"),
        ("items", "(SELECT b.queue FROM pgbatch.batches b WHERE b.id = batch_id)"),
        ("runs", "queue"),
        ("triggers", "queue"),
        ("limits", "array_to_string(queues, ' ')"),
        ("queue", "name"),
        ("batch", "queue"),
        ("item", "(SELECT b.queue FROM pgbatch.batch b WHERE b.id = batch_id)"),
        ("run", "queue"),
        ("report", "(SELECT r.queue FROM pgbatch.run r WHERE r.id = run_id)"),
        ("retry", "queue"),
        ("trigger", "queue"),
        ("schedule", "right(trigger_name, 1)"),
        ("stored_item", "(SELECT b.queue FROM pgbatch.batch b WHERE b.id = batch_id)"),
        ("live_triggers", "queue"),
    ];
    let stage = Stage::set().await?;
    for (_, run, token) in &stage.runs {
        stage.owner.query("SELECT pgbatch.fail_item($1, $2, 1, 'no')", &[run, token]).await?;
        stage
            .owner
            .execute(
                "INSERT INTO pgbatch.retry SELECT batch_id, queue, 2, 2, 2, 9 FROM pgbatch.run WHERE id = $1",
                &[run],
            )
            .await?;
    }
    for (role, sees) in [("reader", "a"), ("member", "a"), ("chief", "a"), ("owner", "a b")] {
        let client = match role {
            "owner" => stage.database.connect().await?,
            role => stage.client(role).await?,
        };
        for (relation, queue) in QUEUES {
            let sql = format!(
                "SELECT string_agg(DISTINCT queue, ' ' ORDER BY queue) FROM (SELECT {queue} AS queue FROM pgbatch.{relation}) s"
            );
            let seen: Option<String> =
                value(&client, &sql).await.map_err(|e| format!("{role}, {relation}: {e}"))?;
            assert_eq!(seen.as_deref(), Some(sees), "{role}, {relation}");
        }
        let rights = "SELECT count(*) FROM pgbatch.rights";
        let granted = i64::try_from(ROLES.iter().flat_map(|(_, rights)| rights.split_whitespace()).count())?;
        // The group's, which are three, and the single one of the other roles. "dispatch" is written down once for each role.
        let expected = match role {
            "owner" => granted,
            "member" => 3,
            _ => 1,
        };
        assert_eq!(value::<i64>(&client, rights).await?, expected, "{role}");
    }
    for role in ["stranger", "enqueuer", "manager", "dispatcher", "blanket"] {
        let client = stage.client(role).await?;
        for (relation, _) in QUEUES {
            let error = refused(client.batch_execute(&format!("SELECT FROM pgbatch.{relation}")).await)?;
            assert_eq!(error.code().code(), "42501", "{role}, {relation}");
        }
    }
    Ok(())
}
