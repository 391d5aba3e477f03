//! Figures: what each side did in each round, and the ratios that the tables are about.

use serde_json::{Value, json};

/// What one side did: a figure a round.
#[derive(Debug, Clone)]
pub(crate) struct Side {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) rounds: Vec<f64>,
}

impl Side {
    pub(crate) fn new(name: impl Into<String>, unit: &'static str) -> Self {
        Self { name: name.into(), unit, rounds: vec![] }
    }

    pub(crate) fn median(&self) -> f64 {
        quantile(&self.rounds, 0.5)
    }

    fn json(&self) -> Value {
        json!({"name": self.name, "unit": self.unit, "rounds": self.rounds, "spread": Spread::of(&self.rounds).json()})
    }
}

/// The median, and how far the rounds are apart.
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Self {
        Self { median: quantile(values, 0.5), min: quantile(values, 0.0), max: quantile(values, 1.0) }
    }

    fn json(&self) -> Value {
        json!({"median": self.median, "min": self.min, "max": self.max})
    }
}

/// What a figure is to reach.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bar {
    AtLeast(f64),
    AtMost(f64),
    Below(f64),
}

impl Bar {
    fn words(self) -> String {
        match self {
            Self::AtLeast(bar) => format!("at least {bar}"),
            Self::AtMost(bar) => format!("at most {bar}"),
            Self::Below(bar) => format!("below {bar}"),
        }
    }

    fn is_reached(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bar) => value >= bar,
            Self::AtMost(bar) => value <= bar,
            Self::Below(bar) => value < bar,
        }
    }
}

/// What one bench found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) sides: Vec<Side>,
    pub(crate) rows: Vec<Value>,
    /// What a reader must know of how it was measured.
    pub(crate) notes: Vec<String>,
    /// The peers that could not be had, and why.
    pub(crate) left_out: Vec<String>,
    /// Curves: `{"title", "x", "y", "curves": [{"name", "points": [[x, y], ...]}]}`.
    pub(crate) plots: Vec<Value>,
}

impl Report {
    /// A row of the table: ours to theirs, round by round.
    pub(crate) fn compare(&mut self, what: impl Into<String>, ours: &Side, theirs: &Side, bar: Bar) {
        let ratios: Vec<f64> = ours.rounds.iter().zip(&theirs.rounds).map(|(a, b)| a / b).collect();
        self.row(what.into(), &ratios, bar, None, Some((ours, theirs)));
    }

    /// A row of the table: a figure of ours that is its own measure.
    pub(crate) fn state(&mut self, what: impl Into<String>, ours: &Side, bar: Bar) {
        self.row(what.into(), &ours.rounds, bar, Some(ours.unit), None);
    }

    fn row(
        &mut self,
        what: String,
        values: &[f64],
        bar: Bar,
        unit: Option<&str>,
        of: Option<(&Side, &Side)>,
    ) {
        let spread = Spread::of(values);
        self.rows.push(json!({
            "what": what, "spread": spread.json(), "bar": bar.words(), "reached": bar.is_reached(spread.median),
            "ours": of.map(|(ours, _)| ours.json()), "theirs": of.map(|(_, theirs)| theirs.json()),
            "unit": unit,
        }));
    }

    pub(crate) fn json(&self) -> Value {
        let sides: Vec<Value> = self.sides.iter().map(Side::json).collect();
        json!({"sides": sides, "rows": self.rows, "notes": self.notes, "left_out": self.left_out, "plots": self.plots})
    }
}

/// The value below which this part of the values lies; 0.5 = the median.
pub(crate) fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = part * last as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (high - low) * at.fract()
}
