//! Runs of Spring Batch: how they ended, by its own tables, and the JobExecutions that they leave behind.

use e2e::postgres::{Database, OWNER, SUPERUSER};
use pgbatch_core::run::Outcome;
use pgbatch_core::state::RunState::{self, Cancelled, Failed, Lost, Succeeded, TimedOut};
use serde_json::{Value, json};
use tokio_postgres::{AsyncMessage, Client};

use crate::support::{Tested, batch, claim_one, database, enqueue, finish, outcome, refused, value};

const TABLES: &str = include_str!("spring_batch.sql");
const OPTION: &str = r#"{"spring_batch": true}"#;

/// A database with Spring's tables and a queue `q` that uses them, and a batch of so many items.
async fn with_spring(items: i32) -> Tested<(Database, Client, i64)> {
    let database = database().await?;
    let client = database.connect().await?;
    client.batch_execute(TABLES).await?;
    client
        .batch_execute(&format!("SELECT pgbatch.create_queue('q', sql => 'SELECT 1', options => '{OPTION}')"))
        .await?;
    let id = enqueue(&client, items, "").await?;
    Ok((database, client, id))
}

/// What an application leaves of a run: a JobExecution with one step of 10 records, with the run's number.
async fn execute(client: &Client, run: i64, status: &str, message: &str) -> Tested {
    let sql = "WITH instance AS (
            INSERT INTO batch_job_instance VALUES ($1::bigint, 0, 'invoices', md5($1::bigint::text))
        ), execution AS (
            INSERT INTO batch_job_execution
            VALUES ($1, 2, $1, '2026-01-01', '2026-01-01', NULL, $2::text, $4::text, $3::text, '2026-01-01')
        ), parameter AS (
            INSERT INTO batch_job_execution_params VALUES
                ($1, 'from', 'java.lang.Long', '1', 'Y'), ($1, 'pgbatch.run_id', 'java.lang.Long', $1::bigint::text, 'N')
        )
        INSERT INTO batch_step_execution VALUES
            ($1, 3, 'range', $1, '2026-01-01', '2026-01-01', NULL, $2::text, 2, 10, 1, 9, 0, 0, 0, 0, $4::text, $3::text, '2026-01-01')";
    let code = if ["COMPLETED", "FAILED", "STOPPED"].contains(&status) { status } else { "UNKNOWN" };
    client.execute(sql, &[&run, &status, &message, &code]).await?;
    Ok(())
}

/// The JobExecution and its step: status, exit code, version, whether it has an end, message.
async fn executions(client: &Client, run: i64) -> Tested<[String; 2]> {
    let mut words = Vec::new();
    for table in ["job", "step"] {
        let sql = format!(
            "SELECT concat_ws(' ', status, exit_code, version, end_time IS NOT NULL, last_updated > '2026-01-01', exit_message)
             FROM batch_{table}_execution WHERE {table}_execution_id = {run}"
        );
        words.push(value(client, &sql).await?);
    }
    words.try_into().map_err(|_| "two".into())
}

/// The run as people see it: state, reason, message.
async fn ended(client: &Client, run: i64) -> Tested<String> {
    let sql = format!("SELECT concat_ws('|', state, reason, message) FROM pgbatch.runs WHERE id = {run}");
    value(client, &sql).await
}

fn with_message(run: i64, state: RunState, message: &str) -> Outcome {
    Outcome {
        message: Some(message.to_owned()),
        reason: Some("Word".to_owned()),
        result: (state == Succeeded).then(|| json!({})),
        ..outcome(run, state)
    }
}

#[tokio::test]
async fn what_a_killed_run_left_is_freed_and_nothing_else() -> Tested {
    let (_database, client, id) = with_spring(5).await?;
    let statuses = ["STARTING", "STARTED", "STOPPING", "UNKNOWN"];
    let mut outcomes = Vec::new();
    for (item, status) in (1..).zip(statuses) {
        let run = claim_one(&client, (id, item, item, 1)).await?.run;
        execute(&client, run, status, "").await?;
        outcomes.push(with_message(run, Lost, "gone"));
    }
    let other = claim_one(&client, (id, 5, 5, 1)).await?.run;
    execute(&client, other, "STARTED", "").await?;
    finish(&client, &outcomes).await?;
    for (ended_run, status) in outcomes.iter().map(|o| o.run).zip(statuses) {
        let freed = format!("freed by pgbatch: run {ended_run} is over, lost, and left it {status}");
        assert_eq!(
            executions(&client, ended_run).await?,
            [format!("FAILED FAILED 3 t t {freed}"), format!("FAILED FAILED 4 t t {freed}")]
        );
        assert_eq!(ended(&client, ended_run).await?, "lost|Word|gone");
    }
    assert_eq!(executions(&client, other).await?, ["STARTED UNKNOWN 2 f f ", "STARTED UNKNOWN 3 f f "]);
    assert_eq!(batch(&client, id).await?, "running: 1 running, 4 retrying");
    Ok(())
}

