//! From the version before: what is stored goes on, and the objects are those of a new installation.

use std::collections::BTreeSet;

use e2e::postgres::{Database, Server};
use pgbatch_core::state::RunState::{Cancelled, Failed, Succeeded};
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::support::{
    EPOCH, Tested, batch, claim, claim_one, database, enqueue, finish, observe, outcome, refused, value,
};

/// Released before this one: tests/sql/previous has its script.
const PREVIOUS: &str = "0.1.0";

async fn previous() -> Tested<(Database, Client)> {
    let database = Server::shared()?.empty_database().await?;
    let client = database.connect().await?;
    client.batch_execute(&format!("CREATE EXTENSION pgbatch VERSION '{PREVIOUS}'")).await?;
    Ok((database, client))
}

/// Every object of the schema and all that is said of it, a text each. Roles have the database's name in theirs.
async fn catalog(client: &Client, database: &Database) -> Tested<BTreeSet<String>> {
    const SQL: &str = "
        SELECT concat_ws(' | ', 'function', pg_get_functiondef(p.oid), coalesce(p.proacl, acldefault('f', p.proowner))::text, p.proowner::regrole, obj_description(p.oid, 'pg_proc'))
        FROM pg_proc p WHERE p.pronamespace = 'pgbatch'::regnamespace
        UNION ALL
        SELECT concat_ws(' | ', 'relation', c.relname, c.relkind, c.relrowsecurity, c.reloptions,
            coalesce(c.relacl, acldefault((CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END)::\"char\", c.relowner))::text, c.relowner::regrole,
            obj_description(c.oid, 'pg_class'), CASE c.relkind WHEN 'v' THEN pg_get_viewdef(c.oid) WHEN 'i' THEN pg_get_indexdef(c.oid) END)
        FROM pg_class c WHERE c.relnamespace = 'pgbatch'::regnamespace
        UNION ALL
        SELECT concat_ws(' | ', 'column', c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
            a.attidentity, pg_get_expr(d.adbin, d.adrelid), a.attacl::text, col_description(c.oid, a.attnum))
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
        LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (c.oid, a.attnum)
        WHERE c.relnamespace = 'pgbatch'::regnamespace
        UNION ALL
        SELECT concat_ws(' | ', 'constraint', c.conrelid::regclass, c.contypid::regtype, c.conname, pg_get_constraintdef(c.oid))
        FROM pg_constraint c WHERE c.connamespace = 'pgbatch'::regnamespace
        UNION ALL
        SELECT concat_ws(' | ', 'trigger', pg_get_triggerdef(t.oid), t.tgenabled)
        FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relnamespace = 'pgbatch'::regnamespace AND NOT t.tgisinternal
        UNION ALL
        SELECT concat_ws(' | ', 'policy', p.tablename, p.policyname, p.cmd, p.roles, p.qual) FROM pg_policies p WHERE p.schemaname = 'pgbatch'
        UNION ALL
        SELECT concat_ws(' | ', 'type', t.typname, t.typtype, format_type(t.typbasetype, t.typtypmod), t.typowner::regrole)
        FROM pg_type t WHERE t.typnamespace = 'pgbatch'::regnamespace
        UNION ALL
        SELECT concat_ws(' | ', 'schema', n.nspacl::text, n.nspowner::regrole, obj_description(n.oid, 'pg_namespace'))
        FROM pg_namespace n WHERE n.nspname = 'pgbatch'
        UNION ALL
        SELECT concat_ws(' | ', 'member', pg_describe_object(d.classid, d.objid, d.objsubid))
        FROM pg_depend d WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
            AND d.refobjid = (SELECT e.oid FROM pg_extension e WHERE e.extname = 'pgbatch')
        UNION ALL
        SELECT concat_ws(' | ', 'dumped', c.relation::regclass, c.condition)
        FROM pg_extension e CROSS JOIN LATERAL unnest(e.extconfig, e.extcondition) c (relation, condition) WHERE e.extname = 'pgbatch'";
    let rows = client.query(SQL, &[]).await?;
    Ok(rows.iter().map(|row| row.get::<_, String>(0).replace(&database.name, "<database>")).collect())
}

const UPDATE: &str = "ALTER EXTENSION pgbatch UPDATE";

#[tokio::test]
async fn an_upgraded_catalog_is_that_of_a_new_installation() -> Tested {
    let (old, upgraded) = previous().await?;
    let new = database().await?;
    let fresh = new.connect().await?;
    // A role that was granted something has what it brings in the new version.
    let role = "SELECT pgbatch.create_queue('q', sql => 'SELECT 1'), pgbatch.grant_dispatcher(%s), pgbatch.grant('q', %s, 'own')";
    for (database, client) in [(&old, &upgraded), (&new, &fresh)] {
        let superuser = database.connect_as(e2e::postgres::SUPERUSER).await?;
        superuser.batch_execute(&format!("CREATE ROLE role_of_{} LOGIN", database.name)).await?;
        client.batch_execute(&role.replace("%s", &format!("'role_of_{}'", database.name))).await?;
    }
    upgraded.batch_execute(UPDATE).await?;
    let (upgraded, fresh) = (catalog(&upgraded, &old).await?, catalog(&fresh, &new).await?);
    let more: Vec<_> = upgraded.difference(&fresh).collect();
    let less: Vec<_> = fresh.difference(&upgraded).collect();
    assert!(more.is_empty() && less.is_empty(), "only upgraded: {more:#?}; only new: {less:#?}");
    assert!(fresh.len() > 900, "{} objects", fresh.len());
    Ok(())
}

/// Batches and items in every state, a retry, a live run with a report, and what triggers keep.
#[tokio::test]
async fn what_is_stored_goes_on_in_the_new_version() -> Tested {
    let (_database, client) = previous().await?;
    client
        .batch_execute(
            "SELECT pgbatch.create_queue('q', sql => 'SELECT 1', max_attempts => 2, max_parallel => 50, retry_backoff => '0 s');
             SELECT pgbatch.create_queue('j', job_template => '{\"spec\": {\"template\": {\"spec\": {\"containers\":
                 [{\"name\": \"a\", \"image\": \"b\"}]}}}}');
             CREATE TABLE t (id int PRIMARY KEY);
             SELECT pgbatch.enqueue_on_insert('t', 'j'), pgbatch.watch_rows('w', 'q', 'SELECT id FROM t'),
                 pgbatch.schedule('s', 'q', '0 2 * * *', 'Europe/Paris'),
                 pgbatch.watch_kafka('k', 'j', 'localhost:9092', 'topic'), pgbatch.watch_count('c', 'j', 'SELECT count(*) FROM t')",
        )
        .await?;
    // As the plan of the version before reads it: the same words.
    client.batch_execute("SELECT pgbatch.try_lead()").await?;
    observe(&client).await?;
    let id = enqueue(&client, 6, ", label => 'every state'").await?;
    let runs = claim(&client, &[(id, 1, 1, 1), (id, 2, 2, 1), (id, 3, 3, 1), (id, 4, 4, 1)]).await?;
    finish(&client, &[outcome(runs[0].run, Succeeded), outcome(runs[1].run, Failed)]).await?;
    finish(&client, &[outcome(claim_one(&client, (id, 2, 2, 2)).await?.run, Failed)]).await?;
    finish(&client, &[outcome(runs[2].run, Failed)]).await?;
    let live = &runs[3];
    client.query("SELECT pgbatch.heartbeat($1, $2)", &[&live.run, &live.token]).await?;
    let cancelled = enqueue(&client, 1, "").await?;
    let run = claim_one(&client, (cancelled, 1, 1, 1)).await?;
    client.execute("SELECT pgbatch.cancel_batch($1)", &[&cancelled]).await?;
    let mut stopped = outcome(run.run, Cancelled);
    stopped.reason = Some("Cancelled".to_owned());
    finish(&client, &[stopped]).await?;
    let later = enqueue(&client, 1, ", not_before => now() + interval '1 h'").await?;
    let after = enqueue(&client, 1, &format!(", after => ARRAY[{id}]")).await?;
    let before = states(&client).await?;
    let says = "running: 2 pending, 1 running, 1 retrying, 1 succeeded, 1 failed";
    assert_eq!(batch(&client, id).await?, says);

    client.batch_execute(UPDATE).await?;
    assert_eq!(value::<String>(&client, "SELECT pgbatch.version()").await?, env!("CARGO_PKG_VERSION"));
    assert_eq!(batch(&client, id).await?, says);
    assert_eq!(states(&client).await?, before);
    let triggers = "SELECT string_agg(kind, ' ' ORDER BY name) FROM pgbatch.triggers WHERE error IS NULL";
    assert_eq!(value::<String>(&client, triggers).await?, "count kafka schedule insert rows");

    // What is new can be said of what was there.
    let deadline = "SELECT pgbatch.alter_schedule('s', finish_within => '4 h'), pgbatch.set_deadline(id, now()) FROM pgbatch.batches WHERE label = 'every state'";
    client.batch_execute(deadline).await?;
    assert_eq!(value::<Vec<i64>>(&client, "SELECT pgbatch.find_deadlines()").await?, [id]);

    // Each goes on.
    client.query("SELECT pgbatch.complete_item($1, $2, 4)", &[&live.run, &live.token]).await?;
    finish(&client, &[outcome(live.run, Succeeded)]).await?;
    let rest = claim(&client, &[(id, 3, 3, 2), (id, 5, 5, 1), (id, 6, 6, 1)]).await?;
    finish(&client, &rest.iter().map(|run| outcome(run.run, Succeeded)).collect::<Vec<_>>()).await?;
    assert_eq!(batch(&client, id).await?, "failed: 5 succeeded, 1 failed");
    observe(&client).await?;
    assert_eq!(batch(&client, after).await?, "cancelled: 1 cancelled");
    assert_eq!(batch(&client, later).await?, "waiting: 1 pending");
    client.execute("SELECT pgbatch.retry_batch($1)", &[&id]).await?;
    finish(&client, &[outcome(claim_one(&client, (id, 2, 2, 3)).await?.run, Succeeded)]).await?;
    assert_eq!(batch(&client, id).await?, "succeeded: 6 succeeded");
    client.batch_execute("INSERT INTO t VALUES (7)").await?;
    observe(&client).await?;
    let of_triggers =
        "SELECT string_agg(item::text, ' ' ORDER BY batch_id) FROM pgbatch.items WHERE item @> '{\"id\": 7}'";
    assert_eq!(value::<String>(&client, of_triggers).await?, "{\"id\": 7} {\"id\": 7}");
    Ok(())
}

/// The names of everything in the JSON that the dispatcher reads: `queues[].limit.name`. It refuses a name that it does not know.
fn names(json: &Value, path: &str, found: &mut BTreeSet<String>) {
    match json {
        Value::Object(fields) => {
            for (name, value) in fields {
                names(value, &format!("{path}.{name}"), found);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| names(value, &format!("{path}[]"), found)),
        _ => {
            found.insert(path.to_owned());
        }
    }
}

/// Of what there is in every way: a limit, keys, a retry, live runs, a waiting one.
async fn told(client: &Client) -> Tested<BTreeSet<String>> {
    client
        .batch_execute(
            "SELECT pgbatch.try_lead(), pgbatch.create_limit('l', 5);
             SELECT pgbatch.create_queue('q', sql => 'SELECT 1', limit_name => 'l', max_starts => 9, retry_backoff => '0 s',
                 run_timeout => '1 h', namespace => 'n');
             SELECT pgbatch.create_queue('k', sql => 'SELECT 1', max_per_key => 1), pgbatch.enqueue('k', key => 'a'),
                 pgbatch.enqueue('k', not_before => now() + interval '1 h')",
        )
        .await?;
    let id = enqueue(client, 4, ", key => 'x'").await?;
    let runs = claim(client, &[(id, 1, 1, 1), (id, 2, 2, 1)]).await?;
    finish(client, &[outcome(runs[0].run, Failed)]).await?;
    let note = json!([{"run": runs[1].run, "waiting": {"reason": "Unschedulable", "message": "no room"}}]);
    client.execute(&format!("SELECT pgbatch.note_runs({EPOCH}, $1)"), &[&note]).await?;
    let mut found = BTreeSet::new();
    let view: Value = value(client, &format!("SELECT pgbatch.observe({EPOCH}, '{{k,q}}')::jsonb")).await?;
    names(&view, "observe", &mut found);
    let spec = format!("SELECT to_jsonb(s) FROM pgbatch.run_specs(ARRAY[{}::bigint]) s", runs[1].run);
    names(&value(client, &spec).await?, "run_specs", &mut found);
    Ok(found)
}

#[tokio::test]
async fn a_dispatcher_of_the_version_before_can_read_what_it_is_told() -> Tested {
    let (_old, before) = previous().await?;
    let new = database().await?;
    let (before, now) = (told(&before).await?, told(&new.connect().await?).await?);
    assert_eq!(now, before);
    assert!(now.len() > 40 && now.contains("observe.queues[].retries[].due_at"), "{now:#?}");
    Ok(())
}

/// Without what the new version alone has.
async fn states(client: &Client) -> Tested<Value> {
    let sql =
        "SELECT jsonb_build_object('batches', (SELECT jsonb_agg(to_jsonb(b) - 'deadline' ORDER BY b.id) FROM pgbatch.batches b),
        'items', (SELECT jsonb_agg(i ORDER BY i.batch_id, i.item_no) FROM pgbatch.items i),
        'runs', (SELECT jsonb_agg(r ORDER BY r.id) FROM pgbatch.runs r))";
    value(client, sql).await
}

/// An update in the middle of a transaction of somebody else waits for it, and one that fails changes nothing.
#[tokio::test]
async fn an_update_is_all_or_nothing() -> Tested {
    let (_database, client) = previous().await?;
    client.batch_execute(&format!("BEGIN; {UPDATE}; ROLLBACK")).await?;
    let version = "SELECT extversion FROM pg_extension WHERE extname = 'pgbatch'";
    assert_eq!(value::<String>(&client, version).await?, PREVIOUS);
    assert_eq!(refused(client.batch_execute("SELECT pgbatch.version()").await)?.code().code(), "42883");
    client.batch_execute(UPDATE).await?;
    assert_eq!(value::<String>(&client, version).await?, env!("CARGO_PKG_VERSION"));
    Ok(())
}

/// What the dispatcher of the version before calls is what this version has: the same names, arguments and results.
#[tokio::test]
async fn a_dispatcher_of_the_version_before_finds_what_it_calls() -> Tested {
    const CALLED: &str = "SELECT p.oid::regprocedure::text || ' ' || coalesce(pg_get_function_result(p.oid), '') || ' ' || p.prokind::text
        FROM pg_proc p WHERE p.pronamespace = 'pgbatch'::regnamespace AND p.proname = ANY ($1)";
    let (_database, old) = previous().await?;
    let names: Vec<String> =
        value(&old, "SELECT pgbatch.right_functions('dispatch') || pgbatch.right_functions('any') || pgbatch.right_functions('scaled_jobs')").await?;
    let new = database().await?.connect().await?;
    let listed = async |client: &Client| -> Tested<BTreeSet<String>> {
        Ok(client.query(CALLED, &[&names]).await?.iter().map(|row| row.get(0)).collect())
    };
    let (before, now) = (listed(&old).await?, listed(&new).await?);
    assert!(before.len() > 25, "{before:?}");
    assert_eq!(before.difference(&now).collect::<Vec<_>>(), Vec::<&String>::new());
    let contract = "SELECT pgbatch.contract_version()";
    assert_eq!(value::<i32>(&old, contract).await?, value::<i32>(&new, contract).await?);
    Ok(())
}
