//! An error of the database in words for people, and the termination log.

use std::error::Error as _;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use tokio_postgres::error::{DbError, ErrorPosition, SqlState};
use tracing::warn;

use crate::store::with_causes;

/// What Kubernetes keeps of a termination message, in bytes; the same for an item's error.
const WORDS_MAX: usize = 4096;
/// Where Kubernetes reads the termination message of a container.
const CONTAINER_LOG: &str = "/dev/termination-log";
/// Where the process executor reads it.
const PROCESS_LOG: &str = "PGBATCH_TERMINATION_LOG";

/// Whether no further statement can be run.
pub(super) fn is_lost_connection(error: &tokio_postgres::Error) -> bool {
    match error.as_db_error() {
        Some(error) => ends_session(error.code()),
        None => error.is_closed() || error.source().is_some_and(|cause| cause.is::<std::io::Error>()),
    }
}

fn ends_session(code: &SqlState) -> bool {
    [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::DATABASE_DROPPED,
        SqlState::IDLE_SESSION_TIMEOUT,
        SqlState::CONNECTION_EXCEPTION,
        SqlState::CONNECTION_FAILURE,
    ]
    .contains(code)
}

/// The error as psql would tell it: message and SQLSTATE, then detail, hint, context and the line in `statement`.
pub(super) fn describe(error: &tokio_postgres::Error, statement: Option<&str>) -> String {
    let words = match error.as_db_error() {
        Some(error) => describe_db_error(error, statement),
        None => with_causes(error),
    };
    shorten(words)
}

fn describe_db_error(error: &DbError, statement: Option<&str>) -> String {
    let mut lines = vec![format!("{} (SQLSTATE {})", error.message(), error.code().code())];
    if let (Some(ErrorPosition::Original(position)), Some(statement)) = (error.position(), statement) {
        lines.extend(line_at(statement, *position));
    }
    for (name, text) in [("DETAIL", error.detail()), ("HINT", error.hint()), ("CONTEXT", error.where_())] {
        lines.extend(text.map(|text| format!("{name}: {text}")));
    }
    lines.join("\n")
}

/// The line of the `position`th character (from 1) of a statement.
fn line_at(statement: &str, position: u32) -> Option<String> {
    let before = usize::try_from(position).ok()?.checked_sub(1)?;
    let line_no = statement.chars().take(before).filter(|c| *c == '\n').count();
    let line = statement.lines().nth(line_no)?;
    Some(format!("LINE {}: {line}", line_no + 1))
}

fn shorten(mut words: String) -> String {
    if words.len() > WORDS_MAX {
        words.truncate(words.floor_char_boundary(WORDS_MAX));
    }
    words
}

/// Writes why the run failed where its executor looks for it. Standard error has it, too: without a termination log,
/// its end is taken.
pub(super) fn write_termination_log(messages: &[String]) {
    let path = std::env::var_os(PROCESS_LOG).map_or_else(|| PathBuf::from(CONTAINER_LOG), PathBuf::from);
    let words = shorten(messages.join("\n"));
    // In a container it exists; outside, only a path that was asked for is made.
    let made = std::env::var_os(PROCESS_LOG).is_some();
    let written = OpenOptions::new()
        .create(made)
        .write(true)
        .truncate(true)
        .open(&path)
        .and_then(|mut file| file.write_all(words.as_bytes()));
    match written {
        Err(error) if made => warn!(path = %path.display(), %error, "cannot write the termination log"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_an_error() {
        let statement = "SELECT 1,\n  é nonsense\nFROM t";
        let cases = [
            (0, None),
            (1, Some("LINE 1: SELECT 1,")),
            (15, Some("LINE 2:   é nonsense")),
            // At the end of input, PostgreSQL points behind the last character.
            (99, Some("LINE 3: FROM t")),
        ];
        for (position, expected) in cases {
            assert_eq!(line_at(statement, position).as_deref(), expected, "{position}");
        }
    }

    #[test]
    fn long_words_are_cut_between_characters() {
        let words = shorten("é".repeat(WORDS_MAX));
        assert_eq!(words, "é".repeat(WORDS_MAX / 2));
    }

    #[test]
    fn only_the_end_of_the_session_is_a_lost_connection() {
        assert!(ends_session(&SqlState::ADMIN_SHUTDOWN));
        assert!(!ends_session(&SqlState::UNIQUE_VIOLATION));
        assert!(!ends_session(&SqlState::QUERY_CANCELED));
    }
}