/// Spring marks a job FAILED and not the step, where the update of the step failed: it refuses such a one too.
#[tokio::test]
async fn a_step_is_freed_also_where_its_job_has_ended() -> Tested {
    let (_database, client, id) = with_spring(1).await?;
    let run = claim_one(&client, (id, 1, 1, 1)).await?.run;
    execute(&client, run, "STARTED", "").await?;
    client.batch_execute("UPDATE batch_job_execution SET status = 'FAILED'").await?;
    finish(&client, &[outcome(run, Failed)]).await?;
    let [job, step] = executions(&client, run).await?;
    assert!(job.starts_with("FAILED UNKNOWN 2 f f"), "{job}");
    assert!(step.starts_with("FAILED FAILED 4 t t"), "{step}");
    Ok(())
}

/// What the process did, what the JobExecution says, and how the run has ended then.
#[tokio::test]
async fn a_run_is_judged_by_its_job() -> Tested {
    let trace = "java.lang.IllegalStateException: no such customer\n\tat example.Reader.read(Reader.java:7)";
    let cases = [
        (Succeeded, "COMPLETED", "", "succeeded|Word|said"),
        (
            Succeeded,
            "FAILED",
            trace,
            "failed|FAILED|FAILED: java.lang.IllegalStateException: no such customer",
        ),
        (Succeeded, "STOPPED", "", "failed|STOPPED|STOPPED"),
        (Succeeded, "STARTED", "", "failed|STARTED|STARTED"),
        (
            Failed,
            "FAILED",
            trace,
            "failed|Word|FAILED: java.lang.IllegalStateException: no such customer\nsaid",
        ),
        (Failed, "STARTED", "", "failed|Word|said"),
        (
            Failed,
            "COMPLETED",
            "",
            "succeeded|COMPLETED|the job of Spring Batch was COMPLETED, then the process: failed, Word\nsaid",
        ),
        (
            Lost,
            "COMPLETED",
            "",
            "succeeded|COMPLETED|the job of Spring Batch was COMPLETED, then the process: lost, Word\nsaid",
        ),
        (
            TimedOut,
            "COMPLETED",
            "",
            "succeeded|COMPLETED|the job of Spring Batch was COMPLETED, then the process: timed_out, Word\nsaid",
        ),
        (Cancelled, "COMPLETED", "", "cancelled|Word|said"),
        (Cancelled, "STARTED", "", "cancelled|Word|said"),
    ];
    let (_database, client, id) = with_spring(i32::try_from(cases.len())?).await?;
    let mut outcomes = Vec::new();
    for (item, (state, status, message, _)) in (1..).zip(cases) {
        let run = claim_one(&client, (id, item, item, 1)).await?.run;
        execute(&client, run, status, message).await?;
        outcomes.push(with_message(run, state, "said"));
    }
    finish(&client, &outcomes).await?;
    for (said, (state, status, _, expected)) in outcomes.iter().zip(cases) {
        assert_eq!(ended(&client, said.run).await?, expected, "{state:?} and {status}");
    }
    let results: i64 = value(&client, "SELECT count(*) FROM pgbatch.runs WHERE result IS NOT NULL").await?;
    assert_eq!(results, 1, "a run that failed has no result");
    Ok(())
}

#[tokio::test]
async fn a_flow_s_message_is_that_of_its_failed_step() -> Tested {
    let (_database, client, id) = with_spring(1).await?;
    let run = claim_one(&client, (id, 1, 1, 1)).await?.run;
    execute(&client, run, "FAILED", "").await?;
    client.batch_execute("UPDATE batch_step_execution SET exit_message = E'the words\n\tat there'").await?;
    finish(&client, &[outcome(run, Succeeded)]).await?;
    assert_eq!(ended(&client, run).await?, "failed|FAILED|FAILED: the words");
    Ok(())
}

