//! `metadata` and `jobTargetRef`: the queue's name, its template, and what pgbatch takes out of that.

use std::cell::Cell;

use serde_json::{Map, Value, json};

use super::object::Object;
use super::replicas::Replicas;
use super::{Note, Problem, Queue};
use crate::name::MANAGED_BY;
use crate::template;

type Texts = Map<String, Value>;

/// Characters of a queue's name.
const NAME_MAX: usize = 40;
/// What Kubernetes takes where a Job says nothing.
const BACKOFF_LIMIT: i32 = 6;
/// Annotations that are words to KEDA.
const KEDA_PREFIXES: [&str; 3] = ["autoscaling.keda.sh/", "scaledjob.keda.sh/", "validations.keda.sh/"];
const PAUSED: &str = "autoscaling.keda.sh/paused";
const EXCLUDED_LABELS: &str = "scaledjob.keda.sh/job-excluded-labels";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Keys that only pgbatch may set.
const OWN_PREFIX: &str = "pgbatch.io/";

/// What the queue will run.
pub(super) struct Job<'a> {
    pub(super) name: String,
    namespace: Option<String>,
    template: Value,
    max_attempts: i32,
    run_timeout: Option<i64>,
    is_paused: bool,
    environment: Environment<'a>,
}

/// The variables that `...FromEnv` fields of triggers name.
struct Environment<'a> {
    container: String,
    variables: Option<&'a Value>,
    /// The path of `envSourceContainerName`, where it is given.
    chosen_at: Option<String>,
    was_read: Cell<bool>,
}

impl<'a> Job<'a> {
    pub(super) fn read(
        mut metadata: Object<'a>,
        spec: &mut Object<'a>,
        notes: &mut Vec<Note>,
    ) -> Result<Self, Problem> {
        let name_path = metadata.at("name");
        let Some(name) = metadata.text("name")? else {
            return Err(Problem::new(name_path, "missing", "The queue gets the name of the ScaledJob."));
        };
        let queue = queue_name(&name);
        if queue != name {
            let message =
                format!("the queue is named {queue:?}: at most 40 of a-z, 0-9 and \"-\", first a letter");
            notes.push(Note::changed(name_path, message));
        }
        let namespace = metadata.text("namespace")?;
        let (labels, annotations, is_paused) = keys(&mut metadata, notes)?;
        for key in SET_BY_THE_SERVER {
            metadata.ignore(key, "Kubernetes sets it");
        }
        metadata.end(notes);
        let path = spec.at("jobTargetRef");
        let Some(target) = spec.object("jobTargetRef")? else {
            return Err(Problem::new(path, "missing", "It is the Job that is started."));
        };
        let environment = Environment::read(spec, &target)?;
        let (job, max_attempts, run_timeout) = job_spec(target, notes)?;
        let template = template_of(labels, annotations, job);
        check(&template)?;
        Ok(Self { name: queue, namespace, template, max_attempts, run_timeout, is_paused, environment })
    }

    pub(super) fn queue(self, replicas: &Replicas) -> Queue {
        Queue {
            name: self.name,
            namespace: self.namespace,
            job_template: self.template,
            max_parallel: replicas.max_parallel(),
            max_attempts: self.max_attempts,
            run_timeout: self.run_timeout,
            keep_succeeded: replicas.keep_succeeded,
            keep_failed: replicas.keep_failed,
            pending_pod_conditions: replicas.pending_pod_conditions.clone(),
            is_paused: self.is_paused,
        }
    }

    /// The value of a variable of the container that KEDA would read it from.
    pub(super) fn variable(&self, name: &str, path: &str) -> Result<String, Problem> {
        let from = &self.environment;
        from.was_read.set(true);
        let problem = |what: &str| {
            let message = format!("the variable {name:?} of the container {:?} {what}", from.container);
            Problem::new(path, message, "Give the value itself, without FromEnv.")
        };
        let named = |variable: &&Value| variable.get("name").and_then(Value::as_str) == Some(name);
        let variable = from.variables.and_then(Value::as_array).into_iter().flatten().find(named);
        match variable.map(|variable| variable.get("value").and_then(Value::as_str)) {
            Some(Some(value)) if value.contains("$(") => Err(problem("is made of others")),
            Some(Some(value)) if !value.trim().is_empty() => Ok(value.trim().to_owned()),
            Some(_) => Err(problem("has no value in the manifest")),
            None => Err(problem("is not in the manifest")),
        }
    }

