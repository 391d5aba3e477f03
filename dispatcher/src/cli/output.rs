//! Where a command prints: a terminal has a width and perhaps colours, a pipe has neither.

use std::io::Write;

use console::Term;
use serde::Serialize;

use super::failure::Failure;
use super::table::{Table, Tone};
use crate::config::OutputFormat;

/// Standard output, and how to write on it.
pub(super) struct Output {
    term: Term,
    format: OutputFormat,
    colours: bool,
}

impl Output {
    pub(super) fn new(format: OutputFormat) -> Self {
        let term = Term::stdout();
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) || console::is_dumb();
        let colours = term.is_term() && !plain;
        Self { term, format, colours }
    }

    pub(super) fn is_json(&self) -> bool {
        self.format == OutputFormat::Json
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.term.is_term()
    }

    /// How wide it is; nothing when it is piped.
    pub(super) fn width(&self) -> Option<usize> {
        self.is_terminal().then(|| usize::from(self.term.size().1))
    }

    pub(super) fn height(&self) -> usize {
        usize::from(self.term.size().0)
    }

    pub(super) fn paint(&self, text: &str, tone: Tone) -> String {
        tone.paint(text, self.colours)
    }

    pub(super) fn render(&self, table: &Table) -> String {
        table.render(self.width(), self.colours)
    }

    pub(super) fn table(&self, table: &Table) -> Result<(), Failure> {
        self.write(&self.render(table))
    }

    pub(super) fn line(&self, text: &str) -> Result<(), Failure> {
        self.write(&format!("{text}\n"))
    }

    pub(super) fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(std::io::Error::from)?;
        self.write(&format!("{text}\n"))
    }

    pub(super) fn write(&self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())
    }

    /// What somebody else wrote, as it is.
    pub(super) fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(bytes)?;
        Ok(stdout.flush()?)
    }
}