#[tokio::test]
async fn a_run_that_no_job_execution_names_ends_as_its_process_and_is_told() -> Tested {
    let (_database, client, id) = with_spring(2).await?;
    let (one, two) =
        (claim_one(&client, (id, 1, 1, 1)).await?.run, claim_one(&client, (id, 2, 2, 1)).await?.run);
    finish(&client, &[outcome(one, Succeeded), outcome(two, Failed)]).await?;
    let told = ended(&client, one).await?;
    assert!(
        told.starts_with("succeeded|")
            && told.contains("pgbatch.run_id=$(PGBATCH_RUN_ID),java.lang.Long,false"),
        "{told}"
    );
    assert_eq!(ended(&client, two).await?, "failed");
    Ok(())
}

/// Whoever may put something in the place of a table must not get the rights of the extension's owner by it.
#[tokio::test]
async fn what_is_put_in_the_place_of_a_table_is_not_used_and_the_outcome_stays() -> Tested {
    let traps = [
        ("DROP TABLE batch_step_execution", "there is no table public.batch_step_execution"),
        (
            "ALTER TABLE batch_step_execution RENAME TO kept; CREATE VIEW batch_step_execution AS SELECT * FROM kept",
            "there is no table public.batch_step_execution",
        ),
        (
            "ALTER TABLE batch_step_execution OWNER TO postgres",
            "batch_step_execution belongs to postgres, and not to the extension's owner",
        ),
        ("ALTER TABLE batch_step_execution RENAME write_count TO written", "has no column write_count"),
        (
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''not now''; END';
             CREATE TRIGGER t BEFORE UPDATE ON batch_job_execution EXECUTE FUNCTION refuse()",
            "not now",
        ),
    ];
    for (trap, says) in traps {
        let (database, client, id) = with_spring(1).await?;
        let run = claim_one(&client, (id, 1, 1, 1)).await?.run;
        execute(&client, run, "STARTED", "").await?;
        database.connect_as(SUPERUSER).await?.batch_execute(trap).await?;
        finish(&client, &[with_message(run, Succeeded, "said")]).await?;
        let told = ended(&client, run).await?;
        assert!(told.starts_with("succeeded|Word|the tables of Spring Batch cannot be used: "), "{told}");
        assert!(told.contains(says) && told.ends_with("\nsaid"), "{trap}: {told}");
        assert_eq!(batch(&client, id).await?, "succeeded: 1 succeeded");
        let status: String = value(&client, "SELECT status FROM batch_job_execution").await?;
        assert_eq!(status, "STARTED", "{trap}");
    }
    Ok(())
}

/// A pod that is gone may have left a transaction open; the dispatcher must not hang at it, nor leave the run STARTED.
#[tokio::test]
async fn a_run_whose_job_execution_is_locked_stays_live() -> Tested {
    let (database, client, id) = with_spring(2).await?;
    let (one, two) =
        (claim_one(&client, (id, 1, 1, 1)).await?.run, claim_one(&client, (id, 2, 2, 1)).await?.run);
    execute(&client, one, "STARTED", "").await?;
    let zombie = database.connect().await?;
    zombie.batch_execute("BEGIN; UPDATE batch_step_execution SET write_count = 10, version = 4").await?;
    client.batch_execute("SELECT pgbatch.create_queue('other', sql => 'SELECT 1')").await?;
    let other: i64 = value(&client, "SELECT pgbatch.enqueue('other')").await?;
    let unlike = claim_one(&client, (other, 1, 1, 1)).await?.run;
    let outcomes = [outcome(one, Lost), outcome(unlike, Lost)];
    finish(&client, &outcomes).await?;
    assert_eq!(batch(&client, id).await?, "running: 2 running");
    assert_eq!(batch(&client, other).await?, "running: 1 retrying", "a run of another queue is not held up");
    zombie.batch_execute("COMMIT").await?;
    finish(&client, &outcomes).await?;
    assert_eq!(batch(&client, id).await?, "running: 1 running, 1 retrying");
    let [_, step] = executions(&client, one).await?;
    assert!(step.starts_with("FAILED FAILED 5 t t"), "{step}");
    finish(&client, &[outcome(two, Succeeded)]).await?;
    Ok(())
}

