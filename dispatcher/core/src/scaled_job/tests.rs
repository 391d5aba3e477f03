use serde_json::{Value, json};

use super::manifest::{read_all, read_one};
use super::*;
use crate::kafka_options::Options;
use crate::scaling::Strategy;

mod any_text;
mod every_field;
mod logins;

/// The manifest of the scenario that this project was born from.
const CLAPS: &str = include_str!("../../../../deploy/examples/keda/scaled-job.yaml");

fn read(text: &str) -> Result<Import, Problem> {
    import(&read_one(text)?)
}

/// A ScaledJob with these fields of `spec` and these triggers.
fn scaled_job(spec: &Value, triggers: &Value) -> Value {
    let mut whole = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob", "metadata": {"name": "claps"},
        "spec": {"jobTargetRef": {"template": {"spec": {"containers": [
            {"name": "clap", "image": "clap", "env": [
                {"name": "SERVERS", "value": "kafka:9092"}, {"name": "MADE", "value": "$(SERVERS)"},
                {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
            {"name": "side", "image": "side", "env": [{"name": "SERVERS", "value": "other:9092"}]}]}}},
            "triggers": triggers}
    });
    for (key, value) in spec.as_object().unwrap() {
        whole["spec"][key] = value.clone();
    }
    whole
}

fn rows() -> Value {
    json!([{"type": "postgresql", "metadata": {"query": "SELECT count(*) FROM t", "targetQueryValue": "1"}}])
}

fn kafka(metadata: &Value) -> Value {
    let mut all = json!({"bootstrapServers": "kafka:9092", "consumerGroup": "g", "topic": "t"});
    for (key, value) in metadata.as_object().unwrap() {
        all[key] = value.clone();
    }
    json!([{"type": "kafka", "metadata": all}])
}

fn noted(import: &Import, path: &str) -> Option<NoteKind> {
    import.notes.iter().find(|note| note.paths.iter().any(|noted| noted == path)).map(|note| note.kind)
}

#[test]
fn the_claps_as_they_are() {
    let import = read(CLAPS).unwrap();
    let queue = &import.queue;
    assert_eq!((queue.name.as_str(), queue.namespace.as_deref(), queue.is_paused), ("claps", None, false));
    assert_eq!((queue.max_parallel, queue.max_attempts, queue.run_timeout), (30, 5, Some(600)));
    assert_eq!((queue.keep_succeeded, queue.keep_failed), (10, 5));
    let job = &queue.job_template["spec"];
    assert_eq!((&job["completions"], &job["parallelism"]), (&json!(1), &json!(1)));
    assert_eq!((job.get("backoffLimit"), job.get("activeDeadlineSeconds")), (None, None));
    let [Trigger { name, path, source: Source::Count(count) }] = import.triggers.as_slice() else {
        panic!("{:?}", import.triggers)
    };
    assert_eq!((name.as_str(), path.as_str()), ("claps", "spec.triggers[0]"));
    assert!(count.query.starts_with("SELECT COUNT(1) FROM make_it_clap LEFT JOIN clap"));
    assert_eq!((count.target, count.activation, count.scaling.max_runs), (1.0, 0.0, Some(30)));
    assert_eq!(noted(&import, "spec.pollingInterval"), Some(NoteKind::Ignored));
    assert_eq!(noted(&import, "spec.jobTargetRef.backoffLimit"), Some(NoteKind::Changed));
    assert_eq!(noted(&import, "spec.triggers[0].metadata.passwordFromEnv"), Some(NoteKind::Changed));
    let suggestion = import.notes.iter().find(|note| note.kind == NoteKind::Suggestion).unwrap();
    assert_eq!(
        suggestion.statement.as_deref().unwrap(),
        "SELECT pgbatch.drop_trigger('claps'); SELECT pgbatch.watch_rows('claps', 'claps', 'SELECT <key of make_it_clap> AS id \
         FROM make_it_clap LEFT JOIN clap ON clap.id = make_it_clap.id WHERE clap.status IS NULL')"
    );
}

#[test]
fn the_calls_that_make_the_claps() {
    let steps = read(CLAPS).unwrap().steps();
    let [queue, trigger] = steps.as_slice() else { panic!("{steps:?}") };
    assert!(queue.statement.starts_with("SELECT pgbatch.create_queue('claps', E'{\""), "{}", queue.statement);
    assert!(
        queue.statement.ends_with(
            "}', max_parallel => 30, max_attempts => 5, retry_backoff_max => '6 min', keep_succeeded => 10, keep_failed => 5, \
             run_timeout => '600 s')"
        ),
        "{}",
        queue.statement
    );
    assert_eq!(
        trigger.statement,
        "SELECT pgbatch.watch_count('claps', 'claps', 'SELECT COUNT(1) FROM make_it_clap LEFT JOIN clap ON clap.id = \
         make_it_clap.id WHERE clap.status IS NULL', target => 1, activation => 0, strategy => 'default', min_runs => 0, \
         max_runs => 30, combine => 'max')"
    );
}

#[test]
fn defaults_are_those_of_keda() {
    let import = import(&scaled_job(&json!({}), &rows())).unwrap();
    let queue = import.queue;
    assert_eq!((queue.max_parallel, queue.max_attempts, queue.run_timeout), (100, 7, None));
    assert_eq!((queue.keep_succeeded, queue.keep_failed), (100, 100));
    let Source::Count(count) = &import.triggers[0].source else { panic!() };
    let scaling = &count.scaling;
    assert_eq!((scaling.min_runs, scaling.max_runs, scaling.strategy.as_str()), (0, None, "default"));
}

#[test]
fn scaling_as_keda_reads_it() {
    let case = |spec: &Value| {
        let import = import(&scaled_job(spec, &rows())).unwrap();
        let Source::Count(count) = import.triggers[0].source.clone() else { panic!() };
        (count.scaling, import.queue.max_parallel)
    };
    let (scaling, most) = case(&json!({"minReplicaCount": 5}));
    assert_eq!((scaling.min_runs, scaling.max_runs, most), (5, None, 105));
    let (scaling, most) = case(&json!({"minReplicaCount": 9, "maxReplicaCount": 4}));
    assert_eq!((scaling.min_runs, scaling.max_runs, most), (4, Some(4), 4));
    let custom = |percentage: &str| {
        case(&json!({"scalingStrategy": {"strategy": "custom", "customScalingQueueLengthDeduction": 2,
            "customScalingRunningJobPercentage": percentage, "multipleScalersCalculation": "sum"}}))
        .0
    };
    let good = custom("0.5");
    assert_eq!((good.strategy.as_str(), good.custom_deduction), ("custom", 2));
    assert_eq!((good.custom_running_percentage, good.combine.as_str()), (Some(0.5), "sum"));
    let bad = custom("half");
    assert_eq!(
        (bad.strategy.as_str(), bad.custom_deduction, bad.custom_running_percentage),
        ("default", 0, None)
    );
}

#[test]
fn pending_conditions_are_an_option_of_the_queue_and_another_one_of_it_stays() {
    let read = |conditions: Value| {
        import(&scaled_job(&json!({"scalingStrategy": {"pendingPodConditions": conditions}}), &rows()))
    };
    let asked = read(json!(["Ready", "example.com/Warm"])).unwrap();
    let option = r#"{"pending_pod_conditions":["Ready","example.com/Warm"]}'"#;
    let create = &asked.steps()[0].statement;
    assert!(create.ends_with(&format!(", options => '{option})")), "{create}");
    let merged = "(SELECT COALESCE(q.options, '{}') OPERATOR(pg_catalog.-) 'pending_pod_conditions'::pg_catalog.text \
                  OPERATOR(pg_catalog.||) '";
    let of_queue = "FROM pgbatch.queue q WHERE q.name OPERATOR(pg_catalog.=) 'claps'))";
    for (import, option) in [(&asked, option), (&read(json!([])).unwrap(), "{}'")] {
        let alter = &import.alter_steps()[0].statement;
        assert!(alter.ends_with(&format!("options => {merged}{option} {of_queue}")), "{alter}");
    }
    let problem = read(json!(["Ready", 1])).unwrap_err();
    assert_eq!(problem.path, "spec.scalingStrategy.pendingPodConditions[1]");
}

#[test]
fn every_option_of_a_kafka_trigger() {
    let metadata = json!({"lagThreshold": "50", "activationLagThreshold": "3", "offsetResetPolicy": "earliest",
        "allowIdleConsumers": "true", "scaleToZeroOnInvalidOffset": "false", "excludePersistentLag": "1",
        "limitToPartitionsWithLag": "false", "ensureEvenDistributionOfPartitions": "true", "partitionLimitation": "1,2,10-20",
        "tls": "enable", "sasl": "scram_sha512"});
    let mut triggers = kafka(&metadata);
    triggers[0]["authenticationRef"] = json!({"name": "kafka-login"});
    let import =
        import(&scaled_job(&json!({"scalingStrategy": {"strategy": "accurate"}}), &triggers)).unwrap();
    let Source::Kafka(kafka) = &import.triggers[0].source else { panic!() };
    assert_eq!((kafka.lag_threshold, kafka.topic.as_deref()), (50, Some("t")));
    assert_eq!(
        kafka.options,
        json!({"activation_lag_threshold": 3, "offset_reset": "earliest", "allow_idle_consumers": true,
            "scale_to_zero_on_invalid_offset": false, "exclude_persistent_lag": true, "limit_to_partitions_with_lag": false,
            "ensure_even_distribution_of_partitions": true, "partition_limitation": "1,2,10-20", "strategy": "accurate",
            "tls": true, "sasl": {"mechanism": "SCRAM-SHA-512", "username_file": "kafka-login/username",
            "password_file": "kafka-login/password"}})
    );
    assert_eq!(noted(&import, "spec.triggers[0].authenticationRef"), Some(NoteKind::Todo));
    let options: Options = serde_json::from_value(kafka.options.clone()).unwrap();
    assert_eq!((options.activation_lag_threshold, options.strategy), (3, Strategy::Accurate));
}

#[test]
fn several_kafka_triggers_are_one_demand_and_one_is_not() {
    let combines = |triggers: &Value| {
        let spec = json!({"scalingStrategy": {"multipleScalersCalculation": "sum"}});
        let import = import(&scaled_job(&spec, triggers)).unwrap();
        let of = |trigger: &Trigger| match &trigger.source {
            Source::Kafka(kafka) => kafka.options.get("combine").cloned(),
            _ => None,
        };
        let all: Vec<_> = import.triggers.iter().map(of).collect();
        let path = "spec.scalingStrategy.multipleScalersCalculation";
        (all, noted(&import, path), noted(&import, "spec.triggers"))
    };
    let (one, two, rows) =
        (kafka(&json!({}))[0].clone(), kafka(&json!({"topic": "u"}))[0].clone(), rows()[0].clone());
    let sum = Some(json!("sum"));
    assert_eq!(combines(&json!([one])), (vec![None], Some(NoteKind::Ignored), None));
    assert_eq!(combines(&json!([one, two])), (vec![sum.clone(), sum.clone()], None, None));
    let mixed = (vec![sum.clone(), None, sum], None, Some(NoteKind::Changed));
    assert_eq!(combines(&json!([one, rows, two])), mixed);
}

#[test]
fn variables_are_those_of_the_first_container_or_of_the_one_that_is_named() {
    let servers = |spec: &Value| {
        let triggers = json!([{"type": "kafka", "metadata":
            {"bootstrapServersFromEnv": "SERVERS", "consumerGroup": "g"}}]);
        let Source::Kafka(kafka) = import(&scaled_job(spec, &triggers)).unwrap().triggers[0].source.clone()
        else {
            panic!()
        };
        kafka.bootstrap_servers
    };
    assert_eq!(servers(&json!({})), "kafka:9092");
    assert_eq!(servers(&json!({"envSourceContainerName": "side"})), "other:9092");
}

#[test]
fn names_become_names_of_queues() {
    let name = |name: &str| {
        let mut whole = scaled_job(&json!({}), &rows());
        whole["metadata"]["name"] = json!(name);
        let import = import(&whole).unwrap();
        assert_eq!(import.queue.name == name, noted(&import, "metadata.name").is_none(), "{name}");
        import.queue.name
    };
    let long = "a".repeat(41);
    assert_eq!(name("claps"), "claps");
    assert_eq!(name(&"a".repeat(40)), "a".repeat(40));
    assert_eq!(name("a.b"), "a-b");
    assert_eq!(name("7up"), "q-7up");
    for bad in [long.as_str(), "a-", "-", "ä", "."] {
        let made = name(bad);
        let is_word = made.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        assert!(
            is_word
                && made.len() <= 40
                && !made.ends_with('-')
                && made.starts_with(|c: char| c.is_ascii_lowercase()),
            "{made}"
        );
    }
    assert_ne!(name(&long), name(&"a".repeat(42)), "cut names differ");
}

#[test]
fn triggers_are_named_after_the_queue() {
    let one = |name: Option<&str>| {
        json!({"type": "cron", "name": name, "metadata":
        {"timezone": "Europe/Paris", "start": "0 2 * * *", "end": "0 4 * * *", "desiredReplicas": "3"}})
    };
    let whole = scaled_job(&json!({}), &json!([one(None), one(Some("night"))]));
    let names: Vec<String> =
        import(&whole).unwrap().triggers.into_iter().map(|trigger| trigger.name).collect();
    assert_eq!(names, ["claps-1", "claps-night"]);
    let twice = scaled_job(&json!({}), &json!([one(Some("x")), one(Some("x"))]));
    assert_eq!(import(&twice).unwrap_err().path, "spec.triggers[1].name");
}

#[test]
fn counts_that_could_be_rows() {
    let rows = |query: &str| {
        let note = rows_form::suggest(query, "n", "q")?;
        let statement = note.statement.unwrap();
        Some(statement.rsplit_once("'q', '").unwrap().1.trim_end_matches("')").to_owned())
    };
    let cases = [
        (
            "select count(*) from orders where not done",
            Some("SELECT <key of orders> AS id FROM orders where not done"),
        ),
        (
            "SELECT\n COUNT ( o.id )::int AS n\nFROM shop.orders o",
            Some("SELECT o.id AS id FROM shop.orders o"),
        ),
        ("SELECT count(DISTINCT id) FROM t", Some("SELECT id AS id FROM t")),
        ("SELECT count(*) FROM t GROUP BY x", None),
        ("SELECT count(*) FROM (SELECT 1) t", None),
        ("SELECT coalesce(sum(n), 0) FROM t", None),
        ("SELECT count(*) FILTER (WHERE a) FROM t", None),
        ("SELECT countless FROM t", None),
        ("", None),
    ];
    for (query, expected) in cases {
        assert_eq!(rows(query).as_deref(), expected, "{query}");
    }
}

/// A manifest, where it is refused, and a part of why.
fn check_refused<P: AsRef<str>>(cases: &[(Value, P, &str)]) {
    for (manifest, path, message) in cases {
        let problem = import(manifest).unwrap_err();
        assert_eq!(problem.path, path.as_ref(), "{problem}");
        assert!(problem.message.contains(message) && !problem.hint.is_empty(), "{problem:?}");
    }
}

#[test]
fn what_is_refused_of_the_job() {
    let with = |key: &str, value: Value| scaled_job(&json!({key: value}), &rows());
    let misspelt = json!({"template": {"spec": {"containers": [{"name": "a", "imge": "b"}]}}});
    let mut no_name = with("x", json!(1));
    no_name["metadata"] = json!({});
    let cases = [
        (json!([]), "$", "expected an object"),
        (json!({"kind": "ScaledObject", "apiVersion": "keda.sh/v1alpha1"}), "kind", "is no ScaledJob"),
        (json!({"kind": "ScaledJob", "apiVersion": "keda.sh/v1"}), "kind", "is no ScaledJob"),
        (json!({"kind": "ScaledJob", "apiVersion": "keda.sh/v1alpha1"}), "$", "metadata or spec is missing"),
        (no_name, "metadata.name", "missing"),
        (with("jobTargetRef", Value::Null), "spec.jobTargetRef", "missing"),
        (
            with("jobTargetRef", misspelt),
            "spec.jobTargetRef.template.spec.containers[0].imge",
            "did you mean \"image\"?",
        ),
        (with("maxReplicaCount", json!(0)), "spec.maxReplicaCount", "from 1 on"),
        (with("maxReplicaCount", json!("30")), "spec.maxReplicaCount", "a whole number"),
        (with("failedJobsHistoryLimit", json!(-1)), "spec.failedJobsHistoryLimit", "from 0 on"),
        (
            with("scalingStrategy", json!({"strategy": "greedy"})),
            "spec.scalingStrategy.strategy",
            "not known",
        ),
        (with("triggers", json!([])), "spec.triggers", "missing"),
        (with("triggers", json!({})), "spec.triggers", "expected a list"),
        (with("triggers", json!([{"type": "postgresql"}])), "spec.triggers[0].metadata", "missing"),
        (
            with("envSourceContainerName", json!("nope")),
            "spec.envSourceContainerName",
            "no container \"nope\"",
        ),
    ];
    check_refused(&cases);
}

#[test]
fn what_is_refused_of_triggers() {
    let count =
        |metadata: Value| scaled_job(&json!({}), &json!([{"type": "postgresql", "metadata": metadata}]));
    let kafka = |metadata: &Value| scaled_job(&json!({}), &kafka(metadata));
    let cron = |start: &str, zone: &str, wanted: &str| {
        scaled_job(
            &json!({}),
            &json!([{"type": "cron", "metadata": {"start": start, "timezone": zone, "desiredReplicas": wanted}}]),
        )
    };
    let metadata = "spec.triggers[0].metadata";
    let cases = [
        (count(json!({"targetQueryValue": "1"})), "query", "missing"),
        (count(json!({"query": " ; ", "targetQueryValue": "1"})), "query", "missing"),
        (count(json!({"query": "SELECT 1"})), "targetQueryValue", "missing"),
        (count(json!({"query": "SELECT 1", "targetQueryValue": "0.0004"})), "targetQueryValue", "never"),
        (count(json!({"query": "SELECT 1", "targetQueryValue": "one"})), "targetQueryValue", "a number"),
        (kafka(&json!({"lagThreshold": "0"})), "lagThreshold", "from 1 on"),
        (kafka(&json!({"allowIdleConsumers": "maybe"})), "allowIdleConsumers", "\"true\" or \"false\""),
        (
            kafka(&json!({"bootstrapServers": "", "bootstrapServersFromEnv": "NOPE"})),
            "bootstrapServersFromEnv",
            "not in the manifest",
        ),
        (kafka(&json!({"topic": "", "topicFromEnv": "SECRET"})), "topicFromEnv", "no value in the manifest"),
        (kafka(&json!({"topic": "", "topicFromEnv": "MADE"})), "topicFromEnv", "made of others"),
        (kafka(&json!({"consumerGroup": ""})), "consumerGroup", "missing"),
        (cron("nope", "UTC", "1"), "start", "cron is invalid"),
        (cron("0 2 * * *", "Mars", "1"), "timezone", "timezone is invalid"),
        (cron("0 2 * * *", "UTC", "0"), "desiredReplicas", "from 1 to 10000"),
    ];
    check_refused(&cases.map(|(manifest, key, message)| (manifest, format!("{metadata}.{key}"), message)));
}

#[test]
fn what_has_no_counterpart_is_left_out_and_told() {
    let case = |triggers: &Value| {
        let import = import(&scaled_job(&json!({}), triggers)).unwrap();
        (import.triggers.len(), noted(&import, "spec.triggers[0]"))
    };
    assert_eq!(
        case(&json!([{"type": "rabbitmq", "metadata": {"queueName": "q"}}])),
        (0, Some(NoteKind::Todo))
    );
    assert_eq!(case(&kafka(&json!({"sasl": "gssapi"}))), (0, Some(NoteKind::Todo)));
    assert_eq!(case(&kafka(&json!({"topic": "a,b"}))), (0, Some(NoteKind::Todo)));
}

#[test]
fn paused_unless_it_is_said_to_be_false() {
    for (value, expected) in [("true", true), ("", true), ("yes", true), ("false", false), ("0", false)] {
        let mut whole = scaled_job(&json!({}), &rows());
        whole["metadata"]["annotations"] = json!({"autoscaling.keda.sh/paused": value});
        let import = import(&whole).unwrap();
        assert_eq!(
            (import.queue.is_paused, import.steps().len()),
            (expected, 2 + usize::from(expected)),
            "{value}"
        );
    }
}

#[test]
fn labels_and_annotations_are_those_of_its_jobs() {
    let mut whole = scaled_job(&json!({}), &rows());
    whole["metadata"]["labels"] = json!({"team": "a", "app.kubernetes.io/managed-by": "Helm", "secret": "x"});
    whole["metadata"]["annotations"] = json!({"note": "n", "scaledjob.keda.sh/job-excluded-labels": "secret",
        "kubectl.kubernetes.io/last-applied-configuration": "{}"});
    let import = import(&whole).unwrap();
    assert_eq!(
        import.queue.job_template["metadata"],
        json!({"labels": {"team": "a"}, "annotations": {"note": "n"}})
    );
    assert_eq!(noted(&import, "metadata.labels[\"app.kubernetes.io/managed-by\"]"), Some(NoteKind::Ignored));
}

#[test]
fn literals_are_read_back_as_they_are() {
    assert_eq!(statement::literal("it's"), "'it''s'");
    assert_eq!(statement::literal("a\\b'"), "E'a\\\\b'''");
}

#[test]
fn json_and_several_documents() {
    let json = serde_json::to_string(&scaled_job(&json!({}), &rows())).unwrap();
    assert_eq!(read(&json).unwrap().queue.name, "claps");
    let two = format!("---\n{CLAPS}\n---\n# nothing\n---\n{CLAPS}\n...\n");
    assert_eq!(read_all(&two).unwrap().len(), 2);
    assert!(read_one(&two).unwrap_err().message.contains("2 documents"));
    assert!(read_one("").unwrap_err().message.contains("0 documents"));
    // As the YAML of Kubernetes has it.
    assert_eq!(read_one("mode: 0644").unwrap(), json!({"mode": 420}));
}

#[test]
fn secrets_are_in_no_note() {
    let mut whole = scaled_job(&json!({}), &rows());
    whole["spec"]["triggers"][0]["metadata"]["password"] = json!("s3cret");
    whole["spec"]["triggers"][0]["metadata"]["connection"] = json!("postgres://u:s3cret@h/d");
    assert!(!import(&whole).unwrap().to_json().to_string().contains("s3cret"));
}
