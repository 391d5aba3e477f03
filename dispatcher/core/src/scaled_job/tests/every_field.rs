//! No field of a manifest is dropped silently.

use serde_json::{Value, json};

use crate::scaled_job::manifest::read_one;
use crate::scaled_job::{Import, NoteKind, import};

/// One that has every field that KEDA knows, and some that it does not.
pub(super) const EVERYTHING: &str = include_str!("../everything.yaml");

/// Every path of a value, from the outermost on.
fn paths(value: &Value, pointer: &str, path: &str, found: &mut Vec<(String, String)>) {
    let mut step = |key: &str, value: &Value, path: String| {
        let pointer = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
        found.push((pointer.clone(), path.clone()));
        paths(value, &pointer, &path, found);
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| {
            let mut path = path.to_owned();
            crate::template::push_key(&mut path, key);
            step(key, value, path);
        }),
        Value::Array(elements) => elements.iter().enumerate().for_each(|(index, value)| {
            step(&index.to_string(), value, format!("{path}[{index}]"));
        }),
        _ => {}
    }
}

/// Whether a note tells of a path: of itself, or of something that it is in and that as a whole has no effect.
fn is_told(import: &Import, path: &str) -> bool {
    import.notes.iter().any(|note| {
        note.paths.iter().any(|noted| {
            let inside = path.strip_prefix(noted.as_str()).is_some_and(|rest| rest.starts_with(['.', '[']));
            let is_whole = matches!(note.kind, NoteKind::Todo | NoteKind::Ignored)
                || noted.ends_with("authenticationRef");
            noted == path || inside && is_whole
        })
    })
}

#[test]
fn no_field_is_dropped_silently() {
    let whole = read_one(EVERYTHING).unwrap();
    let full = import(&whole).unwrap();
    let mut all = Vec::new();
    paths(&whole, "", "", &mut all);
    assert!(all.len() > 150, "{} fields", all.len());
    for (pointer, path) in all {
        let mut changed = whole.clone();
        let field = changed.pointer_mut(&pointer).unwrap();
        *field = match field.clone() {
            Value::String(text) => match text.parse::<f64>() {
                Ok(number) => Value::from((number + 1.0).to_string()),
                Err(_) if text == "true" => Value::from("false"),
                Err(_) if text == "false" => Value::from("true"),
                Err(_) => Value::from(format!("{text}x")),
            },
            Value::Number(number) => Value::from(number.as_i64().unwrap() + 1),
            Value::Bool(flag) => Value::from(!flag),
            // Its parts are looked at one by one.
            _ => continue,
        };
        match import(&changed) {
            Err(_) => {}
            Ok(other) => assert!(
                (&other.queue, &other.triggers) != (&full.queue, &full.triggers) || is_told(&full, &path),
                "{path} has no effect, and nobody is told"
            ),
        }
    }
}

#[test]
fn unknown_fields_are_told_wherever_they_are() {
    let whole = read_one(EVERYTHING).unwrap();
    let mut all = vec![(String::new(), String::new())];
    paths(&whole, "", "", &mut all);
    let mut tried = 0;
    for (pointer, path) in all {
        let mut changed = whole.clone();
        let Some(Value::Object(fields)) = changed.pointer_mut(&pointer) else { continue };
        fields.insert("unheardOf".to_owned(), json!("x"));
        tried += 1;
        let mut at = path.clone();
        crate::template::push_key(&mut at, "unheardOf");
        match import(&changed) {
            Err(problem) => assert_eq!(problem.path, at, "{problem}"),
            Ok(import) => {
                // Labels, annotations and the pod's maps take any key.
                let is_taken = import.queue.job_template.to_string().contains("unheardOf");
                assert!(is_taken || is_told(&import, &at), "{at} is dropped silently");
            }
        }
    }
    assert!(tried > 30, "{tried} objects");
}

#[test]
fn values_that_change_their_type_are_answered() {
    let whole = read_one(EVERYTHING).unwrap();
    let mut all = Vec::new();
    paths(&whole, "", "", &mut all);
    let values = [
        json!(null),
        json!(-1),
        json!(1e300),
        json!(""),
        json!("\\'"),
        json!([]),
        json!({}),
        json!(true),
        json!([null]),
    ];
    for (pointer, path) in all {
        for value in &values {
            let mut changed = whole.clone();
            *changed.pointer_mut(&pointer).unwrap() = value.clone();
            if let Err(problem) = import(&changed) {
                assert!(
                    !problem.path.is_empty() && !problem.hint.is_empty(),
                    "{path} = {value}: {problem:?}"
                );
            }
        }
    }
}
