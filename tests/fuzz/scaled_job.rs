//! Any text as a ScaledJob: it is refused in words, or each statement that is made of it is one call, whatever its texts hold.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgbatch_core::scaled_job::{import, manifest};

fuzz_target!(|text: &str| {
    let imported = manifest::read_one(text).and_then(|value| import(&value));
    let imported = match imported {
        Ok(imported) => imported,
        Err(problem) => return assert!(!problem.path.is_empty() && !problem.message.is_empty()),
    };
    for step in imported.steps().into_iter().chain(imported.alter_steps()) {
        let code = without_literals(&step.statement);
        let is_one_call = code.starts_with("SELECT pgbatch.")
            && !code.contains("--")
            && code.chars().all(|c| c.is_ascii_alphanumeric() || " _.,()=>|:[]-".contains(c));
        assert!(is_one_call, "{code}\nof {}", step.statement);
    }
});

/// What PostgreSQL reads as code: without '...', where '' is a quote, and E'...', where a backslash makes a character of the next.
fn without_literals(statement: &str) -> String {
    let (mut code, mut escapes, mut inside) = (String::new(), false, false);
    let mut chars = statement.chars().peekable();
    while let Some(c) = chars.next() {
        match (inside, c) {
            (false, '\'') => {
                escapes = code.ends_with('E');
                inside = true;
            }
            (false, c) => code.push(c),
            (true, '\\') if escapes => drop(chars.next()),
            (true, '\'') if chars.peek() == Some(&'\'') => drop(chars.next()),
            (true, '\'') => inside = false,
            (true, _) => {}
        }
    }
    assert!(!inside, "a literal without an end: {statement}");
    code
}
