//! What was found.

use serde_json::{Value, json};

use crate::cli::output::Output;
use crate::cli::table::{Cell, Column, Kind, Table, Tone};
use crate::people::failure::Failure;

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// As it should be.
    Fine,
    /// It works, but not as well as it could.
    Warning,
    /// It does not work.
    Failed,
    /// It could not be tried.
    Untried,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Untried => "untried",
        }
    }

    fn tone(self) -> Tone {
        match self {
            Self::Fine => Tone::Good,
            Self::Warning => Tone::Warning,
            Self::Failed => Tone::Bad,
            Self::Untried => Tone::Plain,
        }
    }
}

/// One of them.
struct Finding {
    what: &'static str,
    verdict: Verdict,
    words: String,
    hint: Option<String>,
}

/// All of them, in the order in which they were found.
#[derive(Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, what: &'static str, verdict: Verdict, words: String, hint: Option<&str>) {
        self.0.push(Finding { what, verdict, words, hint: hint.map(str::to_owned) });
    }

    /// It is as it should be.
    pub(super) fn fine(&mut self, what: &'static str, words: impl Into<String>) {
        self.add(what, Verdict::Fine, words.into(), None);
    }

    /// It works, but not as well as it could.
    pub(super) fn warn(&mut self, what: &'static str, words: impl Into<String>, hint: &str) {
        self.add(what, Verdict::Warning, words.into(), Some(hint));
    }

    /// It does not work.
    pub(super) fn fail(&mut self, what: &'static str, words: impl Into<String>, hint: &str) {
        self.add(what, Verdict::Failed, words.into(), Some(hint));
    }

    /// It does not work, and somebody has said why.
    pub(super) fn failed(&mut self, what: &'static str, failure: &Failure) {
        self.add(what, Verdict::Failed, failure.to_string(), None);
    }

    /// It could not be tried.
    pub(super) fn untried(&mut self, what: &'static str, words: impl Into<String>, hint: &str) {
        self.add(what, Verdict::Untried, words.into(), Some(hint));
    }

    pub(super) fn has_failed(&self) -> bool {
        self.0.iter().any(|finding| finding.verdict == Verdict::Failed)
    }

    pub(super) fn print(&self, output: &Output) -> Result<(), Failure> {
        if output.is_json() {
            let all: Vec<Value> = self
                .0
                .iter()
                .map(|f| json!({"what": f.what, "verdict": f.verdict.word(), "words": f.words, "hint": f.hint}))
                .collect();
            return output.json(&all);
        }
        let mut table = Table::new(&[
            Column::new("WHAT", Kind::Name, 0),
            Column::new("VERDICT", Kind::Name, 0),
            Column::new("WORDS", Kind::Words, 0),
        ]);
        for finding in &self.0 {
            let hint = finding.hint.as_ref().map(|hint| format!(" (hint: {hint})")).unwrap_or_default();
            table.row(vec![
                finding.what.into(),
                Cell::toned(finding.verdict.word(), finding.verdict.tone()),
                format!("{}{hint}", finding.words).into(),
            ]);
        }
        output.table(&table)
    }
}
