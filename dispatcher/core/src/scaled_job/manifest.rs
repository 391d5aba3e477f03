//! From text to JSON values. JSON is YAML too.

use serde_json::Value;

use super::Problem;

/// No manifest is larger: etcd takes no object of more than 1.5 MB.
pub const BYTES_MAX: usize = 1024 * 1024;
/// Of one text.
const DOCUMENTS_MAX: usize = 1000;
/// Nested objects and lists. A Job template needs 15.
const DEPTH_MAX: usize = 64;
/// Values, those that aliases repeat included.
const NODES_MAX: usize = 100_000;

/// Reads the one document of a text.
///
/// # Errors
/// No YAML, more than one document or none, or beyond the bounds.
pub fn read_one(text: &str) -> Result<Value, Problem> {
    let mut documents = read_all(text)?;
    match documents.len() {
        1 => Ok(documents.remove(0)),
        count => Err(Problem::new(
            "$",
            format!("{count} documents, expected one"),
            "Give one ScaledJob a call; pgbatch import FILE takes several.",
        )),
    }
}

/// Reads the documents of a text; empty ones are left out.
///
/// # Errors
/// No YAML, or beyond the bounds.
pub fn read_all(text: &str) -> Result<Vec<Value>, Problem> {
    if text.len() > BYTES_MAX {
        let message = format!("{} bytes, at most {BYTES_MAX} are read", text.len());
        return Err(Problem::new("$", message, "Kubernetes takes no larger object either."));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_documents: DOCUMENTS_MAX,
            max_nodes: NODES_MAX,
            max_events: 4 * NODES_MAX,
            max_recorded_anchor_events: NODES_MAX,
            max_recorded_anchor_bytes: 4 * BYTES_MAX,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: NODES_MAX,
        },
        // As the YAML of Kubernetes has it: defaultMode: 0644.
        legacy_octal_numbers: true,
        with_snippet: false,
    };
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        Problem::new("$", format!("no YAML that is read here: {error}"), "Is it what kubectl apply takes?")
    })?;
    for document in &documents {
        check(document, DEPTH_MAX)?;
    }
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// PostgreSQL has no text with a NUL. Aliases may have made it deeper than it was written.
fn check(value: &Value, depth_left: usize) -> Result<(), Problem> {
    let problem = |message: &str| Problem::new("$", message, "Is it what kubectl apply takes?");
    let check_text =
        |text: &str| if text.contains('\0') { Err(problem("a text with a NUL character")) } else { Ok(()) };
    let Some(depth_left) = depth_left.checked_sub(1) else { return Err(problem("nested too deeply")) };
    match value {
        Value::String(text) => check_text(text),
        Value::Array(elements) => elements.iter().try_for_each(|element| check(element, depth_left)),
        Value::Object(fields) => fields.iter().try_for_each(|(key, value)| {
            check_text(key)?;
            check(value, depth_left)
        }),
        _ => Ok(()),
    }
}
