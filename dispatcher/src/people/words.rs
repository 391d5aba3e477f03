//! From the JSON of a row to what people read.

use jiff::Timestamp;
use serde_json::Value;

/// A cell has no more than this: the whole is in `pgbatch show` and in the JSON.
const CELL_MAX: usize = 200;

/// A column as text; nothing where it is null.
pub(crate) fn text(row: &Value, column: &str) -> String {
    match &row[column] {
        Value::Null => String::new(),
        Value::String(text) => clean(text),
        other => clean(&other.to_string()),
    }
}

/// The same, cut to what fits a table.
pub(crate) fn short(row: &Value, column: &str) -> String {
    let text = text(row, column);
    match text.char_indices().nth(CELL_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A column as a number; 0 where it is none.
pub(crate) fn number(row: &Value, column: &str) -> i64 {
    row[column].as_i64().unwrap_or(0)
}

/// A column as a point in time.
pub(crate) fn time(row: &Value, column: &str) -> Option<Timestamp> {
    row[column].as_str()?.parse().ok()
}

/// A point in time to the second, in the time zone of the server's session.
pub(crate) fn moment(row: &Value, column: &str) -> String {
    moment_of(&text(row, column))
}

/// The same, of a text as PostgreSQL writes it into JSON.
pub(crate) fn moment_of(text: &str) -> String {
    let Some((date, clock)) = text.split_once('T') else { return text.to_owned() };
    let seconds = clock.get(..8).unwrap_or(clock);
    let zone = clock.rfind(['+', '-', 'Z']).map_or("", |at| &clock[at..]);
    format!("{date} {seconds}{zone}")
}

/// How long ago it was, or nothing.
pub(crate) fn age(row: &Value, column: &str, now: Timestamp) -> String {
    time(row, column).map_or_else(String::new, |then| seconds(now.duration_since(then).as_secs_f64()))
}

/// A point in time, and how long ago it was; nothing where it has not been.
pub(crate) fn moment_and_age(row: &Value, column: &str, now: Timestamp) -> String {
    match age(row, column, now) {
        age if age.is_empty() => age,
        age => format!("{} ({age} ago)", moment(row, column)),
    }
}

/// How long it took from one column to another, or has taken up to now.
pub(crate) fn took(row: &Value, from: &str, to: &str, now: Timestamp) -> String {
    let Some(from) = time(row, from) else { return String::new() };
    seconds(time(row, to).unwrap_or(now).duration_since(from).as_secs_f64())
}

/// How long it is from one point in time to a later one.
pub(crate) fn between(from: Timestamp, to: Timestamp) -> String {
    seconds(to.duration_since(from).as_secs_f64())
}

/// A duration in two units at most: `850ms`, `12s`, `3m04s`, `2h05m`, `4d03h`.
pub(crate) fn seconds(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    if seconds < 1.0 {
        return format!("{:.0}ms", seconds * 1000.0);
    }
    // Years of seconds are far from what a f64 holds exactly.
    #[expect(clippy::cast_possible_truncation, reason = "it is not negative, and saturates")]
    let whole = seconds as i64;
    match whole {
        0..60 => format!("{whole}s"),
        60..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        3600..86_400 => format!("{}h{:02}m", whole / 3600, whole % 3600 / 60),
        _ => format!("{}d{:02}h", whole / 86_400, whole % 86_400 / 3600),
    }
}

/// `1 item`, `2,000 items`.
pub(crate) fn count(number: i64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(number))
}

/// `12,400`
pub(crate) fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = if number < 0 { "-".to_owned() } else { String::new() };
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A point in time as people say it who know which day it is: `02:41:07 UTC`; with the date where it was another day.
pub(crate) fn clock(at: Timestamp, now: Timestamp) -> String {
    let day = |moment: Timestamp| moment.strftime("%Y-%m-%d").to_string();
    let format = if day(at) == day(now) { "%H:%M:%S UTC" } else { "%Y-%m-%d %H:%M:%S UTC" };
    at.strftime(format).to_string()
}

/// On one line, and without what could play with the terminal: it may have been written by a stranger's program.
pub(crate) fn clean(text: &str) -> String {
    let mut words = String::with_capacity(text.len());
    for character in text.trim().chars() {
        if !character.is_control() {
            words.push(character);
        } else if !words.ends_with(' ') {
            words.push(' ');
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn durations_have_two_units_at_most() {
        let told: Vec<String> = [0.0, 0.85, 1.0, 59.9, 64.0, 7500.0, 356_400.0].map(seconds).into();
        assert_eq!(told, ["0ms", "850ms", "1s", "59s", "1m04s", "2h05m", "4d03h"]);
    }

    #[test]
    fn large_numbers_are_grouped() {
        let told: Vec<String> = [0, 999, 1000, 12_400, -1_234_567].map(grouped).into();
        assert_eq!(told, ["0", "999", "1,000", "12,400", "-1,234,567"]);
    }

    #[test]
    fn a_clock_says_the_day_where_it_is_another_one() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(clock(at("2026-01-02T02:41:07Z"), at("2026-01-02T23:00:00Z")), "02:41:07 UTC");
        assert_eq!(clock(at("2026-01-02T02:41:07Z"), at("2026-01-03T00:00:00Z")), "2026-01-02 02:41:07 UTC");
    }

    #[test]
    fn a_strangers_text_cannot_play_with_the_terminal() {
        assert_eq!(
            text(&json!({"m": "a\u{1b}[31mb\r\n\nc\u{7}"}), "m"),
            "a [31mb c ".trim_end().to_owned() + " "
        );
    }

    #[test]
    fn a_moment_is_told_to_the_second() {
        let row = json!({"at": "2026-11-24T15:50:05.123456+00:00", "never": null});
        assert_eq!(moment(&row, "at"), "2026-11-24 15:50:05+00:00");
        assert_eq!(moment(&row, "never"), "");
    }
}
