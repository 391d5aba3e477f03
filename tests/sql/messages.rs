//! Every error that a user can cause has a test that reads its message.

use std::collections::BTreeSet;
use std::path::PathBuf;

use e2e::repository;

use crate::support::{Tested, refused, with_queue};

/// The texts of the errors in a SQL file: what follows `MESSAGE =` and is the first argument of `reject()` and
/// `reject_unknown()`, as its fixed pieces between the placeholders of `format()`.
fn texts(sql: &str) -> Vec<Vec<String>> {
    let mut texts = Vec::new();
    for mark in ["MESSAGE = ", "pgbatch.reject(", "pgbatch.reject_unknown("] {
        for (at, _) in sql.match_indices(mark) {
            let rest = sql[at + mark.len()..].trim_start();
            let rest = rest.strip_prefix("format(").unwrap_or(rest);
            // Elsewhere a function is declared, or hands on what it was given.
            let Some(literal) = rest.strip_prefix('\'') else { continue };
            texts.push(pieces(literal));
        }
    }
    texts
}

/// The pieces of a literal, whose opening quote is behind us.
fn pieces(literal: &str) -> Vec<String> {
    let (mut pieces, mut piece) = (Vec::new(), String::new());
    let mut letters = literal.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' if letters.next_if_eq(&'\'').is_none() => break,
            '%' if letters.next_if_eq(&'%').is_none() => {
                while letters.next().is_some_and(|l| !l.is_alphabetic()) {}
                pieces.push(std::mem::take(&mut piece));
            }
            letter => piece.push(letter),
        }
    }
    pieces.push(piece);
    pieces
}

/// Whether a message is one of a text: it begins with its first piece, and the others follow.
fn is_of(message: &str, text: &[String]) -> bool {
    let Some((first, others)) = text.split_first() else { return false };
    let Some(mut rest) = message.strip_prefix(first.as_str()) else { return false };
    others.iter().all(|piece| match rest.split_once(piece.as_str()) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}

fn files(folder: &str, ending: &str) -> Tested<Vec<PathBuf>> {
    let paths = std::fs::read_dir(repository().join(folder))?.map(|entry| entry.map(|e| e.path()));
    let paths = paths.collect::<Result<Vec<_>, _>>()?;
    Ok(paths.into_iter().filter(|path| path.extension().is_some_and(|e| e == ending)).collect())
}

/// The messages of all cases of bad input, as they are seen.
async fn observed() -> Tested<BTreeSet<String>> {
    let (_database, client) = with_queue("").await?;
    let mut messages = BTreeSet::new();
    for (name, sql) in crate::bad_input::cases() {
        let numbers =
            "ALTER SEQUENCE pgbatch.batch_id_seq RESTART; ALTER SEQUENCE pgbatch.run_id_seq RESTART";
        client.batch_execute(numbers).await?;
        let error = refused(client.batch_execute(&sql).await).map_err(|e| format!("{name}: {e}"))?;
        messages.insert(error.message().to_owned());
        client.batch_execute("ROLLBACK").await?;
    }
    Ok(messages)
}

/// A message is seen by a case of bad input; or the longest of its pieces stands in a test, for what needs two clients, a
/// table of its own or the like. So a new message without a test is found, and a test that reads another message of
/// the same words is not told from one that reads it.
#[tokio::test]
async fn every_error_has_a_test_that_reads_its_message() -> Tested {
    let observed = observed().await?;
    let mut tests = String::new();
    for path in files("tests/sql", "rs")? {
        tests.push_str(&std::fs::read_to_string(path)?.replace("\\\"", "\""));
    }
    let mut unread = Vec::new();
    let mut number = 0;
    for path in files("sql/install", "sql")? {
        for text in texts(&std::fs::read_to_string(&path)?) {
            number += 1;
            let longest = text.iter().max_by_key(|piece| piece.len()).map_or("", String::as_str);
            let seen = observed.iter().any(|message| is_of(message, &text));
            if !seen && !tests.contains(longest) {
                unread.push(format!("{}: {}", path.display(), text.join("%")));
            }
        }
    }
    assert!(unread.is_empty(), "no test reads these: {unread:#?}");
    assert!(number > 40, "only {number} messages were found in sql/install");
    Ok(())
}

#[test]
fn a_text_is_cut_at_its_placeholders() {
    let sql = "RAISE EXCEPTION USING MESSAGE = format('it''s %s of %1$I: 5%%', a);
        PERFORM pgbatch.reject(\n    'plain', 'hint'); CREATE FUNCTION pgbatch.reject(message text)";
    assert_eq!(texts(sql), [vec!["it's ".to_owned(), " of ".into(), ": 5%".into()], vec!["plain".into()]]);
    let text = &texts(sql)[0];
    assert!(
        is_of("it's one of 'two': 5%", text) && !is_of("it's one or 'two': 5%", text) && !is_of("", text)
    );
}
