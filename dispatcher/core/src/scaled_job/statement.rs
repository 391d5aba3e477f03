//! The calls of SQL functions that make what a ScaledJob becomes.

use serde::Serialize;
use serde_json::{Value, json};

use super::{Count, Import, Kafka, Note, Queue, Source, Trigger, Window};

/// Kubernetes lets no pod of a Job wait longer before it is made again.
const RETRY_BACKOFF_MAX: &str = "6 min";

/// One call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// `queue` or `trigger`.
    pub what: &'static str,
    /// The name of what it makes.
    pub name: String,
    /// Where in the manifest that comes from.
    pub path: String,
    /// What it is, for people.
    pub message: String,
    /// In SQL.
    pub statement: String,
}

impl Import {
    /// The calls that make it, in their order.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        let queue = &self.queue;
        let mut steps = vec![queue.step(queue.create())];
        if queue.is_paused {
            let statement = format!("SELECT pgbatch.pause_queue({})", literal(&queue.name));
            steps.push(Step {
                message: "is paused: nothing of it starts".to_owned(),
                ..queue.step(statement)
            });
        }
        steps.extend(self.triggers.iter().map(|trigger| trigger.step(&queue.name)));
        steps
    }

    /// The calls that make its queue of one that was made of an earlier state of the same ScaledJob.
    #[must_use]
    pub fn alter_steps(&self) -> Vec<Step> {
        let queue = &self.queue;
        let mut steps = vec![queue.step(queue.alter())];
        // NULL means unchanged to alter_queue().
        for (setting, is_default) in
            [("run_timeout", queue.run_timeout.is_none()), ("namespace", queue.namespace.is_none())]
        {
            if is_default {
                let statement = format!("SELECT pgbatch.reset_queue({}, '{setting}')", literal(&queue.name));
                steps.push(queue.step(statement));
            }
        }
        let function = if queue.is_paused { "pause_queue" } else { "resume_queue" };
        steps.push(queue.step(format!("SELECT pgbatch.{function}({})", literal(&queue.name))));
        steps
    }

    /// The steps and the notes as JSON, for SQL.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let notes: Vec<Value> = self.notes.iter().map(Note::to_json).collect();
        json!({"steps": self.steps(), "alter": self.alter_steps(), "notes": notes})
    }
}

impl Note {
    fn to_json(&self) -> Value {
        json!({
            "what": self.kind,
            "path": self.paths.join(", "),
            "message": self.message,
            "hint": self.hint,
            "statement": self.statement,
        })
    }
}

impl Queue {
    fn step(&self, statement: String) -> Step {
        let message = format!(
            "Jobs, at most {} at a time, {} attempts at an item, {} succeeded and {} failed ones kept",
            self.max_parallel, self.max_attempts, self.keep_succeeded, self.keep_failed
        );
        Step {
            what: "queue",
            name: self.name.clone(),
            path: "spec.jobTargetRef".to_owned(),
            message,
            statement,
        }
    }

    fn create(&self) -> String {
        let options = self.options();
        let call = self.call("create_queue");
        if options == json!({}) {
            return call + ")";
        }
        format!("{call}, options => {})", literal(&options.to_string()))
    }

    /// Other options than those of a ScaledJob are somebody else's, and stay.
    fn alter(&self) -> String {
        let of_others =
            "COALESCE(q.options, '{}') OPERATOR(pg_catalog.-) 'pending_pod_conditions'::pg_catalog.text";
        let options = format!("{of_others} OPERATOR(pg_catalog.||) {}", literal(&self.options().to_string()));
        // Of the table: the view counts the items of the queue.
        let queue = format!("pgbatch.queue q WHERE q.name OPERATOR(pg_catalog.=) {}", literal(&self.name));
        format!("{}, options => (SELECT {options} FROM {queue}))", self.call("alter_queue"))
    }

    fn options(&self) -> Value {
        let conditions = &self.pending_pod_conditions;
        if conditions.is_empty() { json!({}) } else { json!({"pending_pod_conditions": conditions}) }
    }

