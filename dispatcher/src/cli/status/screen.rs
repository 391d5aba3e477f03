//! The terminal while `pgbatch status` is live: a page of its own, put away at the end.

use std::cell::RefCell;

use super::frame::Frame;
use crate::cli::output::Output;
use crate::cli::table::Tone;
use crate::people::failure::Failure;

const OPEN: &str = "\u{1b}[?1049h\u{1b}[?25l\u{1b}[2J";
const CLOSE: &str = "\u{1b}[?25h\u{1b}[?1049l";
const HOME: &str = "\u{1b}[H";
/// To the end of the line, to the end of the page: drawing over what is there does not flicker, clearing it first would.
const CLEAR_LINE: &str = "\u{1b}[K";
const CLEAR_BELOW: &str = "\u{1b}[J";

/// The page.
pub(super) struct Screen<'a> {
    output: &'a Output,
    last: RefCell<String>,
}

impl<'a> Screen<'a> {
    pub(super) fn open(output: &'a Output) -> Result<Self, Failure> {
        output.write(OPEN)?;
        Ok(Self { output, last: RefCell::default() })
    }

    /// Draws what there is room for.
    pub(super) fn draw(&self, frame: &Frame) -> Result<(), Failure> {
        let text = frame.text(self.output);
        self.page(&text, None)?;
        *self.last.borrow_mut() = text;
        Ok(())
    }

    /// What was seen last stays, and above it why there is nothing newer.
    pub(super) fn draw_failure(&self, failure: &Failure) -> Result<(), Failure> {
        self.page(&self.last.borrow(), Some(&format!("trying again: {failure}")))
    }

    fn page(&self, text: &str, trouble: Option<&str>) -> Result<(), Failure> {
        let width = self.output.width().unwrap_or(80);
        let trouble =
            trouble.map(|words| self.output.paint(&console::truncate_str(words, width, "…"), Tone::Bad));
        let lines: Vec<&str> = trouble.iter().map(String::as_str).chain(text.lines()).collect();
        // The last line is for what does not fit, and for how to leave.
        let room = self.output.height().saturating_sub(1).max(1);
        let mut page = HOME.to_owned();
        for line in lines.iter().take(room) {
            page += &format!("{line}{CLEAR_LINE}\r\n");
        }
        let more = match lines.len().saturating_sub(room) {
            0 => String::new(),
            hidden => format!("{hidden} more lines; "),
        };
        page += &format!("{more}Ctrl-C ends{CLEAR_LINE}{CLEAR_BELOW}");
        self.output.write(&page)
    }

    /// Puts the page away; returns what it showed last.
    pub(super) fn close(self) -> Result<String, Failure> {
        Ok(self.last.take())
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = self.output.write(CLOSE);
    }
}
