//! What the status of a ScaledJob says, in KEDA's words.

use serde_json::{Value, json};

use crate::store::Applied;

/// Kubernetes allows 32,768.
const MESSAGE_MAX: usize = 4096;

/// `status.conditions`: Ready, and why.
pub(super) fn conditions(applied: &Applied) -> Value {
    let (status, reason, message) = match applied {
        Applied::Served { queue, notes } => {
            let told = notes.iter().filter(|note| matches!(note.what.as_str(), "todo" | "changed"));
            let told = told.map(|note| match &note.hint {
                Some(hint) => format!("\n{} {}: {}. {hint}", note.what, note.path, note.message),
                None => format!("\n{} {}: {}", note.what, note.path, note.message),
            });
            (
                "True",
                "ScaledJobReady",
                format!("served by pgbatch, queue {queue}{}", told.collect::<String>()),
            )
        }
        Applied::Refused { error, hint } => {
            let hint = hint.as_ref().map_or_else(String::new, |hint| format!("\n{hint}"));
            ("False", "ScaledJobCheckFailed", format!("{error}{hint}"))
        }
    };
    let message: String = message.chars().take(MESSAGE_MAX).collect();
    json!([{"type": "Ready", "status": status, "reason": reason, "message": message}])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::AppliedNote;

    #[test]
    fn what_somebody_has_to_know_is_in_the_message() {
        let note = |what: &str, hint: Option<&str>| AppliedNote {
            what: what.to_owned(),
            path: "spec.x".to_owned(),
            message: "differs".to_owned(),
            hint: hint.map(str::to_owned),
        };
        let notes = vec![note("todo", Some("Do it.")), note("ignored", None), note("changed", None)];
        let served = conditions(&Applied::Served { queue: "claps".to_owned(), notes });
        let message = "served by pgbatch, queue claps\ntodo spec.x: differs. Do it.\nchanged spec.x: differs";
        assert_eq!(
            served,
            json!([{"type": "Ready", "status": "True", "reason": "ScaledJobReady", "message": message}])
        );
        let refused = Applied::Refused { error: "e".repeat(5000), hint: Some("h".to_owned()) };
        let refused = conditions(&refused);
        assert_eq!(
            (&refused[0]["status"], &refused[0]["reason"]),
            (&json!("False"), &json!("ScaledJobCheckFailed"))
        );
        assert_eq!(refused[0]["message"].as_str().map(str::len), Some(MESSAGE_MAX));
    }
}
