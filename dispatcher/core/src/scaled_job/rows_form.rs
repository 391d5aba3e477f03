//! A number says how many rows wait, not which. Where the query is the usual count of rows, the form that binds each row to a
//! Job is near.

use super::statement::literal;
use super::{Note, NoteKind};

/// What to replace `watch_count()` by; none where the query is no plain count of rows.
pub(super) fn suggest(query: &str, trigger: &str, queue: &str) -> Option<Note> {
    let counted = Counted::read(query)?;
    let key = match counted.column {
        Some(column) => column.to_owned(),
        None => format!("<key of {}>", counted.table),
    };
    let rows = format!("SELECT {key} AS id FROM {}", counted.rest);
    let statement = format!(
        "SELECT pgbatch.drop_trigger({trigger}); SELECT pgbatch.watch_rows({trigger}, {queue}, {rows})",
        trigger = literal(trigger),
        queue = literal(queue),
        rows = literal(&rows)
    );
    let message = "a count says how many rows wait, not which: watch_rows() makes each new key one item, which its Job is told \
                   and which every retry gets again";
    let hint = "Fill in what is in <>, a column that identifies the row; have the Job take its row from PGBATCH_ARG_ID; and see \
                that the query does not leave out a row because it is in work.";
    Some(Note::new(NoteKind::Suggestion, "", message).hint(hint).statement(statement))
}

/// `SELECT count(...) FROM table ...`
struct Counted<'a> {
    /// The column in the brackets, if there is one.
    column: Option<&'a str>,
    /// The first table.
    table: &'a str,
    /// What comes after FROM.
    rest: &'a str,
}

impl<'a> Counted<'a> {
    fn read(query: &'a str) -> Option<Self> {
        let rest = word(query.trim(), "select")?.trim_start();
        let rest = word(rest, "count")?.trim_start().strip_prefix('(')?;
        let (counted, rest) = rest.split_once(')')?;
        let rest = skip_alias(rest.trim_start());
        let rest = word(rest.trim_start(), "from")?.trim_start();
        let table = rest.split([' ', '\t', '\n', '\r', ',']).next().filter(|table| is_name(table))?;
        // Groups are no rows of the table.
        let has = |wanted: &str| rest.split_whitespace().any(|word| word.eq_ignore_ascii_case(wanted));
        if ["group", "having", "union", "limit", "intersect", "except"].iter().any(|word| has(word)) {
            return None;
        }
        let counted = counted.trim();
        let column = word(counted, "distinct").unwrap_or(counted).trim();
        let is_column = is_name(column) && !column.starts_with(|c: char| c.is_ascii_digit());
        (is_column || matches!(column, "*" | "1")).then_some(Self {
            column: is_column.then_some(column),
            table,
            rest,
        })
    }
}

/// What comes behind a word.
fn word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(word.len())?;
    let ends = !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    (start.eq_ignore_ascii_case(word) && ends).then_some(rest)
}

/// A name or a type of the number: `AS n`, `::int`.
fn skip_alias(text: &str) -> &str {
    let text =
        text.strip_prefix("::").map_or(text, |text| text.trim_start_matches(|c: char| c.is_alphanumeric()));
    match word(text.trim_start(), "as") {
        Some(rest) => rest.trim_start().trim_start_matches(|c: char| c.is_alphanumeric() || c == '_'),
        None => text,
    }
}

/// A plain name, perhaps with another before a dot.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))
}
