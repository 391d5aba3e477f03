//! What somebody has done, as the view `actions` has it, in words.

use serde_json::Value;

use super::words;

/// The role; and for whom, where somebody said so.
pub(crate) fn who(action: &Value) -> String {
    let (role, person) = (words::text(action, "role"), words::text(action, "on_behalf_of"));
    if person.is_empty() { role } else { format!("{person} ({role})") }
}

/// The batch, the trigger or the queue.
pub(crate) fn about(action: &Value) -> String {
    let (batch, trigger) = (&action["batch_id"], words::text(action, "trigger"));
    match (batch.is_null(), trigger.is_empty()) {
        (false, _) => format!("batch {batch} of {}", words::text(action, "queue")),
        (true, false) => format!("trigger {trigger} of {}", words::text(action, "queue")),
        (true, true) => words::text(action, "queue"),
    }
}

/// `max_parallel 10 -> 3, sql`.
pub(crate) fn change(detail: &Value) -> String {
    let told = |(name, value): (&String, &Value)| match (value.get("from"), value.get("to")) {
        (Some(from), Some(to)) => format!("{name} {} -> {}", plain(from), plain(to)),
        _ if value.as_object().is_some_and(serde_json::Map::is_empty) => name.clone(),
        _ => format!("{name} {}", plain(value)),
    };
    detail.as_object().map_or_else(String::new, |all| all.iter().map(told).collect::<Vec<_>>().join(", "))
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_is_told_in_words() {
        assert_eq!(
            change(
                &json!({"max_parallel": {"from": 10, "to": 3}, "namespace": {"from": null, "to": "b"}, "sql": {}})
            ),
            "max_parallel 10 -> 3, namespace none -> b, sql"
        );
        assert_eq!(change(&json!({"role": "shop", "what": ["read"]})), "role shop, what [\"read\"]");
        assert_eq!(change(&Value::Null), "");
    }

    #[test]
    fn it_is_about_the_batch_or_the_trigger_or_the_queue() {
        assert_eq!(about(&json!({"queue": "q", "batch_id": 7, "trigger": null})), "batch 7 of q");
        assert_eq!(about(&json!({"queue": "q", "batch_id": null, "trigger": "t"})), "trigger t of q");
        assert_eq!(about(&json!({"queue": null, "batch_id": null, "trigger": null})), "");
    }

    #[test]
    fn who_it_was_is_the_person_with_the_role_or_the_role_alone() {
        assert_eq!(who(&json!({"role": "ops", "on_behalf_of": "ann"})), "ann (ops)");
        assert_eq!(who(&json!({"role": "ops", "on_behalf_of": null})), "ops");
    }
}