#[tokio::test]
async fn step_counts_are_shown_beside_the_runs() -> Tested {
    let (_database, client, id) = with_spring(2).await?;
    let one = claim_one(&client, (id, 1, 1, 1)).await?.run;
    execute(&client, one, "STARTED", "").await?;
    finish(&client, &[outcome(one, Lost)]).await?;
    let two = claim_one(&client, (id, 1, 1, 2)).await?.run;
    claim_one(&client, (id, 2, 2, 1)).await?;
    execute(&client, two, "STARTED", "").await?;
    let sql = format!(
        "SELECT string_agg(concat_ws(' ', run_id, attempt, run_state, job_name, job_status, step_name, step_status, read_count,
             write_count, filter_count, skip_count, commit_count, rollback_count), ', ' ORDER BY run_id)
         FROM pgbatch.spring_steps({id})"
    );
    let expected = format!(
        "{one} 1 lost invoices FAILED range FAILED 10 9 1 0 2 0, {two} 2 starting invoices STARTED range STARTED 10 9 1 0 2 0"
    );
    assert_eq!(value::<String>(&client, &sql).await?, expected);
    let other = enqueue(&client, 1, "").await?;
    let steps = format!("SELECT count(*) FROM pgbatch.spring_steps({other})");
    assert_eq!(value::<i64>(&client, &steps).await?, 0);
    client.batch_execute("SELECT pgbatch.reset_queue('q', 'options')").await?;
    let error = refused(client.query(&sql, &[]).await)?;
    assert_eq!((error.code().code(), error.hint().is_some()), ("22023", true));
    let no_option = format!("batch_id is invalid: the queue of batch {id} has no options.spring_batch");
    assert_eq!(error.message(), no_option);
    let error = refused(client.query("SELECT pgbatch.spring_steps(4711)", &[]).await)?;
    assert_eq!(error.code().code(), "42704");
    Ok(())
}

#[tokio::test]
async fn the_tables_may_be_in_another_schema_and_have_another_prefix() -> Tested {
    let database = database().await?;
    let client = database.connect().await?;
    let tables = TABLES.replace("BATCH_", "Nightly_");
    client
        .batch_execute(&format!(
            r#"CREATE SCHEMA "it's %s"; SET search_path = "it's %s"; {tables}; RESET search_path"#
        ))
        .await?;
    let option = json!({"spring_batch": {"schema": "it's %s", "table_prefix": "Nightly_"}});
    let create = "SELECT pgbatch.create_queue('q', sql => 'SELECT 1', options => $1)";
    client.execute(create, &[&option]).await?;
    assert_eq!(value::<Value>(&client, "SELECT options FROM pgbatch.queues").await?, option);
    let id = enqueue(&client, 1, "").await?;
    let run = claim_one(&client, (id, 1, 1, 1)).await?.run;
    client
        .batch_execute(&format!(
            r#"SET search_path = "it's %s"; INSERT INTO nightly_job_instance VALUES (1, 0, 'j', 'k');
               INSERT INTO nightly_job_execution (job_execution_id, job_instance_id, create_time, status, version) VALUES (1, 1, now(), 'STARTED', 0);
               INSERT INTO nightly_job_execution_params VALUES (1, 'pgbatch.run_id', 'java.lang.String', '{run}', 'N')"#
        ))
        .await?;
    finish(&client, &[outcome(run, Lost)]).await?;
    assert_eq!(value::<String>(&client, "SELECT status FROM nightly_job_execution").await?, "FAILED");
    Ok(())
}