    /// A call of `create_queue()` or `alter_queue()`, without its last arguments.
    fn call(&self, function: &str) -> String {
        let mut statement = format!(
            "SELECT pgbatch.{function}({}, {}, max_parallel => {}, max_attempts => {}, retry_backoff_max => '{RETRY_BACKOFF_MAX}', \
         keep_succeeded => {}, keep_failed => {}",
            literal(&self.name),
            literal(&self.job_template.to_string()),
            self.max_parallel,
            self.max_attempts,
            self.keep_succeeded,
            self.keep_failed,
        );
        if let Some(seconds) = self.run_timeout {
            statement.push_str(&format!(", run_timeout => '{seconds} s'"));
        }
        if let Some(namespace) = &self.namespace {
            statement.push_str(&format!(", namespace => {}", literal(namespace)));
        }
        statement
    }
}

impl Trigger {
    fn step(&self, queue: &str) -> Step {
        let (message, statement) = match &self.source {
            Source::Count(count) => count.call(&self.name, queue),
            Source::Kafka(kafka) => kafka.call(&self.name, queue),
            Source::Schedule(window) => window.call(&self.name, queue),
        };
        Step { what: "trigger", name: self.name.clone(), path: self.path.clone(), message, statement }
    }
}

impl Count {
    fn call(&self, name: &str, queue: &str) -> (String, String) {
        let scaling = &self.scaling;
        let mut statement = format!(
            "SELECT pgbatch.watch_count({}, {}, {}, target => {}, activation => {}, strategy => {}",
            literal(name),
            literal(queue),
            literal(&self.query),
            self.target,
            self.activation,
            literal(&scaling.strategy),
        );
        if let Some(percentage) = scaling.custom_running_percentage {
            let deduction = scaling.custom_deduction;
            statement.push_str(&format!(
                ", custom_deduction => {deduction}, custom_running_percentage => {percentage}"
            ));
        }
        let most = scaling.max_runs.map_or_else(|| "NULL".to_owned(), |most| most.to_string());
        statement.push_str(&format!(
            ", min_runs => {}, max_runs => {most}, combine => {})",
            scaling.min_runs,
            literal(&scaling.combine)
        ));
        (format!("a Job for each {} of the number that its query returns", self.target), statement)
    }
}

impl Kafka {
    fn call(&self, name: &str, queue: &str) -> (String, String) {
        let topic = self.topic.as_deref();
        let statement = format!(
            "SELECT pgbatch.watch_kafka({}, {}, {}, {}, {}, lag_threshold => {}, options => {})",
            literal(name),
            literal(queue),
            literal(&self.bootstrap_servers),
            topic.map_or_else(|| "NULL".to_owned(), literal),
            literal(&self.consumer_group),
            self.lag_threshold,
            literal(&self.options.to_string()),
        );
        let of = topic.map_or_else(String::new, |topic| format!(" at topic \"{topic}\""));
        let message = format!(
            "a Job for each {} of the lag of group \"{}\"{of}",
            self.lag_threshold, self.consumer_group
        );
        (message, statement)
    }
}

/// The form of `watch_kafka()` without a consumer group.
pub(super) fn kafka_records(name: &str, queue: &str, kafka: &Kafka) -> String {
    let mut options = kafka.options.clone();
    if let Some(options) = options.as_object_mut() {
        options.retain(|key, _| matches!(key.as_str(), "offset_reset" | "tls" | "sasl"));
    }
    format!(
        "SELECT pgbatch.drop_trigger({name}); SELECT pgbatch.watch_kafka({name}, {}, {}, {}, records_per_item => {}, options => {})",
        literal(queue),
        literal(&kafka.bootstrap_servers),
        kafka.topic.as_deref().map_or_else(|| "NULL".to_owned(), literal),
        kafka.lag_threshold,
        literal(&options.to_string()),
        name = literal(name),
    )
}

impl Window {
    fn call(&self, name: &str, queue: &str) -> (String, String) {
        let statement = format!(
            "SELECT pgbatch.schedule({}, {}, {}, {}, items => pg_catalog.array_fill(pg_catalog.jsonb_build_object('trigger', {}::pg_catalog.text), ARRAY[{}]))",
            literal(name),
            literal(queue),
            literal(&self.cron),
            literal(&self.timezone),
            literal(name),
            self.items,
        );
        (format!("{} Jobs at {} in {}", self.items, self.cron, self.timezone), statement)
    }
}

/// A text as PostgreSQL reads it back, whatever standard_conforming_strings is.
pub(super) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}
