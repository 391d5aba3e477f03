//! `triggers`: which function makes each of them here.

use std::collections::BTreeMap;

use serde_json::Value;

use super::authentication::Found;
use super::job::Job;
use super::object::Object;
use super::replicas::Replicas;
use super::{Note, Problem, Source, Trigger, count, cron, kafka};

/// Of a trigger's own name; with the queue's it is the name of a trigger of pgbatch.
const NAME_MAX: usize = 80;

/// A trigger that is being read.
pub(super) struct Reader<'r, 'a> {
    /// Its name here.
    pub(super) name: &'r str,
    /// Its `metadata`.
    pub(super) metadata: Object<'a>,
    /// The name of its `authenticationRef`.
    pub(super) authentication: Option<String>,
    /// What somebody has found there.
    pub(super) found: Option<&'r Found>,
    pub(super) job: &'r Job<'a>,
    pub(super) replicas: &'r Replicas,
}

/// Reads all of them; those without a counterpart are left out, with a note.
pub(super) fn read_all<'a>(
    spec: &mut Object<'a>,
    given: (&Job<'a>, &Replicas, &BTreeMap<String, Found>),
    notes: &mut Vec<Note>,
) -> Result<Vec<Trigger>, Problem> {
    let (job, replicas, _) = given;
    let list_path = spec.at("triggers");
    let all = spec.list("triggers")?;
    if all.is_empty() {
        return Err(Problem::new(
            list_path,
            "missing",
            "KEDA wants one, too. For a queue alone, pgbatch.create_queue().",
        ));
    }
    let mut triggers: Vec<Trigger> = Vec::new();
    for (number, (path, value)) in all.iter().enumerate() {
        let is_only = all.len() == 1;
        let Some(trigger) = read(path, value, (number + 1, is_only), given, notes)? else {
            continue;
        };
        if let Some(other) = triggers.iter().find(|other| other.name == trigger.name) {
            let message = format!("the name of {}, too", other.path);
            return Err(Problem::new(
                format!("{path}.name"),
                message,
                "Give each trigger a name of its own.",
            ));
        }
        triggers.push(trigger);
    }
    job.end(notes);
    combine(&mut triggers, replicas);
    tell_what_some_obey(&triggers, replicas, &list_path, notes);
    Ok(triggers)
}

fn read<'a>(
    path: &str,
    value: &'a Value,
    (number, is_only): (usize, bool),
    (job, replicas, found): (&Job<'a>, &Replicas, &BTreeMap<String, Found>),
    notes: &mut Vec<Note>,
) -> Result<Option<Trigger>, Problem> {
    let mut trigger = Object::new(path, value)?;
    let kind = trigger.text("type")?.unwrap_or_default();
    let given = trigger.text("name")?;
    if given.as_ref().is_some_and(|name| name.chars().count() > NAME_MAX) {
        let message = format!("longer than {NAME_MAX} characters");
        return Err(Problem::new(trigger.at("name"), message, "Give it a shorter name."));
    }
    let name = match given {
        Some(given) => format!("{}-{given}", job.name),
        None if is_only => job.name.clone(),
        None => format!("{}-{number}", job.name),
    };
    trigger.ignore("useCachedMetrics", "a value is read when it has changed, and not kept");
    trigger.ignore("metricType", "it is for ScaledObjects");
    let mut authentication = None;
    if let Some(mut reference) = trigger.object("authenticationRef")? {
        authentication = Some(reference.text("name")?.unwrap_or_default());
        match found.get(path) {
            // With the name it says which one.
            Some(_) => drop(reference.take("kind")),
            None => reference.ignore("kind", "no TriggerAuthentication is read"),
        }
        reference.end(notes);
    }
    let metadata_path = trigger.at("metadata");
    let Some(metadata) = trigger.object("metadata")? else {
        return Err(Problem::new(metadata_path, "missing", "It says what the trigger reads."));
    };
    let reader = Reader { name: &name, metadata, authentication, found: found.get(path), job, replicas };
    let source = match kind.as_str() {
        "postgresql" => Some(Source::Count(count::read(reader, notes)?)),
        "kafka" | "apache-kafka" => kafka::read(reader, path, notes)?.map(Source::Kafka),
        "cron" => Some(Source::Schedule(cron::read(reader, notes)?)),
        other => {
            let message =
                format!("nothing here watches what a trigger of type {other:?} does: it is left out");
            let hint =
                "Have whoever makes the work call pgbatch.enqueue(), in the transaction that makes it.";
            notes.push(Note::todo(path, message).hint(hint));
            None
        }
    };
    trigger.end(notes);
    Ok(source.map(|source| Trigger { name, path: path.to_owned(), source }))
}

/// The lags of several groups are one demand.
fn combine(triggers: &mut [Trigger], replicas: &Replicas) {
    let kafka = triggers.iter_mut().filter_map(|trigger| match &mut trigger.source {
        Source::Kafka(kafka) => Some(kafka),
        Source::Count(_) | Source::Schedule(_) => None,
    });
    let mut kafka: Vec<_> = kafka.collect();
    if kafka.len() > 1 {
        for options in kafka.iter_mut().filter_map(|kafka| kafka.options.as_object_mut()) {
            options.insert("combine".to_owned(), replicas.scaling.combine.clone().into());
        }
    }
}

/// What KEDA applies to all triggers together, and only some obey here.
fn tell_what_some_obey(triggers: &[Trigger], replicas: &Replicas, list_path: &str, notes: &mut Vec<Note>) {
    let counts = triggers.iter().filter(|trigger| matches!(trigger.source, Source::Count(_))).count();
    let groups = triggers.iter().filter(|trigger| matches!(trigger.source, Source::Kafka(_))).count();
    if triggers.len() > 1 && counts < triggers.len() && groups < triggers.len() {
        notes.push(Note::changed(
            list_path,
            "triggers of type postgresql are combined into one demand, and those of type kafka into another; each of the others \
             is demand of its own, and all together run at most maxReplicaCount Jobs",
        ));
    }
    if let Some(path) = replicas.combine_at.as_ref().filter(|_| counts == 0 && groups < 2) {
        notes.push(Note::ignored(path, "there is nothing to combine"));
    }
    if let Some(path) = replicas.min_at.as_ref().filter(|_| counts == 0) {
        notes.push(Note::ignored(
            path,
            "idle Jobs are kept for triggers of type postgresql, and there is none",
        ));
    }
    if let Some(path) = replicas.strategy_at.as_ref() {
        if counts + groups == 0 {
            notes.push(Note::ignored(path, "the items of a schedule are counted by nobody"));
        } else if groups > 0 && replicas.scaling.strategy == "custom" {
            notes.push(Note::changed(path, "for triggers of type kafka it is default"));
        }
    }
}
