//! A trigger of type `postgresql`: `watch_count()`.

use super::rows_form;
use super::trigger::Reader;
use super::{Count, Note, Problem};

/// How KEDA gets to the database.
const CONNECTION: [&str; 12] = [
    "connection",
    "connectionFromEnv",
    "host",
    "hostFromEnv",
    "port",
    "userName",
    "userNameFromEnv",
    "dbName",
    "sslmode",
    "password",
    "passwordFromEnv",
    "portFromEnv",
];

pub(super) fn read(mut reader: Reader<'_, '_>, notes: &mut Vec<Note>) -> Result<Count, Problem> {
    let metadata = &mut reader.metadata;
    let query_path = metadata.at("query");
    // A view has no semicolon.
    let query =
        metadata.text("query")?.map(|query| query.trim_end_matches([';', ' ', '\t', '\r', '\n']).to_owned());
    let Some(query) = query.filter(|query| !query.is_empty()) else {
        return Err(Problem::new(query_path, "missing", "A SELECT that returns one number."));
    };
    let target_path = metadata.at("targetQueryValue");
    let target = match metadata.number("targetQueryValue")? {
        Some(target) if target >= 0.001 => target,
        found => {
            let found =
                found.map_or_else(|| "missing".to_owned(), |target| format!("{target} never gets a Job"));
            return Err(Problem::new(
                target_path,
                found,
                "How much of the value is one Job's work? 1 for a Job a row.",
            ));
        }
    };
    let activation = metadata.number("activationTargetQueryValue")?.unwrap_or(0.0);
    let mut unused: Vec<String> = Vec::new();
    for key in CONNECTION {
        if metadata.take(key).is_some() {
            unused.push(metadata.at(key));
        }
    }
    if reader.authentication.is_some() {
        unused.push(metadata.path().replace(".metadata", ".authenticationRef"));
    }
    if !unused.is_empty() {
        notes.push(Note {
            paths: unused,
            ..Note::changed(
                "",
                "no connection is made: the query is run in this database, as the extension's owner",
            )
            .hint("Its tables must be here. Where they are in another database, import the ScaledJob there.")
        });
    }
    if let Some(suggestion) = rows_form::suggest(&query, reader.name, &reader.job.name) {
        notes.push(Note { paths: vec![query_path], ..suggestion });
    }
    reader.metadata.end(notes);
    Ok(Count { query, target, activation, scaling: reader.replicas.scaling.clone() })
}