#[tokio::test]
async fn options_are_checked_at_the_call_and_nothing_is_stored() -> Tested {
    let cases = [
        ("[]", "options is invalid: array, expected a JSON object"),
        (r#"{"spring_bach": true}"#, "options.spring_bach is invalid: unknown option"),
        (r#"{"pending_pod_conditions": "Ready"}"#, "options.pending_pod_conditions is invalid: \"Ready\""),
        (
            r#"{"pending_pod_conditions": ["Ready", "a,b"]}"#,
            "options.pending_pod_conditions is invalid: [\"Ready\", \"a,b\"]",
        ),
        (r#"{"spring_batch": 1}"#, "options.spring_batch is invalid: 1"),
        (r#"{"spring_batch": null}"#, "options.spring_batch is invalid: null"),
        (r#"{"spring_batch": {"prefix": "B"}}"#, "options.spring_batch.prefix is invalid: unknown option"),
        (
            r#"{"spring_batch": {"schema": 1}}"#,
            "options.spring_batch.schema is invalid: 1, expected a string",
        ),
        (
            r#"{"spring_batch": {"table_prefix": "x; DROP"}}"#,
            "options.spring_batch.table_prefix is invalid: 'x; DROP'",
        ),
        (
            r#"{"spring_batch": {"table_prefix": "batch.BATCH_"}}"#,
            "options.spring_batch.table_prefix is invalid: 'batch.BATCH_'",
        ),
        (
            r#"{"spring_batch": {"schema": "nowhere"}}"#,
            "options.spring_batch is invalid: there is no table nowhere.batch_job_instance",
        ),
    ];
    let (_database, client, _) = with_spring(1).await?;
    for (options, message) in cases {
        for call in ["create_queue('r', sql => 'SELECT 1'", "alter_queue('q'"] {
            let sql = format!("SELECT pgbatch.{call}, options => '{options}')");
            let error = refused(client.batch_execute(&sql).await)?;
            assert_eq!((error.code().code(), error.message()), ("22023", message));
            assert!(error.hint().is_some(), "{options}");
        }
    }
    let stored: Value = value(&client, "SELECT jsonb_agg(options) FROM pgbatch.queues").await?;
    assert_eq!(stored, json!([{"spring_batch": {"schema": "public", "table_prefix": "BATCH_"}}]));
    for none in
        ["alter_queue('q', options => '{}')", r#"alter_queue('q', options => '{"spring_batch": false}')"#]
    {
        client
            .batch_execute(&format!("SELECT pgbatch.alter_queue('q', options => '{OPTION}'), pgbatch.{none}"))
            .await?;
        assert!(value::<bool>(&client, "SELECT options IS NULL FROM pgbatch.queues").await?, "{none}");
    }
    Ok(())
}

#[tokio::test]
async fn a_warning_says_which_indexes_are_missed() -> Tested {
    let (database, _client, _) = with_spring(1).await?;
    let (client, mut messages) = database.connect_with_messages(OWNER).await?;
    let alter = format!("SELECT pgbatch.alter_queue('q', options => '{OPTION}')");
    let mut warned = Vec::new();
    for _ in 0..2 {
        client.batch_execute(&alter).await?;
        while let Ok(AsyncMessage::Notice(warning)) = messages.try_recv() {
            let says = warning.message();
            assert!(says.ends_with(", and is read whole at each end of a run"), "{says}");
            let hint = warning.hint().unwrap_or_default().to_owned();
            client.batch_execute(&hint).await?;
            warned.push(hint);
        }
    }
    let expected = [
        "CREATE INDEX ON public.batch_job_execution_params (parameter_value) WHERE parameter_name = 'pgbatch.run_id';",
        "CREATE INDEX ON public.batch_step_execution (job_execution_id);",
    ];
    assert_eq!(warned, expected, "what the hints say is enough");
    Ok(())
}

#[tokio::test]
async fn only_the_owner_may_ask_for_it_and_for_his_own_tables_only() -> Tested {
    let (database, client, _) = with_spring(1).await?;
    let superuser = database.connect_as(SUPERUSER).await?;
    client
        .batch_execute("GRANT USAGE ON SCHEMA pgbatch TO public; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA pgbatch TO public")
        .await?;
    // A superuser who is not the owner stands for any other role with the rights to manage queues.
    let alter = format!("SELECT pgbatch.alter_queue('q', options => '{OPTION}')");
    let error = refused(superuser.batch_execute(&alter).await)?;
    assert_eq!(error.code().code(), "42501");
    let owner_only = format!("options.spring_batch may be given by the extension's owner only, by {OWNER}");
    assert_eq!(error.message(), owner_only);
    superuser.batch_execute("SELECT pgbatch.alter_queue('q', max_parallel => 3)").await?;
    superuser.batch_execute(&format!("SET ROLE {OWNER}; {alter}; RESET ROLE")).await?;

    superuser.batch_execute("ALTER TABLE batch_job_execution_params OWNER TO postgres").await?;
    let error = refused(client.batch_execute(&alter).await)?;
    assert_eq!((error.code().code(), error.hint().is_some()), ("42501", true));
    Ok(())
}
