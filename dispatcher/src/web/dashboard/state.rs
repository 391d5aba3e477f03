//! A state, to look at: an icon, its word, and a colour; never the colour alone.

use maud::{Markup, html};
use serde_json::Value;

use crate::people::words;

/// The states of items, in the order of bars and legends.
pub(super) const ITEM_STATES: [&str; 6] =
    ["succeeded", "running", "retrying", "failed", "cancelled", "pending"];

/// An icon and the word.
pub(super) fn state(state: &str) -> Markup {
    html! { span.state.(state) { (icon(state)) (spoken(state)) } }
}

/// Words that say how good or bad something is: `good`, `warning` or `bad`.
pub(super) fn marked(level: &str, words: &str) -> Markup {
    html! { span.state.(level) { (icon(level)) (words) } }
}

/// As people say it.
fn spoken(state: &str) -> String {
    state.replace('_', " ")
}

/// Drawn in the colour of the text around it.
pub(super) fn icon(state: &str) -> Markup {
    let path = match state {
        "waiting" => "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2M8 5v3l2 2",
        "starting" => "M8 2a6 6 0 1 0 0 12M8 5v6",
        "running" => "M5 3l8 5-8 5z",
        "retrying" => "M13 8a5 5 0 1 1-2-4M11 1v3.5H7.5",
        "succeeded" | "good" => "M3 8.5l3.5 3.5L13 4.5",
        "failed" | "timed_out" | "lost" | "bad" => "M4 4l8 8M12 4l-8 8",
        "cancelled" => "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2M4 12l8-8",
        "paused" => "M5.5 3v10M10.5 3v10",
        "warning" => "M8 2.5L14.5 14h-13zM8 6.5v3.5M8 12v.1",
        _ => "M8 3a5 5 0 1 0 0 10A5 5 0 0 0 8 3",
    };
    html! { svg.icon viewBox="0 0 16 16" aria-hidden="true" { path d=(path) {} } }
}

/// Those in which an item has not ended.
pub(super) const OPEN_STATES: [&str; 3] = ["running", "retrying", "pending"];

/// Items by state, of these states, as one bar. Nothing where there are none.
pub(super) fn bar(counts: &Value, states: &[&'static str]) -> Markup {
    let counts: Vec<(&str, i64)> = states
        .iter()
        .copied()
        .map(|state| (state, words::number(counts, state)))
        .filter(|(_, count)| *count > 0)
        .collect();
    let total: i64 = counts.iter().map(|(_, count)| count).sum();
    let told: Vec<String> =
        counts.iter().map(|(state, count)| format!("{} {state}", words::grouped(*count))).collect();
    let mut from = 0.0;
    let parts: Vec<(&str, f64, f64)> = counts
        .iter()
        .map(|(state, count)| {
            let width = percent(*count, total);
            from += width;
            (*state, from - width, width)
        })
        .collect();
    html! {
        @if !parts.is_empty() {
            svg.bar viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label=(told.join(", ")) {
                @for (state, from, width) in parts {
                    rect.(state) x=(format!("{from:.2}")) y="0" width=(format!("{width:.2}")) height="10" {
                        title { (told.join(", ")) }
                    }
                }
            }
        }
    }
}

/// `part` of `total`, in percent.
#[expect(clippy::cast_precision_loss, reason = "the width of a bar")]
pub(super) fn percent(part: i64, total: i64) -> f64 {
    part as f64 * 100.0 / total.max(1) as f64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_parts_of_a_bar_fill_it() {
        let bar = bar(&json!({"succeeded": 1, "failed": 2, "pending": 1}), &ITEM_STATES).into_string();
        for part in [
            r#"class="succeeded" x="0.00" y="0" width="25.00""#,
            r#"class="failed" x="25.00" y="0" width="50.00""#,
            r#"class="pending" x="75.00" y="0" width="25.00""#,
            r#"aria-label="1 succeeded, 2 failed, 1 pending""#,
        ] {
            assert!(bar.contains(part), "{part}: {bar}");
        }
    }

    #[test]
    fn of_no_items_there_is_no_bar() {
        assert_eq!(bar(&json!({"succeeded": 0, "failed": 3}), &OPEN_STATES).into_string(), "");
    }
}
