//! A ScaledJob of KEDA (`keda.sh/v1alpha1`) as a queue and its triggers. Read with KEDA's source at 8b4f083 (2026-08-20).
//!
//! ```text
//!   text ─ manifest ─> a JSON value, bounded
//!        ─ import ───> Import: queue, triggers, notes          each field is used, or a note says what became of it
//!        ─ statement > the calls of pgbatch's SQL functions that make it
//! ```
//! - [`manifest`]: YAML or JSON, its size, depth and aliases bounded;
//! - `object`: reads an object field by field, and knows which ones nobody has asked for;
//! - [`authentication`]: what a trigger logs in with, where somebody has read that;
//! - `job`, `replicas`, `trigger`: what the parts of a ScaledJob mean here;
//! - `rows_form`: the form of a COUNT that binds rows to Jobs, as a suggestion.

pub mod authentication;
mod count;
mod cron;
mod job;
mod kafka;
pub mod manifest;
mod object;
mod replicas;
mod rows_form;
mod statement;
mod trigger;

use serde::Serialize;
use serde_json::Value;

use self::job::Job;
use self::object::Object;
use self::replicas::Replicas;

/// The only version there is.
const API_VERSION: &str = "keda.sh/v1alpha1";

/// Why a manifest cannot be imported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct Problem {
    /// As in `spec.triggers[0].metadata.query`; `$` for the manifest itself.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl Problem {
    /// What people are told, be it by PostgreSQL or by `pgbatch import`.
    #[must_use]
    pub fn told(&self) -> String {
        format!("manifest is invalid at {self}")
    }

    fn new(path: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), hint: hint.into() }
    }
}

/// What a ScaledJob becomes.
#[derive(Debug, Clone, PartialEq)]
pub struct Import {
    /// The queue.
    pub queue: Queue,
    /// What fills it.
    pub triggers: Vec<Trigger>,
    /// What is not as it was.
    pub notes: Vec<Note>,
}

/// The arguments of `create_queue()`.
#[derive(Debug, Clone, PartialEq)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// None = the dispatcher's.
    pub namespace: Option<String>,
    /// Checked.
    pub job_template: Value,
    /// Live runs at a time.
    pub max_parallel: i32,
    /// Attempts at an item.
    pub max_attempts: i32,
    /// In seconds.
    pub run_timeout: Option<i64>,
    /// Ended Jobs that are kept.
    pub keep_succeeded: i32,
    /// Ended Jobs that are kept.
    pub keep_failed: i32,
    /// A run counts as pending until a pod of it has all of these; none = until a container of it runs.
    pub pending_pod_conditions: Vec<String>,
    /// Whether nothing starts for now.
    pub is_paused: bool,
}

/// What fills the queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Trigger {
    /// Its name.
    pub name: String,
    /// Where in the manifest it is.
    pub path: String,
    /// What it is.
    pub source: Source,
}

/// The kinds of triggers, with the arguments of the function that makes one.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// `watch_count()`.
    Count(Count),
    /// `watch_kafka()` with a consumer group.
    Kafka(Kafka),
    /// `schedule()`.
    Schedule(Window),
}

/// The arguments of `watch_count()`.
#[derive(Debug, Clone, PartialEq)]
pub struct Count {
    /// The SELECT.
    pub query: String,
    /// So much is one Job's.
    pub target: f64,
    /// Up to this it is no demand.
    pub activation: f64,
    /// How the demand becomes runs.
    pub scaling: Scaling,
}

/// How the numbers of a queue's triggers become runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaling {
    /// In the words of `watch_count()`.
    pub strategy: String,
    /// For the strategy `custom`.
    pub custom_deduction: i32,
    /// For the strategy `custom`.
    pub custom_running_percentage: Option<f64>,
    /// Runs that are kept on top of the work.
    pub min_runs: i32,
    /// None = 100 on top of `min_runs`.
    pub max_runs: Option<i32>,
    /// How several triggers are one demand.
    pub combine: String,
}

/// The arguments of `watch_kafka()`.
#[derive(Debug, Clone, PartialEq)]
pub struct Kafka {
    /// `host:port`, comma-separated.
    pub bootstrap_servers: String,
    /// None = those that the group has committed offsets of.
    pub topic: Option<String>,
    /// The group.
    pub consumer_group: String,
    /// So much lag is one Job's.
    pub lag_threshold: i64,
    /// The options.
    pub options: Value,
}

/// The arguments of `schedule()`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// When the window begins.
    pub cron: String,
    /// A name of the IANA time zone database.
    pub timezone: String,
    /// How many items an occurrence has.
    pub items: i32,
}

/// What is not as it was, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// How much it matters.
    pub kind: NoteKind,
    /// Which fields.
    pub paths: Vec<String>,
    /// What is different, and why.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// In SQL, with `<...>` where something has to be filled in.
    pub statement: Option<String>,
}

/// How much a note matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NoteKind {
    /// It has no effect here, and needs none.
    Ignored,
    /// It means something else here.
    Changed,
    /// Somebody has to do something, or a part does not work.
    Todo,
    /// There is a better way.
    Suggestion,
}

impl Note {
    fn new(kind: NoteKind, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind, paths: vec![path.into()], message: message.into(), hint: None, statement: None }
    }

    fn ignored(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(NoteKind::Ignored, path, message)
    }

    fn changed(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(NoteKind::Changed, path, message)
    }

    fn todo(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(NoteKind::Todo, path, message)
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn statement(mut self, statement: impl Into<String>) -> Self {
        self.statement = Some(statement.into());
        self
    }
}

/// Reads a ScaledJob from a value that [`manifest::read_one`] has let in.
///
/// # Errors
/// The first problem: no ScaledJob, a field of a wrong type or value, a part missing, or a Job template that
/// `create_queue()` would refuse.
pub fn import(manifest: &Value) -> Result<Import, Problem> {
    let mut notes = Vec::new();
    let mut root = Object::new("", manifest)?;
    check_kind(&mut root)?;
    root.ignore("status", "what KEDA has written down about it");
    let found = authentication::read(&mut root)?;
    let metadata = root.object("metadata")?;
    let spec = root.object("spec")?;
    root.end(&mut notes);
    let (Some(metadata), Some(mut spec)) = (metadata, spec) else {
        return Err(Problem::new(
            "$",
            "metadata or spec is missing",
            "Give a whole ScaledJob, as kubectl apply takes it.",
        ));
    };
    let job = Job::read(metadata, &mut spec, &mut notes)?;
    let replicas = Replicas::read(&mut spec, &mut notes)?;
    let triggers = trigger::read_all(&mut spec, (&job, &replicas, &found), &mut notes)?;
    spec.ignore(
        "pollingInterval",
        "nothing is polled: PostgreSQL tells when a table of the query has changed, a fetch that waits when records come",
    );
    spec.end(&mut notes);
    Ok(Import { queue: job.queue(&replicas), triggers, notes })
}

fn check_kind(root: &mut Object<'_>) -> Result<(), Problem> {
    let version = root.text("apiVersion")?.unwrap_or_default();
    let kind = root.text("kind")?.unwrap_or_default();
    if kind != "ScaledJob" || version != API_VERSION {
        let hint = match kind.as_str() {
            "ScaledObject" => {
                "A ScaledObject scales what runs already. pgbatch starts Jobs: give a ScaledJob."
            }
            _ => "Give a ScaledJob of KEDA, in YAML or JSON.",
        };
        let found = format!("{kind:?} of {version:?} is no ScaledJob of {API_VERSION:?}");
        return Err(Problem::new("kind", found, hint));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