    /// Notes the choice of a container that nothing was read from.
    pub(super) fn end(&self, notes: &mut Vec<Note>) {
        if let Some(path) = self.environment.chosen_at.clone().filter(|_| !self.environment.was_read.get()) {
            notes.push(Note::ignored(path, "no trigger reads a variable of that container here"));
        }
    }
}

/// Fields of `metadata` that nobody writes.
const SET_BY_THE_SERVER: [&str; 10] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

impl<'a> Environment<'a> {
    fn read(spec: &mut Object<'a>, target: &Object<'a>) -> Result<Self, Problem> {
        let path = spec.at("envSourceContainerName");
        let chosen = spec.text("envSourceContainerName")?;
        let containers = target
            .peek("template")
            .and_then(|template| template.pointer("/spec/containers"))
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let named = |container: &&Value| {
            chosen.is_none() || container.get("name").and_then(Value::as_str) == chosen.as_deref()
        };
        let container = containers.iter().find(named);
        if let (None, Some(name)) = (container, &chosen) {
            let message = format!("there is no container {name:?}");
            return Err(Problem::new(
                path,
                message,
                "Name one of spec.jobTargetRef.template.spec.containers.",
            ));
        }
        let name = container.and_then(|container| container.get("name")).and_then(Value::as_str);
        Ok(Self {
            container: name.unwrap_or_default().to_owned(),
            variables: container.and_then(|container| container.get("env")),
            chosen_at: chosen.map(|_| path),
            was_read: Cell::new(false),
        })
    }
}

/// The Job's spec without what the queue decides, the attempts, and the timeout in seconds.
fn job_spec(mut target: Object<'_>, notes: &mut Vec<Note>) -> Result<(Value, i32, Option<i64>), Problem> {
    let has_index_limit = target.take("backoffLimitPerIndex").is_some();
    let limit_path = target.at("backoffLimit");
    let limit = target.whole("backoffLimit", 0)?;
    let timeout_path = target.at("activeDeadlineSeconds");
    let timeout = target.whole("activeDeadlineSeconds", 1)?.map(i64::from);
    let mut spec = target.fields().clone();
    spec.remove("activeDeadlineSeconds");
    if timeout.is_some() {
        notes.push(Note::changed(
            timeout_path,
            "it is the queue's run_timeout: of each attempt, from the start of its first container on, not of all attempts together",
        ));
    }
    if spec.remove("ttlSecondsAfterFinished").is_some_and(|ttl| !ttl.is_null()) {
        notes.push(Note::ignored(
            target.at("ttlSecondsAfterFinished"),
            "ended Jobs are kept and removed by keep_succeeded and keep_failed, that is by the history limits",
        ));
    }
    let max_attempts = if has_index_limit {
        let path = target.at("backoffLimitPerIndex");
        notes.push(Note::changed(
            path,
            "the Job retries its indexes itself, so the queue makes one attempt at an item",
        ));
        1
    } else {
        spec.remove("backoffLimit");
        if limit.is_some() {
            notes.push(Note::changed(
                limit_path,
                "it is the queue's max_attempts - 1: each attempt is a Job of its own, on the same item",
            ));
        }
        limit.unwrap_or(BACKOFF_LIMIT).saturating_add(1)
    };
    let is_indexed = spec.get("completionMode").and_then(Value::as_str) == Some("Indexed");
    let completions = spec.get("completions").filter(|value| !value.is_null());
    let parallelism = spec.get("parallelism").and_then(Value::as_i64);
    if !is_indexed && completions.is_none() && parallelism.is_some_and(|pods| pods != 1) {
        let note = Note::changed(
            target.at("parallelism"),
            "a run is one pod unless completions says how many there are",
        );
        notes.push(note.hint("Give completions too, or an item for each pod."));
    }
    if let Some(policy) = target.peek("template").and_then(|t| t.pointer("/spec/restartPolicy"))
        && policy == "OnFailure"
    {
        let path = format!("{}.template.spec.restartPolicy", target.path());
        notes.push(Note::changed(
            path,
            "a container is not started again in its pod: the next attempt is a new Job",
        ));
    }
    Ok((Value::Object(spec), max_attempts, timeout))
}

