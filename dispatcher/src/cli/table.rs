//! Tables: as wide as they need when piped, and never wider than the terminal.

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell as TableCell, CellAlignment, Color, ContentArrangement};
use console::measure_text_width;

/// Between two columns.
const GAP: usize = 2;
/// Words are wrapped, but not into less than this as long as another column can be left out.
const WORDS_MIN: usize = 14;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// To the left, on one line.
    Name,
    /// To the right.
    Number,
    /// Wrapped where there is no room.
    Words,
}

/// A column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    title: &'static str,
    kind: Kind,
    /// On a narrow terminal the columns with the greatest rank are left out first; those of rank 0 never.
    rank: u8,
}

impl Column {
    pub(super) const fn new(title: &'static str, kind: Kind, rank: u8) -> Self {
        Self { title, kind, rank }
    }
}

/// How a cell looks where there are colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Busy,
    Warning,
    Bad,
}

impl Tone {
    /// That of a state of a batch, an item or a run.
    pub(super) fn of_state(state: &str) -> Self {
        match state {
            "succeeded" => Self::Good,
            "running" | "starting" => Self::Busy,
            "retrying" | "cancelled" | "paused" => Self::Warning,
            "failed" | "timed_out" | "lost" => Self::Bad,
            _ => Self::Plain,
        }
    }

    /// Zero is no news.
    pub(super) fn unless_zero(self, number: i64) -> Self {
        if number == 0 { Self::Plain } else { self }
    }

    fn colour(self) -> Option<Color> {
        match self {
            Self::Plain => None,
            Self::Good => Some(Color::DarkGreen),
            Self::Busy => Some(Color::DarkCyan),
            Self::Warning => Some(Color::DarkYellow),
            Self::Bad => Some(Color::DarkRed),
        }
    }

    /// A text in this tone, outside of a table.
    pub(super) fn paint(self, text: &str, colours: bool) -> String {
        let style = console::Style::new().force_styling(colours);
        let style = match self {
            Self::Plain => style,
            Self::Good => style.green(),
            Self::Busy => style.cyan(),
            Self::Warning => style.yellow(),
            Self::Bad => style.red(),
        };
        style.apply_to(text).to_string()
    }
}

/// A cell.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(super) fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }

    /// A state, in its colour.
    pub(super) fn state(state: &str) -> Self {
        Self::toned(state, Tone::of_state(state))
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::toned(text, Tone::Plain)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::toned(text, Tone::Plain)
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Self::toned(number.to_string(), Tone::Plain)
    }
}

/// A table.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    header: bool,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(super) fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), header: true, rows: vec![] }
    }

    /// Names to the left, what they are to the right, and no header.
    pub(super) fn of_facts() -> Self {
        let columns = vec![Column::new("", Kind::Name, 0), Column::new("", Kind::Words, 0)];
        Self { columns, header: false, rows: vec![] }
    }

    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// A row of a table of facts; none where there is nothing to tell.
    pub(super) fn fact(&mut self, name: &str, value: impl Into<Cell>) {
        let value = value.into();
        if !value.text.is_empty() {
            self.rows.push(vec![name.into(), value]);
        }
    }

    /// The table as text, with a newline at its end. No width: as wide as it needs.
    pub(super) fn render(&self, width: Option<usize>, colours: bool) -> String {
        let shown = self.shown(width);
        let mut table = comfy_table::Table::new();
        table.load_style(NOTHING);
        match colours {
            true => table.enforce_styling(),
            false => table.force_no_tty(),
        };
        table.style_text_only();
        if let Some(width) = width.and_then(|w| u16::try_from(w).ok()) {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        } else {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
        if self.header {
            table.set_header(
                shown.iter().map(|&at| TableCell::new(self.columns[at].title).add_attribute(Attribute::Bold)),
            );
        }
        for row in &self.rows {
            table.add_row(shown.iter().map(|&at| styled(&row[at])));
        }
        for (column, &at) in table.column_iter_mut().zip(&shown) {
            let last = Some(&at) == shown.last();
            column.set_padding((0, if last { 0 } else { 2 }));
            if self.columns[at].kind == Kind::Number {
                column.set_cell_alignment(CellAlignment::Right);
            }
            if self.columns[at].kind != Kind::Words && width.is_some() {
                column.set_constraint(comfy_table::ColumnConstraint::ContentWidth);
            }
        }
        table.trim_fmt() + "\n"
    }

    /// The columns for which there is room.
    fn shown(&self, width: Option<usize>) -> Vec<usize> {
        let mut shown: Vec<usize> = (0..self.columns.len()).collect();
        let Some(width) = width else { return shown };
        let needs: Vec<usize> = shown.iter().map(|&at| self.needs(at)).collect();
        let total = |shown: &[usize]| shown.iter().map(|&at| needs[at] + GAP).sum::<usize>();
        while total(&shown) > width + GAP {
            let Some(&least) = shown.iter().max_by_key(|&&at| self.columns[at].rank) else { break };
            if self.columns[least].rank == 0 {
                break;
            }
            shown.retain(|&at| at != least);
        }
        shown
    }

    fn needs(&self, at: usize) -> usize {
        let cells = self.rows.iter().map(|row| measure_text_width(&row[at].text));
        let natural = cells.chain([self.columns[at].title.len()]).max().unwrap_or(0);
        if self.columns[at].kind == Kind::Words { natural.min(WORDS_MIN) } else { natural }
    }
}

fn styled(cell: &Cell) -> TableCell {
    let shown = TableCell::new(&cell.text);
    match cell.tone.colour() {
        Some(colour) => shown.fg(colour),
        None => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&[
            Column::new("QUEUE", Kind::Name, 0),
            Column::new("PENDING", Kind::Number, 0),
            Column::new("OLDEST", Kind::Number, 1),
            Column::new("HELD", Kind::Words, 0),
        ]);
        table.row(vec![
            "claps".into(),
            1200.into(),
            "3m04s".into(),
            "30 of 30 runs: claps-1, claps-2 and 28 more".into(),
        ]);
        table.row(vec!["mail".into(), 0.into(), "".into(), "".into()]);
        table
    }

    #[test]
    fn piped_it_is_as_wide_as_it_needs_and_has_no_colours() {
        let expected = "\
QUEUE  PENDING  OLDEST  HELD
claps     1200   3m04s  30 of 30 runs: claps-1, claps-2 and 28 more
mail         0
";
        assert_eq!(table().render(None, false), expected);
    }

    #[test]
    fn on_a_narrow_terminal_it_wraps_words_and_leaves_columns_out() {
        let expected = "\
QUEUE  PENDING  HELD
claps     1200  30 of 30 runs:
                claps-1, claps-2 and
                28 more
mail         0
";
        assert_eq!(table().render(Some(36), false), expected);
    }

    #[test]
    fn colours_do_not_count_as_width() {
        let mut table = Table::new(&[Column::new("STATE", Kind::Name, 0), Column::new("N", Kind::Number, 0)]);
        table.row(vec![Cell::state("failed"), 1.into()]);
        let coloured = table.render(Some(60), true);
        assert!(coloured.contains("\u{1b}[38;5;1m") || coloured.contains("\u{1b}[31m"), "{coloured:?}");
        assert_eq!(console::strip_ansi_codes(&coloured), table.render(Some(60), false));
    }
}
