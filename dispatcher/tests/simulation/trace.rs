//! What happened, in words, and its hash: two runs of one seed have the same.

use std::collections::VecDeque;
use std::fmt::{Display, Write};
use std::time::Duration;

/// So many of the last lines are kept.
const LINES_MAX: usize = 4000;

/// The lines of one simulation.
#[derive(Default)]
pub(crate) struct Trace {
    /// Whether lines are kept at all; the hash is made in any case.
    keep: bool,
    /// Whether they are printed as they come.
    loud: bool,
    lines: VecDeque<String>,
    line: String,
    hash: u64,
}

impl Trace {
    /// Only the hash.
    pub(crate) fn hashed() -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, ..Self::default() }
    }

    /// The last lines too.
    pub(crate) fn kept() -> Self {
        Self { keep: true, ..Self::hashed() }
    }

    /// Printed as they come.
    pub(crate) fn loud() -> Self {
        Self { loud: true, ..Self::hashed() }
    }

    pub(crate) fn line(&mut self, at: Duration, who: &str, words: &impl Display) {
        self.line.clear();
        // Writing to a string cannot fail.
        let _ = write!(self.line, "{:>10.3} {who:<10} {words}", at.as_secs_f64());
        for byte in self.line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        if self.loud {
            eprintln!("{}", self.line);
        }
        if self.keep {
            if self.lines.len() == LINES_MAX {
                self.lines.pop_front();
            }
            self.lines.push_back(self.line.clone());
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// The last lines, oldest first.
    pub(crate) fn last(&self, count: usize) -> impl Iterator<Item = &str> {
        self.lines.iter().skip(self.lines.len().saturating_sub(count)).map(String::as_str)
    }
}