/// What a Job takes over of the ScaledJob's own labels and annotations, and whether that is paused.
fn keys(metadata: &mut Object<'_>, notes: &mut Vec<Note>) -> Result<(Texts, Texts, bool), Problem> {
    let annotations_path = metadata.at("annotations");
    let mut annotations = texts(metadata, "annotations")?;
    let paused = annotations.remove(PAUSED);
    // Any value but a false one means yes.
    let is_paused = paused
        .is_some_and(|value| !matches!(value.as_str(), Some("0" | "f" | "F" | "false" | "FALSE" | "False")));
    let excluded = annotations.remove(EXCLUDED_LABELS);
    let excluded: Vec<&str> =
        excluded.as_ref().and_then(Value::as_str).unwrap_or_default().split(',').collect();
    annotations.retain(|key, _| {
        let why = if key == LAST_APPLIED {
            "a copy of the manifest, not put on every Job"
        } else if KEDA_PREFIXES.iter().any(|prefix| key.starts_with(prefix)) {
            "a word to KEDA that means nothing here"
        } else if key.starts_with(OWN_PREFIX) {
            "pgbatch sets what begins with pgbatch.io/"
        } else {
            return true;
        };
        notes.push(Note::ignored(at(&annotations_path, key), why));
        false
    });
    let labels_path = metadata.at("labels");
    let mut labels = texts(metadata, "labels")?;
    labels.retain(|key, _| {
        let why = if excluded.contains(&key.as_str()) {
            "kept off its Jobs, as an annotation says"
        } else if key == MANAGED_BY || key.starts_with(OWN_PREFIX) {
            "on Jobs, pgbatch sets it"
        } else {
            return true;
        };
        notes.push(Note::ignored(at(&labels_path, key), why));
        false
    });
    Ok((labels, annotations, is_paused))
}

fn template_of(labels: Texts, annotations: Texts, job: Value) -> Value {
    let mut metadata = Map::new();
    for (key, texts) in [("labels", labels), ("annotations", annotations)] {
        if !texts.is_empty() {
            metadata.insert(key.to_owned(), texts.into());
        }
    }
    if metadata.is_empty() { json!({"spec": job}) } else { json!({"metadata": metadata, "spec": job}) }
}

fn texts(metadata: &mut Object<'_>, key: &'static str) -> Result<Texts, Problem> {
    let Some(object) = metadata.object(key)? else { return Ok(Map::new()) };
    match object.fields().iter().find(|(_, value)| !value.is_string()) {
        Some((key, _)) => Err(Problem::new(object.at(key), "no text", "Put it into quotes.")),
        None => Ok(object.fields().clone()),
    }
}

fn at(path: &str, key: &str) -> String {
    let mut path = path.to_owned();
    template::push_key(&mut path, key);
    path
}

fn check(job_template: &Value) -> Result<(), Problem> {
    let Err(problems) = template::check(job_template) else { return Ok(()) };
    let Some(first) = problems.first() else { return Ok(()) };
    let path = match first.path.strip_prefix("spec") {
        Some(rest) => format!("spec.jobTargetRef{rest}"),
        None => first.path.clone(),
    };
    let more = match problems.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    Err(Problem::new(
        path,
        format!("{}{more}", first.message),
        "It becomes the queue's job_template, which is checked strictly.",
    ))
}

/// A name that a queue may have; another one for another ScaledJob, but for very bad luck.
fn queue_name(name: &str) -> String {
    let lower: String = name
        .chars()
        .map(|c| match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9') => c,
            _ => '-',
        })
        .collect();
    let lower =
        if lower.starts_with(|c: char| c.is_ascii_lowercase()) { lower } else { format!("q-{lower}") };
    let fits = lower.len() <= NAME_MAX && !lower.ends_with('-');
    if fits {
        return lower;
    }
    let kept: String = lower.chars().take(NAME_MAX - 9).collect();
    format!("{}-{:08x}", kept.trim_end_matches('-'), fnv(name))
}

/// FNV-1a: the same for ever, whatever the version of Rust.
fn fnv(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
